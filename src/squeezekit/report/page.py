"""The page of a run, a study or a sensitivity measurement: one HTML file that asks for nothing outside itself.

Python works out what is shown; `page.html` holds every tag, so that autoescape stands between a folder's name and the
page. A part without data does not show. The script is our own, named by its hash: nothing else on the page may run.
"""

import base64
import hashlib
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import markupsafe

import squeezekit
from squeezekit import files
from squeezekit.experiment import Results, read_results, recipe_from, strongest
from squeezekit.experiment.record import figure, mapping, sequence
from squeezekit.report import figures, parts, provenance
from squeezekit.report.findings import Findings, View, study_findings
from squeezekit.report.pictures import pictures_of
from squeezekit.report.tables import write_csv, write_json
from squeezekit.report.templating import source, template, unbroken
from squeezekit.report.text import (
    clip,
    headline,
    percent,
    reference_row,
    result_rows,
    unbalanced,
)
from squeezekit.report.wording import signed

__all__ = ["render", "render_sensitivity", "render_study", "report_study", "write_report"]

# What keeps a page small whatever the run: the rest is in the record, and the page says so.
_MAX_SKIPPED, _MAX_CURVES = 12, 18
_MAX_LONG = 900
# Columns that a table has only where a row has them.
_COLUMNS = ("top5", "validation_top1", "inference_uj", "worst_class")


def render(run: Mapping[str, Any]) -> str:
    """The page of a squeeze, a training or a compression: a sentence, a table, figures, and how to repeat it.

    Nothing in `run` is trusted: labels, paths and messages are escaped, shortened and stripped of control
    characters, and a figure that is missing, None or NaN shows as "n/a".

    Args:
        run: the content of `run.json`; `rows` ends with the network that ships.

    Returns:
        A whole HTML document that refers to nothing outside itself.

    Example:
        >>> page = render({"rows": [{"name": "<b>", "file_bytes": 34_212, "top1": 0.843, "images": 1500}]})
        >>> "34.2 KB" in page, "<b>" in page
        (True, False)
    """
    rows, data = result_rows(run), mapping(run.get("data"))
    reference = reference_row(run) or {}
    skipped = [item for item in sequence(data.get("skipped")) if isinstance(item, Mapping)]
    views = [
        View(row, str(row.get("name") or "network"), row.get("times_smaller"), None, [], row is rows[-1])
        for row in rows
    ]
    file = str(rows[-1].get("file") or "model.sqz") if rows else "model.sqz"
    return _page(
        run,
        views,
        over=f"squeezekit report{parts.on_data(data)}",
        sentences=[headline(run)],
        reference=str(reference.get("name") or ""),
        macro=unbalanced(run),
        pareto=parts.run_pareto(rows, reference),
        recalls=parts.recalls(rows),
        skipped=skipped[:_MAX_SKIPPED],
        skipped_count=len(skipped),
        use=shlex.quote(file),
        use_literal=json.dumps(file),
        made_from="run.json",
    )


def render_study(
    results: Results, found: Findings | None = None, pictures: Mapping[int, str] | None = None
) -> str:
    """The page of a study.

    Args:
        results: of `experiment.read_results`.
        found: of `study_findings`, where they are there already.
        pictures: data-URIs of test images by their place in the test split; those of flipped images are shown.

    Returns:
        A whole HTML document that refers to nothing outside itself. It reads without its script; with it the table
        sorts and the plot answers.
    """
    found = found or study_findings(results)
    rows, common = results.rows, results.common
    trainings = [item for item in sequence(common.get("trainings")) if isinstance(item, Mapping)]
    return _page(
        common,
        found.views,
        over=f"squeezekit study{parts.on_data(common['data'])}",
        sentences=found.sentences or ["No network was measured."],
        notes=results.notes,
        picks=found.picks,
        many_seeds=len({row["seed"] for row in rows}) > 1,
        reference="AlexNet" if any(row.get("baseline") for row in rows) else "",
        pareto=figures.inline(
            figures.pareto(parts.study_marks(found)), "Top-1 accuracy against the size of the file"
        ),
        shares=parts.shares(found),
        reduction=found.reduction,
        effects=parts.effects_chart(found),
        interval_note=parts.interval_note(found),
        crossings=parts.crossings(found),
        changes=parts.class_changes_part(found),
        class_table=parts.class_table(found),
        compressed=sum(bool(view.changes) for view in found.views),
        flipped=len(found.flipped),
        flips=parts.flips(found, results, pictures or {}),
        shared=provenance.shared_trainings(trainings, rows),
        shared_sentence=provenance.shared_sentence(trainings, rows),
        commands=[view for view in found.views if view.row.get("command")],
        images=len(found.truth),
        labels=found.labels,
        losses=lambda view: parts.losses(view, found.labels),
        told=lambda view: parts.told(view, found.labels),
        made_from="results.jsonl and study.json",
    )


