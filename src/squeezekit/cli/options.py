"""Options that several verbs have, made from the fields of the settings; the record of a training at its end."""

import dataclasses
import enum
import functools
import shlex
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import click

from squeezekit import experiment, files, models, options, report, training
from squeezekit.cli.output import PATH, json_option, print_json, say

__all__ = [
    "command_line",
    "do",
    "experiment_options",
    "init_options",
    "options_from",
    "out_option",
    "show_advice",
    "teacher_options",
]

Command = Callable[..., Any]


def out_option(command: Command) -> Command:
    """Add --out; the verb gets `out`."""
    return click.option("-o", "--out", required=True, type=PATH, help="Folder for the results.")(command)


def options_from(
    kind: type, *, into: str, skip: Collection[str] = (), only: Collection[str] = ()
) -> Callable[[Command], Command]:
    """Add an option for each field of a dataclass that has an `Option`; the verb gets one value of it.

    Args:
        kind: the dataclass; nested dataclasses give their options too.
        into: the verb's parameter that gets the value.
        skip: field names that get no option and keep their defaults.
        only: field names that get one; empty for all.
    """
    found = [
        (name, each)
        for name, each, _ in options.options_of(kind)
        if name not in skip and (not only or name in only)
    ]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_value(**words: Any) -> Any:
            values = {name: words.pop(name) for name, _ in found}
            # A flag turns its field into the opposite of the default: --no-baseline.
            values |= {name: values[name] != each.default for name, each in found if each.kind is bool}
            return command(**{into: options.build(kind, values)}, **words)

        for name, each in reversed(found):
            _click_option(name, each)(with_value)
        return with_value

    return decorate


def _click_option(name: str, found: options.Option) -> Callable[[Command], Command]:
    """The click option of a field."""
    shown = not found.auto and found.default not in (None, "", ())
    details: dict[str, Any] = {"help": found.help, "metavar": found.metavar or None}
    ranged: dict[str, Any] = {"min": found.least, "max": found.most, "min_open": found.above}
    if found.kind is bool:
        return click.option(f"--{found.name}", name, is_flag=True, **details)
    choices = found.choices
    if isinstance(found.kind, type) and issubclass(found.kind, enum.Enum):
        choices = tuple(member.value for member in found.kind)
    if choices:
        details["type"] = click.Choice(choices)
    elif found.kind in (int, float) and (found.least, found.most) != (None, None):
        details["type"] = click.IntRange(**ranged) if found.kind is int else click.FloatRange(**ranged)
    elif found.kind in (int, float):
        details["type"] = found.kind
    elif found.kind is Path:
        details["type"] = PATH
    if found.parse is None and isinstance(found.default, tuple):
        details["multiple"] = True
    elif found.default is not None and not found.auto:
        default = found.default.value if isinstance(found.default, enum.Enum) else found.default
        details["default"] = default if found.parse is None else str(default)
    return click.option(f"--{found.name}", name, show_default=shown, **details)


def experiment_options(*skip: str) -> Callable[[Command], Command]:
    """Add the options of every verb that trains; the verb gets `plan`, without its lines, and `as_json`.

    Args:
        skip: fields of `experiment.Experiment` that the verb has no option for.
    """

    def decorate(command: Command) -> Command:
        @options_from(experiment.Experiment, into="plan", skip=skip)
        @json_option("Print run.json instead of the table.")
        @functools.wraps(command)
        def with_plan(*, plan: experiment.Experiment, **others: Any) -> None:
            if others.get("initial") and click.get_current_context().params["learning_rate"] is None:
                settings = dataclasses.replace(plan.settings, learning_rate=training.FINE_TUNING_RATE)
                plan = dataclasses.replace(plan, settings=settings)
            command(plan=plan, **others)

        return with_plan

    return decorate


def init_options(command: Command) -> Command:
    """Add --init and --freeze above `experiment_options`; the verb gets `initial` and `frozen`."""

    @click.option(
        "--init",
        metavar="FILE",
        type=PATH,
        help="Start from the weights of a .keras or of Deep Compression's .net; layers that do not fit are new.",
    )
    @click.option(
        "--freeze",
        metavar="PATTERNS",
        default="",
        help='Layers that keep the weights of --init, such as "conv1,fire[2-4]*": faster, and safer with few images.',
    )
    @functools.wraps(command)
    def with_initial(*, init: Path | None, freeze: str, **others: Any) -> None:
        if freeze and init is None:
            raise ValueError("Expected --init with --freeze: frozen random weights learn nothing.")
        patterns = tuple(part.strip() for part in freeze.split(",") if part.strip())
        command(initial=training.read_initial(init) if init else None, frozen=patterns, **others)

    return with_initial


def teacher_options(what: str, *, itself: str = "") -> Callable[[Command], Command]:
    """Add --teacher and what goes with it; the verb gets `distil`, or None without a teacher.

    Args:
        what: the teacher guides, for the help.
        itself: which network `--teacher self` is, the default then; without it there is none.
    """

    def decorate(command: Command) -> Command:
        @click.option(
            "--teacher",
            metavar="MODEL.keras|self|none" if itself else "MODEL.keras",
            default="self" if itself else "none",
            show_default=bool(itself),
            help=f"Network that guides {what}" + (f"; 'self' is {itself}." if itself else "."),
        )
        @options_from(training.SelfDistil, into="numbers")
        @functools.wraps(command)
        def with_teacher(*, teacher: str, numbers: training.SelfDistil, **others: Any) -> None:
            distil: training.Distil | training.SelfDistil | None = None
            if teacher == "self" and itself:
                distil = numbers
            elif teacher != "none":
                distil = training.Distil(models.load(teacher), numbers.temperature, numbers.weight)
            command(distil=distil, **others)

        return with_teacher

    return decorate


def do(source: str, out: Path, plan: experiment.Experiment, *, as_json: bool) -> bool:
    """Run an experiment of named files, write its page, and print `run.json` or its table; True for JSON."""
    record = experiment.run(source, out, plan, command=command_line(), advise=show_advice)
    files.write_text(out / "report.html", report.render(record))
    if as_json:
        print_json(record)
    else:
        click.echo(report.table(record))
    return as_json


def command_line() -> str:
    """The command as typed, for the record: `squeezekit squeeze photos -o out`."""
    return shlex.join(["squeezekit", *sys.argv[1:]])


def show_advice(line: str) -> None:
    """A sentence of advice on stderr, where it disturbs no script."""
    say(f"advice: {line}")
