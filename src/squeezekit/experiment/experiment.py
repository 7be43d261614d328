"""What an experiment is: the files to make, and everything else that determines them besides the images."""

import dataclasses
from collections.abc import Sequence

import keras

from squeezekit import models
from squeezekit.data import Dataset
from squeezekit.experiment.grid import Line, grid
from squeezekit.options import check_ranges, option
from squeezekit.preprocess import MAX_SIDE, Preprocess
from squeezekit.training import Distil, Initial, Precision, SelfDistil, Settings, bfloat16_is_fast

__all__ = ["Experiment", "choose_preprocess"]

# Of the sizes that `choose_preprocess` gives: where a Pi is still quick, and what they are multiples of.
_LARGEST, _STEP = 128, 16
# Room for random crops: the resize is this much larger than the input.
_MARGIN = 1.15


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything that determines an experiment besides the images.

    Args:
        lines: the files to make; `grid` and `squeeze_lines` make them.
        size: side of the network's input in pixels; 0 takes it from the images (`choose_preprocess`).
        width: multiplies the channels of all networks.
        norm: where the networks have BatchNorm while they train (a value of `models.Norm`); "" for what suits.
        settings: of every training from scratch; their seed is the first, and chooses the splits for all seeds.
        initial: weights that the networks start from; the baseline always starts from scratch.
        frozen: patterns of layer names that keep those weights in the float training. Only with `initial`.
        initial_epochs: epochs of a network that starts from `initial`; 0 takes those of `settings`, or, where it
            leaves them open, three tenths of what they become.
        given: a trained network to compress, in place of training one; every line is of it.
        compress_epochs: epochs of each stage of a recipe; 0 takes three tenths of the epochs from scratch.
        teacher: guides the training of the networks.
        distil: guides the stages of the recipes; `SelfDistil()` is the float network just trained.
        seeds: how often everything is trained.
        baseline: whether AlexNet is trained too, with the same settings.
        validation: share of the training images that choices are made by.
        train_per_class: so many images of every class for training and validation; 0 for a share, or what the
            folder says.
        probes: fresh processes that each file's cold start is the median of.
        only: the one seed to make, with the splits of the first; None makes all.

    Raises:
        ValueError: a value is out of range.
    """

    lines: tuple[Line, ...] = dataclasses.field(default_factory=grid)
    size: int = option(
        0, "Side of the input in pixels; taken from the images.", least=0, most=MAX_SIDE, auto=True
    )
    width: float = option(1.0, "Multiplies the channels.", least=0, most=4, above=True)
    norm: str = option(
        "",
        "Where a SqueezeNet has BatchNorm, which exports fold away; by default squeeze, or as in --init.",
        choices=tuple(norm.value for norm in models.Norm),
        auto=True,
    )
    settings: Settings = dataclasses.field(default_factory=Settings)
    initial: Initial | None = None
    frozen: tuple[str, ...] = ()
    initial_epochs: int = option(0, least=0)
    given: keras.Model | None = None
    compress_epochs: int = option(
        0, "Epochs of each technique; three tenths of --epochs.", least=0, auto=True
    )
    teacher: Distil | None = None
    distil: Distil | SelfDistil | None = None
    seeds: int = option(1, "Trainings of everything, from --seed on.", least=1)
    baseline: bool = option(
        True, "Do not train AlexNet for comparison; saves over half of a squeeze's time.", name="no-baseline"
    )
    validation: float = 0.1
    train_per_class: int = option(
        0,
        "Train on N images of every class, validation included, and test on all others, as Caltech's protocol does. "
        "Give later verbs on the same images the same N.",
        least=0,
        metavar="N",
        auto=True,
    )
    probes: int = option(3, least=1)
    only: int | None = option(
        None,
        "Make one file alone: with every --level, of this seed; AlexNet's without --level.",
        least=0,
        metavar="SEED",
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.size and not models.SMALLEST_SIDE <= self.size <= MAX_SIDE:
            raise ValueError(
                f"Expected a size in [{models.SMALLEST_SIDE}, {MAX_SIDE}] pixels. Received: size={self.size}."
            )
        for network in self.networks if self.given is None else ():
            if network not in models.MODELS:
                raise ValueError(
                    f"Expected a model of {', '.join(sorted(models.MODELS))}. Received: {network!r}."
                )
            if self.norm and "norm" not in models.MODELS[network].defaults:
                raise ValueError(f"Expected a SqueezeNet where norm says what it has. Received: {network!r}.")
            if self.initial is not None:
                self.initial.require(network)
        models.Norm(self.norm or "none")
        if self.initial is None and self.frozen:
            raise ValueError(f"Expected weights to start from with frozen layers. Received: {self.frozen}.")
        if self.only is not None and self.only < self.settings.seed:
            raise ValueError(
                f"Expected only >= the first seed {self.settings.seed}. Received: only={self.only}."
            )

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks of the lines, each once."""
        return tuple(dict.fromkeys(line.network for line in self.lines))

    @property
    def seed_numbers(self) -> tuple[int, ...]:
        """The seeds, one after another."""
        if self.only is not None:
            return (self.only,)
        return tuple(range(self.settings.seed, self.settings.seed + self.seeds))

    def for_images(self, images: int) -> "Experiment":
        """The experiment with its settings filled in for a number of training images, and for this processor."""
        precision = self.settings.precision
        if precision is Precision.AUTO:
            # Named, because it is part of a stage's key: another machine may choose otherwise.
            precision = Precision.BFLOAT16 if bfloat16_is_fast() else Precision.FLOAT32
        settings = dataclasses.replace(self.settings.for_images(images), precision=precision)
        return dataclasses.replace(
            self,
            settings=settings,
            initial_epochs=self.initial_epochs or self.settings.for_fine_tuning(images).epochs,
        )

    def from_scratch(self) -> "Experiment":
        """The same without anything that only the lines' networks start from: for the baseline."""
        return dataclasses.replace(self, lines=(), initial=None, frozen=(), given=None, teacher=None, norm="")

    @property
    def network_settings(self) -> Settings:
        """The settings of the float networks, once `for_images` has filled them in."""
        if self.initial is None:
            return self.settings
        return dataclasses.replace(self.settings, epochs=self.initial_epochs)

    @property
    def compress_settings(self) -> Settings:
        """The settings of each stage of a recipe, once `for_images` has filled them in."""
        return self.settings.for_retraining(self.compress_epochs)


def choose_preprocess(
    dataset: Dataset, size: int = 0, *, sides: Sequence[tuple[int, int]] = ()
) -> Preprocess:
    """The network's input for a set of images: square, with a margin for random crops that is a seventh of its side.

    Images no larger than an input under 48 pixels have no margin: enlarging them would blur the little that is there,
    only to cut its border away again. In training they are shifted (`Augment`).

    Args:
        dataset: its training images are measured.
        size: side of the input in pixels; 0 takes the median short side of a sample of the training
            images, rounded down to a multiple of 16, in [32, 128].
        sides: (width, height) of the images, where they need not be measured.

    Returns:
        Squash to the resize size, then the centre.
    """
    if size < models.TINY_SIDE:
        shorts = sorted(map(min, sides or dataset.train.sides(100)))
        median = shorts[len(shorts) // 2]
        size = size or min(_LARGEST, max(models.SMALLEST_SIDE, median // _STEP * _STEP))
        if median <= size < models.TINY_SIDE:
            return Preprocess(size, size)
    whole = round(size * _MARGIN)
    return Preprocess(size, size, whole, whole)
