"""A study as one HTML file that asks for nothing outside itself, and its main plots as SVG for papers.

Python works out what is shown and where it lies; the templates hold every tag, so that autoescape stands between a
folder's name and the page. The script is our own, named by its hash: nothing else on the page may run.
"""

import base64
import collections
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import markupsafe

import squeezekit
from squeezekit import files
from squeezekit.study import study_charts, study_made
from squeezekit.study.charts import sequence
from squeezekit.study.drawing import png_of
from squeezekit.study.effects import Effect, Estimate, full_rows
from squeezekit.study.findings import Findings, View, bought, points, ratio, signed, study_findings
from squeezekit.study.pages import source, template, unbroken
from squeezekit.study.pictures import MAX_PICTURES, pictures_of
from squeezekit.study.results import Results, read_results, write_csv, write_json
from squeezekit.study.study_charts import Grid, linear_ticks, ratio_ticks
from squeezekit.study.table import clip, figure, milliseconds, percent, size, times

__all__ = ["effects_svg", "pareto_svg", "render_study", "report_study", "write_report"]

_MAX_LOSERS = 3
_MAX_LONG = 900


def render_study(
    results: Results, found: Findings | None = None, pictures: Mapping[int, str] | None = None
) -> str:
    """The page that shows a study.

    Args:
        results: of `read_results`.
        found: of `study_findings`, where they are there already.
        pictures: data-URIs of test images by their place in the test split; those of flipped images are shown.

    Returns:
        A whole HTML document, under 2 MB without pictures for some hundred rows, that refers to nothing outside
        itself. It reads without its script; with it the table sorts and the plot answers.
    """
    found = found or study_findings(results)
    rows, data = results.rows, results.common["data"]
    trainings = [item for item in sequence(results.common.get("trainings")) if isinstance(item, Mapping)]
    groups, curves = study_made.training_groups(trainings, rows)
    names = study_made.training_names(trainings, rows)
    script = source("study_page.js")
    return template("study_page.html").render(
        title=found.sentences[0] if found.sentences else "squeezekit study",
        style=markupsafe.Markup(source("study_page.css")),
        script=markupsafe.Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        data=data,
        labels=found.labels,
        truth=found.truth,
        sentences=[unbroken(sentence) for sentence in found.sentences],
        notes=results.notes,
        views=found.views,
        front=sorted(
            (view for view in found.views if view.front), key=lambda view: view.row["bytes"]["file"]
        ),
        picks=found.picks,
        many_seeds=len({row["seed"] for row in rows}) > 1,
        has_baseline=any(row.get("baseline") for row in rows),
        compressed=sum(bool(view.changes) for view in found.views),
        plot=study_charts.scatter(found.views),
        shares=_shares(found),
        reduction=found.reduction,
        effects=_effects(found),
        interval_note=_interval_note(found),
        crossings=_crossings(found),
        changes=study_charts.changes_chart(found),
        class_table=_class_table(found),
        flipped=len(found.flipped),
        flips=_flips(found, data, pictures or {}),
        groups=groups,
        curves=curves,
        shared=study_made.shared_trainings(results, names),
        shared_sentence=study_made.shared_sentence(results),
        command=clip(results.common.get("command") or "", _MAX_LONG),
        commands=[(view, study_made.row_command(view.row, results.common)) for view in found.views],
        inference=clip(results.common.get("inference_energy") or "", _MAX_LONG),
        facts=study_made.facts(results),
        version=squeezekit.__version__,
        losses=lambda view: _losses(view, found.labels),
        told=lambda view: _told(view, found.labels),
        signed=signed,
        number=lambda value: "" if figure(value) is None else value,
    )


def pareto_svg(found: Findings) -> str:
    """Accuracy against bytes as an SVG file of its own, 720 x 460."""
    return template("study_pareto.svg").render(plot=study_charts.scatter(found.views), width=560)


def effects_svg(found: Findings) -> str:
    """The effect bars as an SVG file of its own, 720 wide."""
    return template("study_effects.svg").render(charts=_effects(found), width=680)


