"""`squeezekit predict`: label images from files, folders, a stream, a watched folder or a camera."""

import contextlib
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from squeezekit import runtime
from squeezekit.cli import output
from squeezekit.errors import FormatError
from squeezekit.quiet import quiet_native
from squeezekit.runtime import Frame

__all__ = ["command"]

_TOP_IN_JSON = 5
# Fewer images are done before anyone can read a progress bar.
_MANY = 20
_UNSURE = "unsure"


@click.command()
@output.model_argument
@click.argument("images", metavar="[IMAGE|FOLDER|-]...", nargs=-1, type=output.PATH)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    help=f"Number of most probable classes to show. [default: 1; with --json {_TOP_IN_JSON}]",
)
@click.option(
    "--threshold",
    default=0.0,
    type=click.FloatRange(0, 1),
    help=f"Probability in [0, 1] below which a label is '{_UNSURE}' (null with --json).",
)
@click.option(
    "--watch", metavar="FOLDER", type=output.PATH, help="Label each new image in this folder, until stopped."
)
@click.option(
    "--camera",
    metavar="NUMBER",
    type=click.IntRange(0),
    help="Label the pictures of a camera, until stopped; 0 is the first camera.",
)
@output.json_option("Print the result as JSON: a list, or one line for each image of a stream.")
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
    """Label images with a .sqz or .tflite.

    A folder means every image in it. `-` reads images from standard input: one file, or JPEG after JPEG. With `-`,
    --watch and --camera each image is one line, printed at once. An unreadable image is reported and skipped, and
    the exit status is then 2.
    """
    streamed = images == (Path("-"),)
    if sum((bool(images), watch is not None, camera is not None)) != 1:
        raise click.UsageError("Give one source: images, '-', --watch or --camera.")
    if Path("-") in images and not streamed:
        raise click.UsageError("Give images or '-', not both.")
    with quiet_native():
        network = runtime.load(model)
    labeller = _Labeller(network, top or (_TOP_IN_JSON if as_json else 1), threshold)
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
                    labeller.label_frame(frame, as_json)
    else:
        labeller.label_files(images, as_json)
    if labeller.problems:
        context.exit(2)


class _Labeller:
    """Labels images and prints the labels; counts the images that it could not read."""

    def __init__(self, network: runtime.Model, top: int, threshold: float) -> None:
        self.network = network
        self.top = top
        self.threshold = threshold
        self.problems = 0

    def label_frame(self, frame: Frame, as_json: bool) -> None:
        """Print one line: JSON, or name, label and probability with tabs between."""
        try:
            prediction = self.network.predict(frame.image, top=self.top)
        except (FormatError, OSError) as error:
            self._report(_reason(frame.name, error))
            return
        if as_json:
            line = json.dumps(self._as_json(frame.name, prediction), allow_nan=False)
        else:
            cells = [
                cell
                for label, odds in prediction.top
                for cell in (self._label(label, odds), output.share(odds))
            ]
            line = "\t".join(output.plain(cell) for cell in (frame.name, *cells))
        # Flush now: a program at the other end of a pipe may wait for the line.
        click.echo(line)
        sys.stdout.flush()

    def label_files(self, images: tuple[Path, ...], as_json: bool) -> None:
        """Print a table of all images, or a JSON list."""
        paths = [path for image in images for path in _files(image)]
        found: list[tuple[Path, runtime.Prediction]] = []
        problems = []
        with output.progress("predicting", shown=len(paths) >= _MANY) as bar:
            for done, image in enumerate(paths, start=1):
                try:
                    found.append((image, self.network.predict(image, top=self.top)))
                except (FormatError, OSError) as error:
                    problems.append(_reason(str(image), error))
                if bar is not None:
                    bar(done, len(paths))
        if as_json:
            output.print_json([self._as_json(str(image), prediction) for image, prediction in found])
        elif found:
            rows = [
                [str(image) if rank == 0 else "", self._label(label, probability), output.share(probability)]
                for image, prediction in found
                for rank, (label, probability) in enumerate(prediction.top)
            ]
            click.echo(output.table(["image", "label", "probability"], rows, right=[2]))
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
        output.say(problem)


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
    # A frame has no file name that the message could hold.
    return str(error) if name in str(error) else f"{name}: {str(error).removeprefix('image: ')}"


@contextlib.contextmanager
def _until_terminated() -> Iterator[None]:
    """A context in which SIGTERM and Ctrl-C end the work with exit status 0."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)
