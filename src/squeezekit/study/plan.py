"""What a squeeze shall do, as one frozen value, and what it takes from the images when left open."""

import dataclasses
from collections.abc import Sequence

from squeezekit import compress, models
from squeezekit.data import Dataset
from squeezekit.preprocess import MAX_SIDE, Preprocess
from squeezekit.training import Distil, Initial, SelfDistil, Settings

__all__ = ["DEFAULT_RECIPE", "Plan", "choose_preprocess"]

# At 80 % zeros 87.6 % of Intel's validation images are right with one LAMP threshold for all layers and 86.8 % with one
# threshold a layer; one for all magnitudes does as well there, but empties layers of networks trained for few steps.
DEFAULT_RECIPE = "prune(0.8, scope='lamp') | share(bits=5) | quantize(8)"

# Of the sizes that `choose_preprocess` gives: where a Pi is still quick, and what they are multiples of.
_LARGEST, _STEP = 128, 16
# Room for random crops: the resize is this much larger than the input.
_MARGIN = 1.15


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that determines a squeeze besides the images.

    Args:
        model: a SqueezeNet of `models.MODELS`.
        norm: where it has BatchNorm while it trains (a value of `models.Norm`); "" for what suits.
        recipe: techniques, in order.
        size: side of the network's input in pixels; 0 takes it from the images (`choose_preprocess`).
        settings: of both float trainings.
        initial: weights that the network starts from; the baseline always starts from scratch.
        frozen: patterns of layer names that keep those weights in the float training. Only with `initial`.
        initial_epochs: epochs of a network that starts from `initial`; 0 takes those of `settings`, or, where it leaves
            them open, three tenths of what they become.
        compress_epochs: epochs of each stage of the recipe; 0 takes three tenths of the float epochs.
        distil: a teacher that guides the stages of the recipe, not the float training; `SelfDistil()` is the float
            network just trained. None: labels alone.
        int8: whether the file that ships is full-integer, whatever the recipe says; otherwise it computes in float32,
            and the recipe may not quantize.
        baseline: whether AlexNet is trained too, with the same settings.
        validation: share of the training images that choices are made by.
        train_per_class: so many images of every class for training and validation; 0 for a share, or what the
            folder says.

    Raises:
        ValueError: a setting is out of range.
    """

    model: str = "squeezenet-1.1-bypass"
    norm: str = ""
    recipe: compress.Recipe = dataclasses.field(default_factory=lambda: compress.parse(DEFAULT_RECIPE))
    size: int = 0
    settings: Settings = dataclasses.field(default_factory=Settings)
    initial: Initial | None = None
    frozen: tuple[str, ...] = ()
    initial_epochs: int = 0
    compress_epochs: int = 0
    distil: Distil | SelfDistil | None = dataclasses.field(default_factory=SelfDistil)
    int8: bool = True
    baseline: bool = True
    validation: float = 0.1
    train_per_class: int = 0

    def __post_init__(self) -> None:
        if self.model not in models.MODELS:
            raise ValueError(
                f"Expected a model of {', '.join(sorted(models.MODELS))}. Received: {self.model!r}."
            )
        if self.size and not models.SMALLEST_SIDE <= self.size <= MAX_SIDE:
            raise ValueError(
                f"Expected a size in [{models.SMALLEST_SIDE}, {MAX_SIDE}] pixels. Received: size={self.size}."
            )
        if self.norm and not self.model.startswith("squeezenet"):
            raise ValueError(f"Expected a SqueezeNet where norm says what it has. Received: {self.model!r}.")
        models.Norm(self.norm or "none")
        for name in ("compress_epochs", "initial_epochs", "train_per_class"):
            if getattr(self, name) < 0:
                raise ValueError(f"Expected {name} >= 0. Received: {name}={getattr(self, name)}.")
        if not self.int8 and any(isinstance(technique, compress.Quantize) for technique in self.recipe):
            raise ValueError(
                f"Expected a recipe without quantize for a file that computes in float. Received: {self.recipe}."
            )
        if self.initial is not None:
            self.initial.require(self.model)
        elif self.frozen:
            raise ValueError(f"Expected weights to start from with frozen layers. Received: {self.frozen}.")

    def for_images(self, images: int) -> "Plan":
        """The plan with its settings filled in for a number of training images."""
        return dataclasses.replace(
            self,
            settings=self.settings.for_images(images),
            initial_epochs=self.initial_epochs or self.settings.for_fine_tuning(images).epochs,
        )

    @property
    def network_settings(self) -> Settings:
        """The settings of the float network, once `for_images` has filled them in."""
        if self.initial is None:
            return self.settings
        return dataclasses.replace(self.settings, epochs=self.initial_epochs)

    @property
    def compress_settings(self) -> Settings:
        """The settings of each stage of the recipe."""
        return self.settings.for_retraining(self.compress_epochs)


def choose_preprocess(
    dataset: Dataset, size: int = 0, *, sides: Sequence[tuple[int, int]] = ()
) -> Preprocess:
    """The network's input for a set of images: square, with a margin for random crops that is a seventh of its side.

    Pictures no larger than an input under 48 pixels have none: enlarging them would blur the little that is there, and
    only for their border to be cut away again. In training they are shifted (`Augment`). Larger ones bear it, and are
    learnt faster with it.

    Args:
        dataset: its training images are looked at.
        size: side of the input in pixels; 0 takes the median short side of a sample of the training
            images, rounded down to a multiple of 16, in [32, 128].
        sides: (width, height) of the images, where they are not to be looked at.

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
