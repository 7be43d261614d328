"""`squeezekit predict`: label images, whole folders of them, or whatever a stream, a folder or a camera brings."""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import click

from squeezekit import runtime
from squeezekit.cli.output import plain, print_json, progress, share, table
from squeezekit.errors import FormatError
from squeezekit.quiet import quiet_native
from squeezekit.runtime import Frame

__all__ = ["command"]

_TOP_IN_JSON = 5
# Fewer images than this are done before a bar could be read.
_MANY = 20
_UNSURE = "unsure"


@click.command("predict", short_help="Label images.")
@click.argument("model", metavar="MODEL", type=click.Path(path_type=Path))
@click.argument("images", metavar="[IMAGE|FOLDER|-]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--top",
    type=click.IntRange(min=1),
    help=f"How many of the likeliest classes to name. [default: 1; with --json {_TOP_IN_JSON}]",
)
@click.option(
    "--threshold",
    default=0.0,
    type=click.FloatRange(0, 1),
    help=f"Probability in [0, 1] below which a label is '{_UNSURE}' (null with --json).",
)
@click.option(
    "--watch",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Label images as they come into a folder, until stopped.",
)
@click.option(
    "--camera",
    metavar="NUMBER",
    type=click.IntRange(0),
    help="Label a camera's pictures until stopped; 0 is the first.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the result as JSON: a list, or of a stream a line an image.",
)
@click.pass_context
def command(
    context: click.Context,
    model: Path,
    images: tuple[Path, ...],
    top: int | None,
    threshold: float,
    watch: Path | None,
    camera: int | None,
    as_json: bool,
) -> None:
    """Say what is in each image, by a .sqz or .tflite.

    A folder stands for every image in it. `-` reads images from standard input: one file, or JPEG after JPEG. Of
    those, of --watch and of --camera each image is a line at once. An image that cannot be read is reported and
    passed over; the exit status is then 2.
    """
    streamed = images == (Path("-"),)
    if sum((bool(images), watch is not None, camera is not None)) != 1:
        raise click.UsageError("Name images, '-', --watch or --camera: one of them.")
    if Path("-") in images and not streamed:
        raise click.UsageError("Name images or '-', not both.")
    with quiet_native():
        network = runtime.load(model)
    teller = _Teller(network, top or (_TOP_IN_JSON if as_json else 1), threshold)
    if streamed or watch is not None or camera is not None:
        with _until_terminated():
            if watch is not None:
                frames: Iterator[Frame | None] = runtime.watched_files(watch)
            elif camera is not None:
                frames = runtime.camera_frames(camera)
            else:
                frames = runtime.stream_frames(sys.stdin.buffer)
            for frame in frames:
                if frame is not None:
                    teller.tell_at_once(frame, as_json)
    else:
        teller.tell_all(images, as_json)
    if teller.problems:
        context.exit(2)


class _Teller:
    """Labels images and says so; counts those that it could not read."""

    def __init__(self, network: runtime.Model, top: int, threshold: float) -> None:
        self.network = network
        self.top = top
        self.threshold = threshold
        self.problems = 0

    def tell_at_once(self, frame: Frame, as_json: bool) -> None:
        """A line for an image: its JSON, or name, label and probability between tabs."""
        try:
            prediction = self.network.predict(frame.image, top=self.top)
        except (FormatError, OSError) as error:
            self._report(_reason(frame.name, error))
            return
        if as_json:
            line = json.dumps(self._as_json(frame.name, prediction), allow_nan=False)
        else:
            cells = [
                cell for label, odds in prediction.top for cell in (self._label(label, odds), share(odds))
            ]
            line = "\t".join(plain(cell) for cell in (frame.name, *cells))
        # Now: somebody may be waiting for it at the other end of a pipe.
        click.echo(line)
        sys.stdout.flush()

    def tell_all(self, images: tuple[Path, ...], as_json: bool) -> None:
        """A table of all images, or a list as JSON."""
        paths = [path for image in images for path in _files(image)]
        found: list[tuple[Path, runtime.Prediction]] = []
        problems = []
        with progress("predicting", shown=len(paths) >= _MANY) as bar:
            for done, image in enumerate(paths, start=1):
                try:
                    found.append((image, self.network.predict(image, top=self.top)))
                except (FormatError, OSError) as error:
                    problems.append(_reason(str(image), error))
                if bar is not None:
                    bar(done, len(paths))
        if as_json:
            print_json([self._as_json(str(image), prediction) for image, prediction in found])
        elif found:
            rows = [
                [str(image) if rank == 0 else "", self._label(label, probability), share(probability)]
                for image, prediction in found
                for rank, (label, probability) in enumerate(prediction.top)
            ]
            click.echo(table(["image", "label", "probability"], rows, right=[2]))
        for problem in problems:
            self._report(problem)

    def _label(self, label: str, probability: float) -> str:
        return label if probability >= self.threshold else _UNSURE

    def _as_json(self, name: str, prediction: runtime.Prediction) -> dict[str, Any]:
        sure = prediction.probability >= self.threshold
        return {
            "image": name,
            "label": prediction.label if sure else None,
            "probability": prediction.probability,
            "top": [[label, probability] for label, probability in prediction.top],
        }

    def _report(self, problem: str) -> None:
        self.problems += 1
        click.echo(f"squeezekit: {plain(problem)}", err=True)


def _files(image: Path) -> list[Path]:
    if not image.is_dir():
        return [image]
    found = runtime.folder_images(image)
    if not found:
        raise FormatError(f"{image}: no images in this folder")
    return found


def _reason(name: str, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{name}: {error.strerror or error}"
    # The bytes of a frame have no name of their own.
    return str(error) if name in str(error) else f"{name}: {str(error).removeprefix('image: ')}"


class _until_terminated:
    """Within it SIGTERM and Ctrl-C end the work, not the process: what was said stays said, status 0."""

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGTERM, self._stop)

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        signal.signal(signal.SIGTERM, self._before)
        return isinstance(error, KeyboardInterrupt)

    @staticmethod
    def _stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt
