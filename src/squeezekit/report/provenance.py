"""How rows were made: trainings and what they share, data, settings, versions and energy as plain texts."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from squeezekit.experiment.record import figure, mapping, sequence
from squeezekit.report.figures import Curve
from squeezekit.report.templating import duration, moment, pairs
from squeezekit.report.text import clip, count
from squeezekit.report.wording import level_name

__all__ = [
    "Training",
    "energy_sentence",
    "facts",
    "kwh",
    "shared_sentence",
    "shared_trainings",
    "training_curves",
]

Record = Mapping[str, Any]

_MAX_LONG = 900
_MAX_CLASSES = 32
_MAX_NAME = 48
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


def training_curves(trainings: Sequence[Record]) -> list[Curve]:
    """The validation accuracy of each training, the seeds of a recipe together.

    Args:
        trainings: of a record.
    """
    kinds: dict[str, list[list[float | None]]] = {}
    for training, name in zip(trainings, _names(trainings), strict=True):
        values = [figure(mapping(epoch).get("val_accuracy")) for epoch in sequence(training.get("curves"))]
        if any(value is not None for value in values):
            kinds.setdefault(name, []).append(values)
    return [Curve(name, lines) for name, lines in kinds.items()]


def shared_trainings(trainings: Sequence[Record], rows: Sequence[Record]) -> list[Training]:
    """The trainings of a study and how many files and further recipes came from each.

    Args:
        trainings: of its record.
        rows: of the study.
    """
    listed = []
    for training, name in zip(trainings, _names(trainings), strict=True):
        recipe, seed = str(training.get("recipe") or ""), training.get("seed")
        onward = {
            str(other.get("recipe"))
            for other in trainings
            if recipe
            and (other.get("network"), other.get("seed")) == (training.get("network"), seed)
            and str(other.get("recipe")).startswith(f"{recipe} |")
        }
        listed.append(
            Training(
                name,
                seed,
                duration(training.get("seconds")),
                kwh(mapping(training.get("energy")).get("kwh")),
                sum(row.get("stage") == training.get("stage") for row in rows),
                len(onward),
                bool(training.get("reused")),
            )
        )
    return listed


def shared_sentence(trainings: Sequence[Record], rows: Sequence[Record]) -> str:
    """How much work sharing saved; arguments as for `shared_trainings`."""
    # A file's recipe alone: the network it starts from, then a training for each of its stages.
    recipes = [str(row.get("recipe") or "") for row in rows]
    apart = sum(1 + (recipe.count("|") + 1 if recipe.strip() else 0) for recipe in recipes)
    seconds = sum(figure(item.get("seconds")) or 0.0 for item in trainings)
    reused = sum(bool(item.get("reused")) for item in trainings)
    earlier = f", {count(reused)} of them in an earlier run" if reused else ""
    return (
        f"{count(len(trainings))} trainings{earlier}, {duration(seconds)} in all, made "
        f"{count(len(rows))} files; every file on its own would have taken {count(apart)} trainings."
    )


def facts(record: Record, rows: Sequence[Record]) -> list[tuple[str, str]]:
    """Data, settings and versions as pairs of a name and a text; what is not known is left out.

    Args:
        record: of a run or a study.
        rows: of the same.
    """
    data = mapping(record.get("data"))
    labels = [str(label) for label in sequence(data.get("labels") or data.get("classes"))]
    named = ", ".join(clip(label, _MAX_NAME) for label in labels[:_MAX_CLASSES])
    splits = [
        f"{count(data[split])} for {what}" for split, what in _SPLITS if figure(data.get(split)) is not None
    ]
    grid = [
        f"{factor}: {' / '.join(str(level) or 'none' for level in sequence(levels))}"
        for factor, levels in mapping(record.get("grid")).items()
        if len(sequence(levels)) > 1
    ]
    measured = sum(figure(row.get("seconds")) or 0.0 for row in rows)
    own = {"squeezekit": record.get("squeezekit")} if record.get("squeezekit") else {}
    known = [
        ("Recipe", record.get("recipe")),
        ("Factors", "; ".join(grid)),
        ("Seeds", ", ".join(map(str, sequence(record.get("seeds")))) or record.get("seed")),
        ("Images", data.get("source")),
        ("Split", ", ".join(splits)),
        (f"Classes ({len(labels)})", named + (", …" if len(labels) > _MAX_CLASSES else "")),
        ("Fingerprint of the images", data.get("fingerprint")),
        ("What the network sees", pairs(record.get("preprocess"))),
        ("Training", pairs(record.get("settings"))),
        ("Compression", pairs(record.get("compress_settings"))),
        ("Teacher", pairs(record.get("distil"))),
        ("Versions", _each("versions", rows, record, lambda value: pairs({**own, **mapping(value)}, " "))),
        ("Machine", _each("machine", rows, record, str)),
        ("Started", moment(record.get("started"))),
        ("Took", duration(record.get("seconds"))),
        ("Measuring the files took", duration(measured) if measured else ""),
        ("Energy of an inference", record.get("inference_energy")),
        ("Energy of all of it", energy_sentence(mapping(record.get("energy")))),
    ]
    return [(name, clip(value, _MAX_LONG)) for name, value in known if value not in (None, "")]


def energy_sentence(energy: Record) -> str:
    """The electricity of a study, and whether anything metered it; "" where the study says nothing of it.

    Args:
        energy: of a record.

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


def _names(trainings: Sequence[Record]) -> list[str]:
    """What each training was of; recipes of other networks than the first are told apart by their network."""
    networks = [str(item.get("network")) for item in trainings if item.get("recipe")]
    names = []
    for item in trainings:
        network = str(item.get("network"))
        name = str(item.get("recipe") or item.get("name") or item.get("network") or "training")
        if item.get("recipe") and network != networks[0]:
            name = f"{level_name('network', network, networks[0])}, {name}"
        names.append(name)
    return names


def _each(key: str, rows: Sequence[Record], record: Record, tell: Callable[[Any], str]) -> str:
    """What rows say of themselves, each text once: a study may go on on another machine."""
    told = [tell(row[key]) for row in (*rows, record) if row.get(key)]
    return "; ".join(dict.fromkeys(told))
