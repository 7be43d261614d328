"""Options that several training verbs share."""

import shlex
import sys
from collections.abc import Callable
from typing import Any

import click

__all__ = ["command_line", "training_options"]

_OPTIONS = (
    click.option(
        "--epochs",
        default=0,
        type=click.IntRange(0),
        help="Passes over the images; by default 20, and more when they are few.",
    ),
    click.option(
        "--batch-size",
        default=0,
        type=click.IntRange(0),
        help="Images a step; by default 64, and fewer when there are few.",
    ),
    click.option(
        "--learning-rate",
        default=2e-3,
        show_default=True,
        type=click.FloatRange(0, min_open=True),
        help="Peak of the schedule; AlexNet's is capped at 0.0005.",
    ),
    click.option(
        "--optimizer",
        default="adamw",
        show_default=True,
        type=click.Choice(["adamw", "sgd"]),
        help="Update rule.",
    ),
    click.option(
        "--precision",
        default="auto",
        show_default=True,
        type=click.Choice(["auto", "float32", "bfloat16"]),
        help="Arithmetic of the training; auto takes bfloat16 where the processor has it.",
    ),
    click.option(
        "--size",
        default=0,
        type=click.IntRange(0, 4096),
        help="Side of the input in pixels; taken from the images.",
    ),
    click.option(
        "--seed",
        default=0,
        show_default=True,
        type=click.IntRange(0, 2**31 - 1),
        help="Of splits and training.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print run.json instead of the table."),
)


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every verb that trains."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def command_line() -> str:
    """The command as typed, for the record: `squeezekit squeeze photos -o out`."""
    return shlex.join(["squeezekit", *sys.argv[1:]])
