"""How a study's rows were made: trainings and what they share, commands for each, data, settings and versions."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from squeezekit.study import charts
from squeezekit.study.again import command_of
from squeezekit.study.charts import Panel, mapping, sequence
from squeezekit.study.findings import row_name
from squeezekit.study.pages import duration, moment, pairs
from squeezekit.study.results import Results
from squeezekit.study.table import clip, count, figure, percent

__all__ = [
    "Group",
    "Training",
    "energy_sentence",
    "facts",
    "kwh",
    "row_command",
    "shared_sentence",
    "shared_trainings",
    "training_groups",
    "training_names",
]

Row = Mapping[str, Any]

_MAX_LONG = 900
_MAX_CLASSES = 32
_SPLITS = (("train", "training"), ("validation", "validation"), ("test", "the test"))


@dataclasses.dataclass(frozen=True, slots=True)
class Training:
    """One training: what it was of, how long it took, the electricity for it, and what came from it."""

    name: str
    seed: Any
    took: str
    energy: str
    files: int
    onward: int
    reused: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """All seeds of one training recipe in a panel."""

    name: str
    panels: list[Panel]
    note: str


def training_groups(
    trainings: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> tuple[list[Group], charts.Curves]:
    """The curves of all trainings on one scale, a panel for each recipe with a curve a seed.

    Args:
        trainings: of `study.json`.
        rows: of the study; they tell what a training without a recipe was of.
    """
    curves = charts.curves(trainings, len(trainings))
    grouped: dict[str, list[Panel]] = collections.defaultdict(list)
    for name, panel in zip(training_names(trainings, rows), curves.panels, strict=True):
        grouped[name].append(panel)
    groups = []
    for recipe, panels in grouped.items():
        bests = [panel.best[1] for panel in panels if panel.best]
        note = ""
        if bests:
            note = percent(max(bests))
            if len(bests) > 1:
                note = f"{percent(min(bests)).removesuffix(' %')} to {note}"
        groups.append(Group(recipe, panels, note))
    return groups, curves


def training_names(trainings: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What each training was of: its recipe, or what was made from it where it had none."""
    names = {}
    for row in rows:
        if not row.get("recipe"):
            factors = {factor: level for factor, level in row["factors"].items() if factor != "coder"}
            names[row.get("stage")] = row_name({**row, "factors": factors})
    return [str(item.get("recipe") or names.get(item.get("stage"), "uncompressed")) for item in trainings]


def shared_trainings(results: Results, names: Sequence[str]) -> list[Training]:
    """The trainings of a study and how many files and further recipes came from each.

    Args:
        results: of the study.
        names: what each training is called, in their order.
    """
    trainings = [item for item in sequence(results.common.get("trainings")) if isinstance(item, Mapping)]
    listed = []
    for training, name in zip(trainings, names, strict=True):
        recipe, seed = str(training.get("recipe") or ""), training.get("seed")
        onward = {
            str(other.get("recipe"))
            for other in trainings
            if recipe and other.get("seed") == seed and str(other.get("recipe")).startswith(f"{recipe} |")
        }
        files = sum(row.get("stage") == training.get("stage") for row in results.rows)
        took = duration(training.get("seconds"))
        spent = kwh(mapping(training.get("energy")).get("kwh"))
        listed.append(Training(name, seed, took, spent, files, len(onward), bool(training.get("reused"))))
    return listed


def shared_sentence(results: Results) -> str:
    """How much work sharing saved."""
    trainings = [item for item in sequence(results.common.get("trainings")) if isinstance(item, Mapping)]
    # A file's recipe alone: the network it starts from, then a training for each of its stages.
    apart = sum(1 + _stages(str(row.get("recipe") or "")) for row in results.rows)
    seconds = sum(figure(item.get("seconds")) or 0.0 for item in trainings)
    reused = sum(bool(item.get("reused")) for item in trainings)
    earlier = f", {count(reused)} of them in an earlier run" if reused else ""
    return (
        f"{count(len(trainings))} trainings{earlier}, {duration(seconds)} in all, made "
        f"{count(len(results.rows))} files; every file on its own would have taken {count(apart)} trainings."
    )


def _stages(recipe: str) -> int:
    return recipe.count("|") + 1 if recipe.strip() else 0


