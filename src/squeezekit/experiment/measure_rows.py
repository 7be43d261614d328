"""From a trained stage to rows: exported, packed, and measured on the files that ship."""

import math
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
from scipy import stats

import squeezekit
from squeezekit import codec, compress, export, files, models, runtime
from squeezekit.data import Images
from squeezekit.errors import DataError, FormatError
from squeezekit.experiment.energy import inference_uj
from squeezekit.experiment.grid import UNPACKED
from squeezekit.experiment.plan import RowSpec, Site, Stage
from squeezekit.experiment.record import describe_machine
from squeezekit.experiment.row_store import file_bytes
from squeezekit.experiment.stage_cache import MODEL_FILE, read_stage
from squeezekit.quiet import quiet_native
from squeezekit.training import Progress

__all__ = ["latencies_in_turns", "measure_rows", "wilson_interval"]

# With fewer classes nearly every answer is among the five likeliest.
_CLASSES_FOR_TOP5 = 6
# What a row says of its network's answers; rows that hold the same network share it.
_ANSWERS = (
    *(
        "images",
        "top1",
        "top1_interval",
        "top5",
        "top5_interval",
        "macro_accuracy",
        "per_class",
        "class_images",
    ),
    *("worst_class", "validation_top1", "predicted", "latency_ms"),
)
# Rounds in which every network runs a few times; a round's figure is the median of its runs.
_ROUNDS, _RUNS = 30, 7


