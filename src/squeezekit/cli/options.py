"""What the verbs that train have in common: options, settings, the record at the end."""

import functools
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from squeezekit import data, files, models, study, training
from squeezekit.cli.output import plain, print_json

__all__ = [
    "command_line",
    "compress_epochs_option",
    "finish_run",
    "init_options",
    "norm_option",
    "per_class_option",
    "show_advice",
    "teacher_options",
    "training_options",
]

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
        type=click.FloatRange(0, min_open=True),
        help="Peak of the schedule; by default 0.002, or 0.0005 with --init. AlexNet's is capped at 0.0005.",
    ),
    click.option(
        "--optimizer",
        default="adamw",
        show_default=True,
        type=click.Choice(["adamw", "sgd"]),
        help="Update rule.",
    ),
    click.option(
        "--weight-decay",
        default=training.Settings().weight_decay,
        show_default=True,
        type=click.FloatRange(0),
        help="Of kernels at each step, times the learning rate. More, such as 0.05, where a long training knows its "
        "own images far better than others.",
    ),
    click.option(
        "--cutout",
        default=data.Augment().cutout,
        show_default=True,
        type=click.FloatRange(0, 1),
        help="Side of a grey square that hides a part of each training image, as a share of the image's; 0.25 or more "
        "for the same ill.",
    ),
    click.option(
        "--precision",
        default="auto",
        show_default=True,
        type=click.Choice(["auto", "float32", "bfloat16"]),
        help="Arithmetic of the training; auto takes bfloat16 where the processor has it.",
    ),
    click.option(
        "--balance",
        default="none",
        show_default=True,
        type=click.Choice([balance.value for balance in training.Balance]),
        help="For classes of unequal size: weights in the loss, or small classes sampled as often as the largest.",
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

_INIT_OPTIONS = (
    click.option(
        "--init",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Start from the weights of a .keras or of Deep Compression's .net; layers that do not fit are new.",
    ),
    click.option(
        "--freeze",
        metavar="PATTERNS",
        default="",
        help='Layers that keep the weights of --init, such as "conv1,fire[2-4]*": faster, and safer with few images.',
    ),
)

_TEACHER_OPTIONS = (
    click.option(
        "--temperature",
        default=4.0,
        show_default=True,
        type=click.FloatRange(0, min_open=True),
        help="Softens the teacher's probabilities.",
    ),
    click.option(
        "--distil-weight",
        default=0.7,
        show_default=True,
        type=click.FloatRange(0, 1),
        help="Of the teacher against the labels.",
    ),
)


def norm_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --norm, None for what suits; the verb gets `norm`."""
    return click.option(
        "--norm",
        type=click.Choice([norm.value for norm in models.Norm]),
        help="Where a SqueezeNet has BatchNorm, which exports fold away; by default squeeze, or as in --init.",
    )(command)


def compress_epochs_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --compress-epochs, 0 for three tenths of the others; the verb gets `compress_epochs`."""
    return click.option(
        "--compress-epochs",
        default=0,
        type=click.IntRange(0),
        help="Epochs of each technique; three tenths of --epochs.",
    )(command)


def per_class_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --train-per-class, 0 for a share of each class; the verb gets `train_per_class`."""
    return click.option(
        "--train-per-class",
        metavar="N",
        default=0,
        type=click.IntRange(0),
        help="Train on N images of every class, validation included, and test on all others, as Caltech's protocol "
        "has it. A later verb on the same images wants the same N.",
    )(command)


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every verb that trains; the verb gets `settings`, `size` and `as_json`."""

    @functools.wraps(command)
    def with_settings(
        *,
        epochs: int,
        batch_size: int,
        learning_rate: float | None,
        optimizer: str,
        weight_decay: float,
        cutout: float,
        precision: str,
        balance: str,
        seed: int,
        **others: Any,
    ) -> None:
        usual = training.FINE_TUNING_RATE if others.get("initial") else training.Settings().learning_rate
        settings = training.Settings(
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate or usual,
            optimizer=training.Optimizer(optimizer),
            weight_decay=weight_decay,
            augment=data.Augment(cutout=cutout),
            precision=training.Precision(precision),
            balance=training.Balance(balance),
            seed=seed,
        )
        command(settings=settings, **others)

    for option in reversed(_OPTIONS):
        with_settings = option(with_settings)
    return with_settings


def init_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --init and --freeze above `training_options`; the verb gets `initial` and `frozen`."""

    @functools.wraps(command)
    def with_initial(*, init: Path | None, freeze: str, **others: Any) -> None:
        if freeze and init is None:
            raise ValueError("Expected --init with --freeze: frozen noise learns nothing.")
        patterns = tuple(part.strip() for part in freeze.split(",") if part.strip())
        command(initial=training.read_initial(init) if init else None, frozen=patterns, **others)

    for option in reversed(_INIT_OPTIONS):
        with_initial = option(with_initial)
    return with_initial


def teacher_options(what: str, *, itself: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add --teacher and what goes with it; the verb gets `distil`, or None without a teacher.

    Args:
        what: the teacher guides, for the help.
        itself: which network `--teacher self` is, the default then; without it there is none.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_teacher(*, teacher: str, temperature: float, distil_weight: float, **others: Any) -> None:
            distil: training.Distil | training.SelfDistil | None = None
            if teacher == "self" and itself:
                distil = training.SelfDistil(temperature, distil_weight)
            elif teacher != "none":
                distil = training.Distil(models.load(teacher), temperature, distil_weight)
            command(distil=distil, **others)

        for option in reversed(_TEACHER_OPTIONS):
            with_teacher = option(with_teacher)
        return click.option(
            "--teacher",
            metavar="MODEL.keras|self|none" if itself else "MODEL.keras",
            default="self" if itself else "none",
            show_default=bool(itself),
            help=f"Network that guides {what}" + (f"; 'self' is {itself}." if itself else "."),
        )(with_teacher)

    return decorate


def finish_run(
    shop: study.Workshop, rows: list[dict[str, Any]], more: dict[str, Any], *, as_json: bool
) -> None:
    """Write `run.json` and print it, or its table."""
    run = study.describe_run(shop, command_line(), rows, more)
    files.write_json(shop.out / "run.json", run)
    if as_json:
        print_json(run)
    else:
        click.echo(study.table(run))


def command_line() -> str:
    """The command as typed, for the record: `squeezekit squeeze photos -o out`."""
    return shlex.join(["squeezekit", *sys.argv[1:]])


def show_advice(line: str) -> None:
    """A sentence of advice on stderr, where it disturbs no script."""
    click.echo(f"squeezekit: advice: {plain(line)}", err=True)