def row_command(row: Row, common: Mapping[str, Any]) -> str:
    """The command that makes a row's file alone; what the row itself says comes first.

    Args:
        row: of the study.
        common: of `study.json`.
    """
    if isinstance(row.get("command"), str):
        return str(row["command"])
    known = {
        key: value
        for key, value in common.items()
        if key in ("model", "width")
        or (key == "seeds" and isinstance(value, list))
        or (key in ("settings", "compress_settings", "preprocess") and isinstance(value, Mapping))
    }
    return command_of(known, row["factors"], row["seed"])


def facts(results: Results) -> list[tuple[str, str]]:
    """Data, settings and versions as pairs of a name and a text; what is not known is left out."""
    common, rows = results.common, results.rows
    data = common["data"]
    labels = ", ".join(clip(label, 48) for label in data["labels"][:_MAX_CLASSES])
    splits = [
        f"{count(data[split])} for {what}" for split, what in _SPLITS if figure(data.get(split)) is not None
    ]
    grid = [
        f"{factor}: {' / '.join(str(level) or 'none' for level in sequence(levels))}"
        for factor, levels in mapping(common.get("grid")).items()
    ]
    measured = sum(figure(row.get("seconds")) or 0.0 for row in rows)
    known = [
        ("Grid", "; ".join(grid)),
        ("Seeds", ", ".join(map(str, sequence(common.get("seeds"))))),
        ("Images", data.get("source")),
        ("Split", ", ".join(splits)),
        (f"Classes ({len(data['labels'])})", labels + (", …" if len(data["labels"]) > _MAX_CLASSES else "")),
        ("Fingerprint of the images", data.get("fingerprint")),
        ("What the network sees", pairs(common.get("preprocess"))),
        ("Training", pairs(common.get("settings"))),
        ("Compression", pairs(common.get("compress_settings"))),
        ("Versions", _each("versions", rows, lambda value: pairs(value, " "))),
        ("Machine", _each("machine", rows, str)),
        ("Started", moment(common.get("started"))),
        ("Measuring the files took", duration(measured) if measured else ""),
        ("Energy of an inference", common.get("inference_energy") or ""),
        ("Energy of the study", energy_sentence(mapping(common.get("energy")))),
    ]
    return [(name, clip(value, _MAX_LONG)) for name, value in known if value not in (None, "")]


def energy_sentence(energy: Mapping[str, Any]) -> str:
    """The electricity of a study, and whether anything metered it; "" where the study says nothing of it.

    Args:
        energy: of `study.json`.

    Example:
        >>> energy_sentence({"kwh": 0.41, "metered": False, "basis": ["processor: a guess"], "reused_kwh": 0.1})
        'About 0.41 kWh (estimated; processor: a guess), 0.1 kWh of it in an earlier study.'
    """
    if not energy:
        return ""
    basis = "; ".join(str(text) for text in sequence(energy.get("basis")))
    if figure(energy.get("kwh")) is None:
        reasons = "; ".join(str(text) for text in sequence(energy.get("reason")))
        return f"not measured{f' ({reasons})' if reasons else ''}"
    how = "metered" if energy.get("metered") else "estimated"
    told = f"{'' if energy.get('metered') else 'About '}{kwh(energy['kwh'])} ({how}{f'; {basis}' if basis else ''})"
    if figure(energy.get("reused_kwh")):
        told += f", {kwh(energy['reused_kwh'])} of it in an earlier study"
    missing = energy.get("unmetered_trainings")
    if missing:
        told += f"; {count(missing)} trainings are not or not wholly in it"
    return f"{told}."


def kwh(value: Any) -> str:
    """Kilowatt-hours with three significant digits; "" where unknown.

    Example:
        >>> kwh(0.041349), kwh(12.0), kwh(None)
        ('0.0413 kWh', '12 kWh', '')
    """
    known = figure(value)
    return "" if known is None else f"{float(f'{known:.3g}'):.9f}".rstrip("0").rstrip(".") + " kWh"


def _each(key: str, rows: Sequence[Row], tell: Any) -> str:
    """What rows say of themselves, each text once: a study may go on on another machine."""
    return "; ".join(dict.fromkeys(tell(row[key]) for row in rows if row.get(key)))
