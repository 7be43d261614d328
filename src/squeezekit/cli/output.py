"""How the verbs answer: aligned tables and JSON on stdout, notes and progress on stderr."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from squeezekit.safe_text import plain, width

__all__ = [
    "PATH",
    "json_option",
    "model_argument",
    "plain",
    "print_json",
    "progress",
    "refuse_same_file",
    "say",
    "share",
    "table",
]

Progress = Callable[[int, int], None]
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

PATH = click.Path(path_type=Path)


def model_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add MODEL; the verb gets its path, `model`."""
    return click.argument("model", metavar="MODEL", type=PATH)(command)


def json_option(help: str = "Print the result as JSON.") -> Decorator:
    """Add --json; the verb gets `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help=help)


def say(line: str) -> None:
    """Print a line for people on stderr, where it disturbs no script."""
    click.echo(f"squeezekit: {plain(line)}", err=True)


def share(proportion: float) -> str:
    """A proportion as a percentage.

    Example:
        >>> share(0.98765)
        '98.8 %'
    """
    return f"{100 * proportion:.1f} %"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Align columns, two spaces apart.

    Args:
        header: one title for each column.
        rows: cells, as many in each row as there are titles.
        right: positions of the columns that are aligned right, such as numbers.

    Example:
        >>> print(table(["class", "recall"], [["sea", "9.5 %"], ["street", "100.0 %"]], right=[1]))
        class    recall
        sea       9.5 %
        street  100.0 %
    """
    lines = [[plain(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]

    def aligned(position: int, cell: str) -> str:
        space = " " * (widths[position] - width(cell))
        return space + cell if position in right else cell + space

    return "\n".join("  ".join(aligned(*each) for each in enumerate(line)).rstrip() for line in lines)


def print_json(value: Any) -> None:
    """Write a value to stdout as JSON, in ASCII, so that every console can show it."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


@contextlib.contextmanager
def progress(label: str, *, shown: bool = True) -> Iterator[Progress | None]:
    """Yield a callback (done, total) that draws a bar on stderr; None if stderr is no terminal or not `shown`."""
    if not shown or not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=1, label=label, file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield show


def refuse_same_file(source: Path, output: Path) -> None:
    """Refuse to overwrite a verb's input with its output, whatever the two are called.

    Raises:
        ValueError: both are the same file.
    """
    if output.exists() and source.exists() and source.samefile(output):
        raise ValueError(f"Expected an output other than the input. Received: {output}.")