def wilson_interval(right: int, images: int) -> tuple[float, float]:
    """The 95 % confidence interval of a proportion.

    Args:
        right: successes, in [0, images].
        images: trials, at least 1.

    Returns:
        Lower and upper bound in [0, 1].

    Example:
        >>> low, high = wilson_interval(90, 100)
        >>> round(low, 3), round(high, 3)
        (0.826, 0.945)

    Paper: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    interval = stats.binomtest(right, images).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


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
        site: where the experiment works.
        stage: in the cache.
        rows: those of the stage whose files shall be written.
        done: rows that the experiment has already, by id; of those among `rows` only the file is written again.
        probes: fresh processes that each file's cold start is the median of.
        progress: where to show how far it is.

    Yields:
        Each row that is not `done`; what it is compared with (`times_smaller`) is for the store to add.

    Raises:
        DataError: a test image cannot be read any more.
        FormatError: a file does not come back from its coder, or is not the one that its row was measured on.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(stage.seed)
    kept = site.folder(stage.key) / MODEL_FILE
    plain = models.fold_batch_norm(models.load(kept))
    figures = _figures(stage, plain)
    exported: dict[bool, bytes] = {}
    answers: dict[bool, dict[str, Any]] = {}
    for row in rows:
        started = time.monotonic()
        integer = bool(row.line.int8)
        if integer not in exported:
            exported[integer] = _export(site, stage, plain, integer, progress)
            known = _answers_of_a_sibling(site, stage, done, exported[integer])
            answers |= {integer: known} if known else {}
        tflite = exported[integer]
        path = _write(site.out, row, tflite, kept, progress)
        size = path.stat().st_size
        if row.id in done:
            if file_bytes(done[row.id]) != size:
                raise FormatError(f"{path}: not the file that its row in results.jsonl was measured on")
            continue
        if integer not in answers:
            answers[integer] = _answers(site, path, progress)
        progress.say(f"measured {path.name}: {size:,} bytes, top-1 {answers[integer]['top1']:.1%}")
        _, first = next(site.dataset.test.pictures())
        # A row of an array is in no file of its own; noise takes as long but for the decoding.
        image = first if isinstance(first, str) else None
        cold = runtime.footprint(path, image, processes=probes)
        dtype = "int8" if integer else "float32"
        yield {
            "id": row.id,
            "baseline": row.baseline,
            "name": row.name,
            "factors": dict(row.factors),
            **figures,
            "dtype": dtype,
            "inference_uj": inference_uj(
                macs=figures["macs"],
                parameters=figures["parameters"],
                activations=figures["activations"],
                dtype=dtype,
            ),
            "file": row.file,
            "command": row.command,
            "file_bytes": size,
            "bytes": _parts(path),
            **answers[integer],
            "cold_start_ms": cold.cold_start_ms,
            "peak_memory_bytes": cold.peak_memory_bytes,
            "seconds": round(time.monotonic() - started, 2),
            **describe_machine(),
        }


def latencies_in_turns(rows: Sequence[Mapping[str, Any]], out: Path, progress: Progress) -> dict[str, Any]:
    """Time one file of each trained network, turn by turn: what slows the machine for a while slows all of them.

    Args:
        rows: whose files are there; those of one stage hold the same network.
        out: the experiment's folder.
        progress: where to show how far it is.

    Returns:
        "rounds", "runs" of a network in a round, and "ms": by stage the median of each round, in the order in which
        rounds were run.
    """
    paths: dict[str, Path] = {}
    for row in rows:
        paths.setdefault(row["stage"], out / row["file"])
    with quiet_native():
        opened = [runtime.load(path) for path in paths.values()]
    found = runtime.latencies(
        opened,
        rounds=_ROUNDS,
        runs=_RUNS,
        progress=lambda done, total: progress.update("latency in turns", done, total),
    )
    medians = [taken.round_medians_ms.tolist() for taken in found]
    return {"rounds": _ROUNDS, "runs": _RUNS, "ms": dict(zip(paths, medians, strict=True))}


def _figures(stage: Stage, plain: keras.Model) -> dict[str, Any]:
    """What a row says of its network."""
    cost = compress.measure(plain)
    return {
        "recipe": stage.recipe,
        "network": stage.network,
        "model": stage.network,
        "seed": stage.seed,
        "stage": stage.key,
        "macs": cost.macs,
        "parameters": cost.parameters,
        # What the layers that compute hand on; activation functions are done in place.
        "activations": sum(math.prod(layer.output.shape[1:]) for layer in plain.layers if layer.weights),
        "nonzero": cost.nonzero,
        "nonzero_parameters": cost.nonzero,
    }


def _export(site: Site, stage: Stage, plain: keras.Model, integer: bool, progress: Progress) -> bytes:
    """The stage's `.tflite`, full-integer or float; training images set ranges that were not trained."""
    progress.say(f"writing the .tflite of {stage.title}")
    ranges = {name: (low, high) for name, (low, high) in read_stage(site, stage.key)["ranges"].items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.tflite"
        export.litert(
            plain,
            path,
            calibration=export.calibration_batches(site.dataset.train, site.preprocess, seed=stage.seed)
            if integer
            else None,
            ranges=ranges if integer else None,
            labels=site.dataset.class_names,
            preprocess=site.preprocess,
            provenance={
                "squeezekit": squeezekit.__version__,
                "model": plain.name,
                "recipe": stage.recipe,
                "seed": stage.seed,
                "data": site.dataset.fingerprint[:16],
            },
        )
        return path.read_bytes()


def _write(out: Path, row: RowSpec, tflite: bytes, kept: Path, progress: Progress) -> Path:
    """The file that ships, which is read back, and its copies."""
    path = out / row.file
    data = tflite
    if row.line.coder != UNPACKED:
        data = codec.pack(
            tflite,
            coder=row.line.coder,
            progress=lambda done, total: progress.update("packing", done, total),
        )
    files.remove_leftovers(path)
    files.write_bytes(path, data)
    if row.line.coder != UNPACKED and codec.unpack(path.read_bytes()) != tflite:
        raise FormatError(f"{path}: does not unpack to the .tflite that it was made of; please report it")
    for name in row.line.copies:
        if name.endswith(".keras"):
            with files.replacing(out / name) as temporary:
                shutil.copyfile(kept, temporary)
        else:
            files.write_bytes(out / name, tflite)
    return path


def _parts(path: Path) -> dict[str, int]:
    """Where a file's bytes go; the parts add up to the whole."""
    found = codec.describe(path.read_bytes())
    weights = found.sections["tensors"] - found.tables
    graph = found.bytes - found.sections["tensors"]
    return {"file": found.bytes, "graph": graph, "tables": found.tables, "weights": weights}


def _answers(site: Site, path: Path, progress: Progress) -> dict[str, Any]:
    """What the file says of every test image, how often it is right on validation images, and how fast it is."""
    names = site.dataset.class_names
    with quiet_native():
        model = runtime.load(path)
    result = _evaluation(site, model, site.dataset.test, f"test {path.name}", progress)
    validation = (
        _evaluation(site, model, site.dataset.validation, f"validate {path.name}", progress).top1
        if len(site.dataset.validation)
        else None
    )
    top5 = result.top5 if len(names) >= _CLASSES_FOR_TOP5 else None
    numbers = {name: number for number, name in enumerate(names)}

    def interval(share: float) -> list[float]:
        return list(wilson_interval(round(share * result.images), result.images))

    figures = (
        *(result.images, result.top1, interval(result.top1)),
        *(top5, None if top5 is None else interval(top5)),
        *(result.macro_accuracy, dict(result.per_class), result.counts),
        {"label": result.worst_class, "recall": result.per_class[result.worst_class]},
        validation,
        [numbers[outcome.predicted] for outcome in result.predictions],
        runtime.latency_ms(model),
    )
    return dict(zip(_ANSWERS, figures, strict=True))


def _evaluation(
    site: Site, model: runtime.Model, split: Images, what: str, progress: Progress
) -> runtime.Evaluation:
    """What the runtime makes of every image of a split."""
    result = runtime.evaluate_images(
        model,
        split.pictures(),
        [site.dataset.class_names[label] for label in split.labels],
        progress=lambda done, total: progress.update(what, done, total),
    )
    if result.skipped:
        raise DataError(
            f"{result.skipped[0]}: it could be read when the study began; run it on the images as they are"
        )
    return result


def _answers_of_a_sibling(
    site: Site, stage: Stage, done: Mapping[str, Mapping[str, Any]], tflite: bytes
) -> dict[str, Any] | None:
    """The answers of a row of the same stage from before a kill, if its file holds the same network."""
    for row in done.values():
        path = site.out / row["file"]
        known = row["stage"] == stage.key and all(key in row for key in _ANSWERS)
        packed = path.suffix == ".sqz" and path.exists()
        if known and packed and codec.unpack(path.read_bytes()) == tflite:
            return {key: row[key] for key in _ANSWERS}
    return None