def report_study(
    out: str | os.PathLike[str], *, pictures: bool = True, folder: str | os.PathLike[str] | None = None
) -> tuple[Results, Findings, list[Path]]:
    """Read a study's store, find what is in it, and write the report (`write_report`).

    Args:
        out: the study's folder.
        pictures: whether images whose label flips are shown, where the study's images can be found.
        folder: where the images lie now; by default where the study had them.

    Returns:
        The rows, with a note on what is missing, the findings, and the files that were written.

    Raises:
        DataError: there is no study in the folder.
        FormatError: its store is damaged.
        OSError: a file cannot be written.
    """
    results = read_results(out)
    found = study_findings(results)
    shown: dict[int, str] = {}
    if pictures:
        data = results.common["data"]
        shown = pictures_of(found.flipped, data, folder or str(data.get("source") or ""))
        if found.flipped and not shown:
            results.notes.append("No pictures: the study's images are not where it had them; see --data.")
    return results, found, write_report(out, results, found, shown)


def write_report(
    out: str | os.PathLike[str],
    results: Results,
    found: Findings | None = None,
    pictures: Mapping[int, str] | None = None,
) -> list[Path]:
    """Write the page, `results.csv`, `results.json`, and `pareto` and `effects` as SVG and PNG, each as a whole.

    Args:
        out: the study's folder.
        results: of `read_results`.
        found: of `study_findings`, where they are there already.
        pictures: as for `render_study`.

    Returns:
        The files, the page first; no PNG where nothing is installed that draws it.
    """
    found = found or study_findings(results)
    folder = Path(out)
    texts = {
        "report.html": render_study(results, found, pictures),
        "pareto.svg": pareto_svg(found),
        "effects.svg": effects_svg(found),
    }
    for name, text in texts.items():
        files.write_text(folder / name, text)
    trainings = sequence(results.common.get("trainings"))
    write_csv(results.rows, folder / "results.csv", trainings)
    write_json(results.rows, folder / "results.json", trainings)
    names = [*texts, "results.csv", "results.json"]
    for name, text in texts.items():
        if name.endswith(".svg"):
            names.append(name.replace(".svg", ".png"))
            files.write_bytes(folder / names[-1], png_of(text))
    return [folder / name for name in names]


def _losses(view: View, labels: Sequence[str]) -> str:
    """The mark in words: which classes lost over 5 points."""
    names = [clip(labels[change.label], 24) for change in view.losers]
    more = f" and {len(names) - _MAX_LOSERS} more" if len(names) > _MAX_LOSERS else ""
    return f"loses over 5 points on {', '.join(names[:_MAX_LOSERS])}{more}"


def _told(view: View, labels: Sequence[str]) -> str:
    """What the plot says of a mark."""
    row = view.row
    low, high = row["top1_interval"]
    told = [size(row["bytes"]["file"])]
    if view.times_smaller is not None and not row.get("baseline"):
        told.append(f"{times(view.times_smaller)} times smaller than AlexNet")
    told.append(f"{percent(row['top1'])} right ({100 * low:.1f} to {percent(high)})")
    if view.churn is not None:
        told.append(f"churn {percent(view.churn)}")
    if figure(row.get("latency_ms")) is not None:
        told.append(f"{milliseconds(row['latency_ms'])} ms")
    sentence = unbroken(", ".join(told)) + "."
    return sentence + (f" It {_losses(view, labels)}." if view.losers else "")


def _shares(found: Findings) -> study_charts.Bars | None:
    if not found.shares:
        return None
    return study_charts.bars(
        found.shares, bought, lambda low, high: linear_ticks(low, high, lambda value: f"{100 * value:.0f} %")
    )


