"""What the verbs share to speak: aligned tables, JSON on stdout, progress on a terminal."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

__all__ = ["plain", "print_json", "progress", "refuse_same_file", "share", "table"]

Progress = Callable[[int, int], None]


def plain(text: str) -> str:
    """One line without control characters: names come from files, and files from strangers.

    Example:
        >>> plain("a" + chr(27) + "[2J" + chr(10) + "b")
        'a�[2J b'
    """
    line = " ".join(text.split())
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)


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
        header: one title a column.
        rows: cells, as many a row as there are titles.
        right: positions of the columns that are aligned right: figures.

    Example:
        >>> print(table(["class", "recall"], [["sea", "9.5 %"], ["street", "100.0 %"]], right=[1]))
        class    recall
        sea       9.5 %
        street  100.0 %
    """
    lines = [[plain(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if position in right else cell.ljust(width)
            for position, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def print_json(value: Any) -> None:
    """Write a value to stdout as JSON, in ASCII, so that it survives any console."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


@contextlib.contextmanager
def progress(label: str, *, shown: bool = True) -> Iterator[Progress | None]:
    """Yield a callback (done, in all) that draws a bar on stderr; None when that is no terminal or not `shown`."""
    if not shown or not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=1, label=label, file=sys.stderr) as bar:
        last = 0

        def show(done: int, total: int) -> None:
            nonlocal last
            bar.length = total
            bar.update(done - last)
            last = done

        yield show


def refuse_same_file(source: Path, output: Path) -> None:
    """Refuse to replace a verb's input by its output, whatever the two are called.

    Raises:
        ValueError: both are the same file.
    """
    if output.exists() and source.exists() and source.samefile(output):
        raise ValueError(f"Expected an output other than the input. Received: {output}.")