def render_sensitivity(result: Mapping[str, Any], drop: float = 0.01) -> str:
    """The page that shows how sensitive each layer is to each technique.

    Args:
        result: of `experiment.sensitivity`.
        drop: the loss of accuracy up to which a setting is marked, in [0, 1].

    Returns:
        A whole HTML document that refers to nothing outside itself.

    Example:
        >>> lines = [{"technique": "prune", "setting": s, "layer": "<conv>", "accuracy": 1 - s} for s in (0.5, 0.9)]
        >>> page = render_sensitivity({"model": "net", "accuracy": 0.9, "images": 50, "layers": {"<conv>": 432},
        ...     "techniques": {"prune": [0.5, 0.9]}, "results": lines})
        >>> "&lt;conv&gt;" in page, "<conv>" in page
        (True, False)
    """
    best = strongest(result, drop)
    tables = []
    for technique, settings in result["techniques"].items():
        found = {
            (line["layer"], line["setting"]): line["accuracy"]
            for line in result["results"]
            if line["technique"] == technique
        }
        lines = []
        for layer, weights in result["layers"].items():
            cells = [
                (found.get((layer, setting)), setting == best[technique].get(layer)) for setting in settings
            ]
            if any(accuracy is not None for accuracy, _ in cells):
                lines.append((layer, weights, [parts.shaded(*cell, result["accuracy"]) for cell in cells]))
        tables.append((technique, settings, lines))
    sentence = (
        f"{percent(result['accuracy'])} of {result['images']:,} validation images right, and what one layer at a time "
        "costs of that, without retraining."
    )
    return _page(
        result,
        [],
        over=f"squeezekit sensitivity of {result.get('model', 'a network')}",
        sentences=[sentence],
        sensitivity=tables,
        drop=drop,
        recipe=str(recipe_from(result, drop)) if result.get("complete", True) else "",
        made_from="the .json",
    )


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
        ValueError: there is no study in the folder.
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
    """Write the page, `results.csv`, `results.json`, and `pareto` and `effects` as SVG, PNG and PDF.

    Args:
        out: the study's folder.
        results: of `experiment.read_results`.
        found: of `study_findings`, where they are there already.
        pictures: as for `render_study`.

    Returns:
        The files, the page first; no effects where there are none.
    """
    found = found or study_findings(results)
    folder = Path(out)
    files.write_text(folder / "report.html", render_study(results, found, pictures))
    write_csv(results, folder / "results.csv")
    write_json(results, folder / "results.json")
    names = ["report.html", "results.csv", "results.json"]
    drawn = {"pareto": figures.pareto(parts.study_marks(found))}
    if any(found.main.values()):
        drawn["effects"] = figures.bars(parts.effect_panels(found))
    for name, chart in drawn.items():
        for kind in ("svg", "png", "pdf"):
            files.write_bytes(folder / f"{name}.{kind}", figures.written(chart, kind))
            names.append(f"{name}.{kind}")
    return [folder / name for name in names]


def _page(record: Mapping[str, Any], views: Sequence[View], **more: Any) -> str:
    """Fill in the template: what all pages share, and the parts of one."""
    rows = [view.row for view in views]
    script = source("page.js")
    trainings = [item for item in sequence(record.get("trainings")) if isinstance(item, Mapping)]
    kinds = provenance.training_curves(trainings)
    shown = kinds[:_MAX_CURVES]
    sentences = [unbroken(sentence) for sentence in more.pop("sentences")]
    return template("page.html").render(
        title=sentences[0],
        sentences=sentences,
        style=markupsafe.Markup(source("page.css")),
        script=markupsafe.Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        views=views,
        has={
            key: any(row.get(key) for row in rows)
            for key in ("top5", "validation_top1", "inference_uj", "worst_class")
        },
        curves=figures.inline(figures.curves(shown), "Validation accuracy by epoch") if shown else "",
        more_curves=len(kinds) - len(shown),
        command=clip(record.get("command") or "", _MAX_LONG),
        facts=provenance.facts(record, rows) if views else [],
        machine=record.get("machine") or next((row.get("machine") for row in rows), ""),
        inference=clip(record.get("inference_energy") or "", _MAX_LONG),
        version=record.get("squeezekit") or squeezekit.__version__,
        signed=signed,
        number=lambda value: "" if figure(value) is None else value,
        **more,
    )
