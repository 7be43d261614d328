"""`squeezekit export`: a Keras file, the published Deep Compression network or a `.tflite` becomes a target's file."""

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import click

# `compress` registers the classes of a network that still has its hooks.
from squeezekit import codec, compress, data, export, models
from squeezekit.cli.labels import labels_option, read_labels
from squeezekit.cli.output import PATH, json_option, print_json, progress, refuse_same_file
from squeezekit.errors import FormatError
from squeezekit.preprocess import Preprocess

__all__ = ["command"]

_KERAS, _TFLITE = (".keras", ".net"), (".tflite", ".sqz")


class _ListsTargets(click.Command):
    """Lists the registered targets at the end of the help."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Targets"):
            formatter.write_dl(
                [(name, f"{each.help} ({each.suffix})") for name, each in export.TARGETS.items()]
            )


@click.command(cls=_ListsTargets)
@click.argument("model", metavar="MODEL.keras|.net", type=PATH)
@click.option("-o", "--output", required=True, metavar="FILE", type=PATH)
@click.option("--target", metavar="NAME", help="What to write; tflite, or tflite-int8 with --int8.")
@click.option("--int8", is_flag=True, help="Integers throughout; needs --calibrate.")
@click.option(
    "--calibrate", metavar="DATA", help="Images that set the integer ranges: up to 100 of the training part."
)
@click.option(
    "--per-channel",
    is_flag=True,
    help="One weight scale for each output channel instead of one for each tensor: more accurate for a network that "
    "was not trained quantized, but larger, and it breaks up shared weights. Only with --int8.",
)
@click.option("--seed", default=0, show_default=True, help="Chooses the calibration images.")
@labels_option
@json_option()
def command(
    model: Path,
    output: Path,
    target: str | None,
    int8: bool,
    calibrate: str | None,
    per_channel: bool,
    seed: int,
    labels: Path | None,
    as_json: bool,
) -> None:
    """Write a Keras network as a .tflite with its labels inside, or as another target.

    Labels and image settings come from run.json beside MODEL.keras, which `squeezekit train` writes. --labels FILE
    replaces the labels. Without both, labels are numbers, and images are squashed to the network's input.

    MODEL.net is the published SqueezeNet of Deep Compression, with ImageNet's 1,000 classes in ILSVRC's order. A
    target that starts from a .tflite also takes MODEL.tflite and MODEL.sqz.
    """
    chosen = export.target(target or ("tflite-int8" if int8 else "tflite"))
    if int8 and chosen.integer is False:
        raise ValueError(f"Expected --int8 with a target of integers. Received: --target {target}.")
    int8 = int8 or bool(chosen.integer)
    if int8 != (calibrate is not None):
        raise ValueError("Expected --int8 and --calibrate DATA together: integer ranges are set by images.")
    if per_channel and not int8:
        raise ValueError("Expected --per-channel with --int8: float weights have no scales.")
    accepted = _KERAS if chosen.start is export.Start.KERAS else _KERAS + _TFLITE
    if model.suffix not in accepted:
        raise ValueError(f"Expected a {' or '.join(accepted)} file. Received: {model}.")
    refuse_same_file(model, output)
    network: Any
    if model.suffix in _KERAS:
        network, options, images = _read_keras(
            model, labels, calibrate, per_channel=per_channel, seed=seed, shown=not as_json
        )
    elif int8 or labels:
        raise ValueError(f"Expected neither --int8 nor --labels with a finished file. Received: {model}.")
    else:
        network, options, images = _read_tflite(model), export.ExportOptions(), 0
    export.write(chosen.name, network, output, options)
    result = {
        "output": str(output),
        "bytes": output.stat().st_size,
        **_describe(network, int8=int8),
        "calibration_images": images,
    }
    if as_json:
        print_json(result)
        return
    kind = "float32" if result["dtype"] == "float32" else "full-integer"
    source = f" from {images} images" if images else ""
    click.echo(f"{output}: {result['bytes']:,} bytes, {kind}{source}, {result['classes']} classes")


def _read_keras(
    path: Path, labels: Path | None, calibrate: str | None, *, per_channel: bool, seed: int, shown: bool
) -> tuple[Any, export.ExportOptions, int]:
    """Return the plain network, the options of its file, and the number of calibration images."""
    published = path.suffix == ".net"
    settings = {} if published else _run_settings(path.parent / "run.json")
    names = read_labels(labels) if labels else settings.get("labels", [])
    if published:
        hooked, preprocess = models.load_net(path), models.NET_PREPROCESS
        network = hooked
    else:
        hooked = models.load(path)
        network = compress.strip(hooked)
        preprocess = settings.get("preprocess") or Preprocess(*network.input_shape[1:3])
    calibration, images = None, 0
    if calibrate is not None:
        # A network that was trained elsewhere needs no test part of DATA.
        parts: dict[str, Any] = {"validation": 0, "test": 0} if published else {}
        with progress("Checking images", shown=shown) as show:
            train = data.open_dataset(calibrate, **parts, progress=show).train
        images = min(len(train), 100)
        calibration = export.calibration_batches(train, preprocess, images=images, seed=seed)
    options = export.ExportOptions(
        calibration=calibration,
        labels=names,
        preprocess=preprocess,
        provenance={name: importlib.metadata.version(name) for name in ("squeezekit", "keras")},
        per_channel=per_channel,
        # Ranges that training found, if the network still has its hooks; a float file needs none.
        ranges=compress.activation_ranges(hooked) if calibrate is not None else None,
    )
    return network, options, images


def _read_tflite(path: Path) -> bytes:
    content = path.read_bytes()
    return codec.unpack(content) if path.suffix == ".sqz" else content


def _describe(network: Any, *, int8: bool) -> dict[str, Any]:
    """Type and shape of the input, and the number of classes."""
    if not isinstance(network, bytes):
        dtype, shape, output = "uint8" if int8 else "float32", network.input_shape[1:], network.output_shape
    else:
        graph = export.audit(network)
        dtype, shape, output = graph.inputs[0].dtype, graph.inputs[0].shape[1:], graph.outputs[0].shape
    return {"dtype": dtype, "input_shape": [1, *shape], "classes": output[-1]}


def _run_settings(path: Path) -> dict[str, Any]:
    """Labels and image settings from a run.json; empty if there is no such file."""
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
