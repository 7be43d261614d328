"""--labels: a text file with one label per line, for the verbs that write labels into a model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from squeezekit import runtime
from squeezekit.cli.output import PATH
from squeezekit.errors import FormatError

__all__ = ["labels_option", "read_labels"]


def labels_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --labels; the verb gets a path, `labels`, or None."""
    return click.option("--labels", metavar="FILE", type=PATH, help="One label per line, in order.")(command)


def read_labels(path: Path) -> list[str]:
    """Read the labels.

    Raises:
        FormatError: it is not UTF-8 text, or has no label.
    """
    try:
        return list(runtime.parse_labels(path.read_bytes()))
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