def _effects(found: Findings) -> list[tuple[study_charts.Bars, str, str, str]]:
    """The bar charts of main effects that there are: chart, id, title, how to read it."""
    charts = []
    if found.main["bytes"]:
        bytes_bars = study_charts.bars(found.main["bytes"], ratio, ratio_ticks, gain=-1)
        charts.append(
            (bytes_bars, "effect-bytes", "Bytes", "How many times smaller the file becomes; under 1: larger.")
        )
    answers, speed = (_of_networks(found.main[measure]) for measure in ("top1", "latency"))
    if answers:
        top1 = study_charts.bars(answers, points, linear_ticks)
        charts.append((top1, "effect-top1", "Accuracy", "Change of top-1 on the test images, in points."))
    if speed:
        latency = study_charts.bars(speed, ratio, ratio_ticks, gain=-1)
        charts.append(
            (
                latency,
                "effect-latency",
                "Latency",
                "How many times faster one inference becomes; under 1: slower.",
            )
        )
    return charts


def _of_networks(effects: Sequence[Effect]) -> list[Effect]:
    """Without those of coders: the decoded network is the same, and was measured once for all of them."""
    return [effect for effect in effects if not _is_coder(effect)]


def _interval_note(found: Findings) -> str:
    sources = {effect.estimate.source for those in found.main.values() for effect in those}
    told = []
    if "images" in sources:
        told.append("accuracy's from a paired bootstrap over the test images")
    if "seeds" in sources:
        told.append("those of bytes and latency from seeds")
    coder = "A coder changes no answer and no latency. " if any(map(_is_coder, found.main["top1"])) else ""
    return coder + (f"Intervals are 95 %: {'; '.join(told)}." if told else "")


def _is_coder(effect: Effect) -> bool:
    return any(factor == "coder" for factor, _ in effect.factors)


def _crossings(found: Findings) -> list[tuple[Grid, str, str, str]]:
    """The heat maps that there are: grid, id, title, how to read it."""
    made = []
    for measure, name, title, about, tell, gain in (
        (
            "bytes",
            "cross-bytes",
            "Bytes",
            "Times smaller beyond both alone; 1.00: they add up.",
            _times_text,
            -1,
        ),
        ("top1", "cross-top1", "Accuracy", "Points of top-1 beyond both alone.", signed, 1),
    ):
        crossed = found.interactions[measure]
        grid = study_charts.crossings(
            crossed if measure == "bytes" else _of_networks(crossed), tell, gain=gain
        )
        if grid is not None:
            made.append((grid, name, title, about))
    return made


def _times_text(change: float) -> str:
    return ratio(Estimate(change)).removesuffix("×")


def _class_table(found: Findings) -> list[tuple[str, float, int, float]]:
    """Each class's mean change, in how many files it lost over 5 points, and its worst; most hurt first."""
    changes = collections.defaultdict(list)
    losses: collections.Counter[int] = collections.Counter()
    for view in found.views:
        for change in view.changes:
            changes[change.label].append(change.change)
        losses.update(change.label for change in view.losers)
    listed = [
        (found.labels[label], sum(those) / len(those), losses[label], min(those))
        for label, those in changes.items()
    ]
    return sorted(listed, key=lambda line: (-line[2], line[1]))[: study_charts.MAX_CLASSES]


def _flips(
    found: Findings, data: Mapping[str, Any], pictures: Mapping[int, str]
) -> list[dict[str, str | None]]:
    """The first flipped images: what they are, what they were called before and after."""
    if not found.picks:
        return []
    factors, paths = found.picks[0].row["factors"], sequence(data.get("test_paths"))
    after = [view.row["predicted"] for view in found.views if view.row["factors"] == factors]
    before = [row["predicted"] for row in full_rows([view.row for view in found.views])]
    return [
        {
            "truth": found.labels[found.truth[image]],
            "before": found.labels[_modal(before, image)],
            "after": found.labels[_modal(after, image)],
            "path": str(paths[image]) if image < len(paths) else None,
            "picture": pictures.get(image),
        }
        for image in found.flipped[:MAX_PICTURES]
    ]


def _modal(predicted: Sequence[Sequence[int]], image: int) -> int:
    """The most frequent label of an image, the smallest of several: as `effects.flips` counts."""
    votes = collections.Counter(labels[image] for labels in predicted)
    return min(votes, key=lambda label: (-votes[label], label))
