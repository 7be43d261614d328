"""`squeezekit export`: a Keras file, or the published Deep Compression network, becomes a `.tflite`."""

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import click

# `compress` registers the classes of a network that still has its hooks.
from squeezekit import compress, data, export, models
from squeezekit.cli.output import print_json, progress, refuse_same_file
from squeezekit.errors import FormatError
from squeezekit.preprocess import Preprocess

__all__ = ["command"]


@click.command("export", short_help="Write a Keras network as a .tflite, float or full-integer.")
@click.argument("model", metavar="MODEL.keras|.net", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, metavar="MODEL.tflite", type=click.Path(path_type=Path))
@click.option("--int8", is_flag=True, help="Integers throughout; needs --calibrate.")
@click.option(
    "--calibrate", metavar="DATA", help="Images that set the integer ranges: up to 100 of the training part."
)
@click.option(
    "--per-channel",
    is_flag=True,
    help="A weight scale for each output channel, not one a tensor: more accurate for a network that was not trained "
    "quantized, larger, and it breaks up shared weights. Only with --int8.",
)
@click.option("--seed", default=0, show_default=True, help="Chooses the calibration images.")
@click.option("--labels", metavar="FILE", type=click.Path(path_type=Path), help="One label a line, in order.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    model: Path,
    output: Path,
    int8: bool,
    calibrate: str | None,
    per_channel: bool,
    seed: int,
    labels: Path | None,
    as_json: bool,
) -> None:
    """Write a Keras network as a .tflite with its labels inside.

    Labels and image settings come from run.json beside MODEL.keras, as `squeezekit train` leaves it.
    --labels FILE replaces the labels; without either the labels are numbers and images are squashed to
    the network's input.

    MODEL.net is the published SqueezeNet of Deep Compression: ImageNet's 1,000 classes in ILSVRC's order.
    """
    if int8 != (calibrate is not None):
        raise ValueError("Expected --int8 and --calibrate DATA together: integer ranges are set by images.")
    if per_channel and not int8:
        raise ValueError("Expected --per-channel with --int8: float weights have no scales.")
    if model.suffix not in (".keras", ".net"):
        raise ValueError(f"Expected a .keras or .net file. Received: {model}.")
    refuse_same_file(model, output)
    published = model.suffix == ".net"
    settings = {} if published else _run_settings(model.parent / "run.json")
    names = _read_labels(labels) if labels else settings.get("labels", [])

    if published:
        hooked, preprocess = models.load_net(model), models.NET_PREPROCESS
        network = hooked
    else:
        hooked = models.load(model)
        network = compress.strip(hooked)
        preprocess = settings.get("preprocess") or Preprocess(*network.input_shape[1:3])
    calibration, images = None, 0
    if calibrate is not None:
        with progress("Checking images", shown=not as_json) as show:
            # A network that was trained elsewhere leaves none of DATA to be kept for its test.
            train = (
                data.open_dataset(calibrate, validation=0, test=0, progress=show).train
                if published
                else data.open_dataset(calibrate, progress=show).train
            )
        images = min(len(train), 100)
        calibration = export.calibration_batches(train, preprocess, images=images, seed=seed)
    versions = {name: importlib.metadata.version(name) for name in ("squeezekit", "keras")}
    export.litert(
        network,
        output,
        calibration=calibration,
        labels=names,
        preprocess=preprocess,
        provenance=versions,
        per_channel=per_channel,
        # Of a network that still has its hooks; a float file has no use for them.
        ranges=compress.activation_ranges(hooked) if int8 else None,
    )
    result: dict[str, Any] = {
        "output": str(output),
        "bytes": output.stat().st_size,
        "dtype": "uint8" if int8 else "float32",
        "input_shape": [1, *network.input_shape[1:]],
        "classes": network.output_shape[-1],
        "calibration_images": images,
    }
    if as_json:
        print_json(result)
    else:
        kind = f"full-integer from {images} images" if int8 else "float32"
        click.echo(f"{output}: {result['bytes']:,} bytes, {kind}, {result['classes']} classes")


def _run_settings(path: Path) -> dict[str, Any]:
    """Labels and preprocess of a run, as far as its run.json has them; nothing when there is none."""
    if not path.is_file():
        return {}
    try:
        run = json.loads(path.read_text("utf-8"))
        settings: dict[str, Any] = {}
        if "labels" in run:
            settings["labels"] = [str(label) for label in run["labels"]]
        if "preprocess" in run:
            settings["preprocess"] = Preprocess.from_dict(run["preprocess"])
    except (ValueError, TypeError) as error:
        raise FormatError(f"{path}: not the record of a run ({error})") from error
    return settings


def _read_labels(path: Path) -> list[str]:
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: not a text file in UTF-8 ({error.reason})") from error
    return [line.strip() for line in text.rstrip().splitlines()]
