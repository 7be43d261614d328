"""Rows of a study: a trained stage exported, packed with each coder, and measured on the files that ship."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from squeezekit import codec, compress, files, models, runtime
from squeezekit.data import Images
from squeezekit.errors import DataError, FormatError
from squeezekit.quiet import quiet_native
from squeezekit.study.agenda import RowSpec, Site, Stage
from squeezekit.study.joules import inference_uj
from squeezekit.study.measure import evaluate_split, share_interval
from squeezekit.study.stages import read_stage
from squeezekit.study.workshop import Workshop, describe_machine
from squeezekit.training import Progress

__all__ = ["measure_rows"]

# With fewer classes nearly every answer is among the five likeliest.
_CLASSES_FOR_TOP5 = 6


def measure_rows(
    site: Site,
    stage: Stage,
    rows: Sequence[RowSpec],
    *,
    done: Mapping[str, Mapping[str, Any]],
    probes: int,
    progress: Progress,
) -> Iterator[dict[str, Any]]:
    """Write the files of a finished stage and measure them, one row after another.

    Rows that differ by their coder alone are of the same network, byte for byte once unpacked, which is verified:
    accuracy and latency are measured on the first file, sizes, cold start and memory on each.

    Args:
        site: where the study works.
        stage: in the cache.
        rows: those of the stage whose files shall be written.
        done: rows that the study has already, by id; of those among `rows` only the file is written again.
        probes: fresh processes that each file's cold start is the median of.
        progress: where to show how far it is.

    Yields:
        Each row that is not `done`, as it goes into `results.jsonl`.

    Raises:
        DataError: a test image cannot be read any more.
        FormatError: a file does not come back from its coder, or is not the one that its row was measured on.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(stage.seed)
    record = read_stage(site, stage.key)
    plain = models.fold_batch_norm(models.load(site.folder(stage.key) / "model.keras"))
    network = _network_row(stage, plain)
    tflite = _export(site, stage, plain, record["ranges"], progress)
    answers = _answers_of_a_sibling(site, stage, done, tflite)
    for row in rows:
        started = time.monotonic()
        path = site.out / row.file
        # AlexNet ships as what it would be compared with by anybody: a float `.tflite`.
        data = tflite if not row.factors else codec.pack(tflite, coder=row.factors["coder"])
        files.remove_leftovers(path)
        files.write_bytes(path, data)
        if row.factors and codec.unpack(path.read_bytes()) != tflite:
            raise FormatError(f"{path}: does not unpack to the .tflite that it was made of; please report it")
        if row.id in done:
            if done[row.id]["bytes"]["file"] != len(data):
                raise FormatError(f"{path}: not the file that its row in results.jsonl was measured on")
            continue
        if answers is None:
            answers = _answers(site, path, progress)
        progress.say(f"measured {path.name}: {len(data):,} bytes, top-1 {answers['top1']:.1%}")
        _, first = next(site.dataset.test.pictures())
        # A row of an array is in no file of its own; noise takes as long but for the decoding.
        image = first if isinstance(first, str) else None
        cold = runtime.footprint(path, image, processes=probes)
        yield {
            "id": row.id,
            "baseline": not row.factors,
            "factors": dict(row.factors),
            **network,
            "file": row.file,
            "command": row.command,
            "bytes": _bytes(data),
            **answers,
            "cold_start_ms": cold.cold_start_ms,
            "peak_memory_bytes": cold.peak_memory_bytes,
            "seconds": round(time.monotonic() - started, 2),
            **describe_machine(),
        }


def _network_row(stage: Stage, plain: keras.Model) -> dict[str, Any]:
    figures = compress.measure(plain)
    # What the layers that compute hand on; activation functions are done in place.
    activations = sum(math.prod(layer.output.shape[1:]) for layer in plain.layers if layer.weights)
    costs = {"macs": figures.macs, "parameters": figures.parameters, "activations": activations}
    return {
        "recipe": stage.recipe,
        "network": stage.network,
        "seed": stage.seed,
        "stage": stage.key,
        **costs,
        "nonzero": figures.nonzero,
        "inference_uj": inference_uj(**costs, dtype="int8" if _is_int8(stage) else "float32"),
    }


def _is_int8(stage: Stage) -> bool:
    """Whether a stage ships in integers: then its weights have been quantized."""
    return any(technique.name == "quantize" for technique in compress.parse(stage.recipe))


def _export(
    site: Site, stage: Stage, plain: keras.Model, ranges: Mapping[str, Sequence[float]], progress: Progress
) -> bytes:
    """The stage's `.tflite`, full-integer or float."""
    shop = Workshop(site.source, site.out, site.dataset, site.preprocess, stage.seed, progress)
    path = shop.work / f"{stage.key[:16]}.tflite"
    files.remove_leftovers(path)
    bounds = {name: (low, high) for name, (low, high) in ranges.items()}
    shop.export(plain, path, recipe=stage.recipe, int8=_is_int8(stage), ranges=bounds)
    tflite = path.read_bytes()
    path.unlink()
    return tflite


def _bytes(data: bytes) -> dict[str, int]:
    """Where a file's bytes go; the parts add up to the whole."""
    found = codec.describe(data)
    weights = found.sections["tensors"] - found.tables
    graph = found.bytes - found.sections["tensors"]
    return {"file": found.bytes, "graph": graph, "tables": found.tables, "weights": weights}


def _answers(site: Site, path: Path, progress: Progress) -> dict[str, Any]:
    """What the file says of every test image, how often it is right on validation images, and how fast it is."""
    names = site.dataset.class_names
    with quiet_native():
        model = runtime.load(path)
    result = _evaluation(site, model, site.dataset.test, f"test {path.name}", progress)
    validation = _evaluation(site, model, site.dataset.validation, f"validate {path.name}", progress)
    top5 = result.top5 if len(names) >= _CLASSES_FOR_TOP5 else None
    numbers = {name: number for number, name in enumerate(names)}
    return {
        "top1": result.top1,
        "top5": top5,
        "top1_interval": share_interval(result.top1, result.images),
        "top5_interval": None if top5 is None else share_interval(top5, result.images),
        "validation_top1": validation.top1,
        "predicted": [numbers[outcome.predicted] for outcome in result.predictions],
        "latency_ms": runtime.latency_ms(model),
    }


def _evaluation(
    site: Site, model: runtime.Model, split: Images, what: str, progress: Progress
) -> runtime.Evaluation:
    result = evaluate_split(model, split, site.dataset.class_names, what, progress)
    if result.skipped:
        raise DataError(
            f"{result.skipped[0]}: it could be read when the study began; run it on the images as they are"
        )
    return result


def _answers_of_a_sibling(
    site: Site, stage: Stage, done: Mapping[str, Mapping[str, Any]], tflite: bytes
) -> dict[str, Any] | None:
    """The answers of a row of the same stage from before a kill, if its file holds the same network."""
    keys = ("top1", "top5", "top1_interval", "top5_interval", "validation_top1", "predicted", "latency_ms")
    for row in done.values():
        path = site.out / row["file"]
        sibling = row["stage"] == stage.key and row["factors"] and path.exists()
        if sibling and codec.unpack(path.read_bytes()) == tflite:
            return {key: row[key] for key in keys}
    return None
