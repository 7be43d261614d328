"""How a network is trained: one frozen value, written whole into `run.json`."""

import dataclasses
import enum
import math
from typing import Any

import keras

from squeezekit.data import Augment
from squeezekit.options import check_ranges, option
from squeezekit.training.fused_adamw import FusedAdamW

__all__ = ["FINE_TUNING_RATE", "Balance", "Optimizer", "Precision", "Settings"]


# What `for_images` chooses.
_EPOCHS, _STEPS = 20, 1500
_BATCH_SIZE, _SMALLEST_BATCH = 64, 8

# What `for_retraining` takes of a training from scratch.
_RETRAINING_EPOCHS, _RETRAINING_RATE = 0.3, 0.5

# AdamW's peak for a network that starts from trained weights: at `Settings.learning_rate` it forgets them.
FINE_TUNING_RATE = 5e-4


class Optimizer(enum.Enum):
    """The update rule."""

    ADAMW = "adamw"
    SGD = "sgd"
    """Nesterov momentum 0.9; wants a learning rate some 20 times AdamW's."""


class Precision(enum.Enum):
    """The float format of the arithmetic; weights are float32 in any case."""

    AUTO = "auto"
    """bfloat16 where the processor multiplies matrices in it, else float32."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class Balance(enum.Enum):
    """What is done about classes of unequal size; see `data.balance`."""

    NONE = "none"

    WEIGHTS = "weights"
    """Every class counts alike in the loss, however few its images."""

    SAMPLE = "sample"
    """Images of smaller classes come again until all are as large as the largest: an epoch grows."""


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What determines a training besides the network and the images.

    The defaults train SqueezeNet and AlexNet from scratch on some thousand images: AdamW, linear warm-up then
    cosine decay, label smoothing (Szegedy et al. 2016, section 7), He initialisation, mild augmentation.

    Args:
        epochs: passes over the training images; 0 lets `for_images` choose.
        batch_size: images a step; 0 lets `for_images` choose.
        learning_rate: its peak, after the warm-up; over 0.
        optimizer: `Optimizer.ADAMW` or `SGD`.
        weight_decay: decoupled decay of kernels (not of biases, norms and codebooks); at least 0.
        warmup_steps: steps of linear warm-up; cut to a tenth of the training when that is fewer.
        label_smoothing: probability mass spread over all classes, in [0, 1).
        clip_norm: gradients of each variable are scaled down to this norm; over 0.
        augment: random changes of the training images.
        precision: float format of the arithmetic.
        balance: what is done about classes of unequal size.
        seed: of weights, order, augmentation and dropout.

    Raises:
        ValueError: a setting is out of range.

    Example:
        >>> Settings(epochs=3).to_dict()["optimizer"]
        'adamw'
    """

    epochs: int = option(
        0, "Passes over the images; by default 20, and more when they are few.", least=0, auto=True
    )
    batch_size: int = option(
        0, "Images a step; by default 64, and fewer when there are few.", least=0, auto=True
    )
    learning_rate: float = option(
        2e-3,
        "Peak of the schedule; by default 0.002, or 0.0005 with --init. AlexNet's is capped at 0.0005.",
        least=0,
        above=True,
        auto=True,
    )
    optimizer: Optimizer = option(Optimizer.ADAMW, "Update rule.")
    weight_decay: float = option(
        0.01,
        "Of kernels at each step, times the learning rate. More, such as 0.05, where a long training knows its own "
        "images far better than others.",
        least=0,
    )
    warmup_steps: int = option(150, least=0)
    label_smoothing: float = 0.1
    clip_norm: float = option(1.0, least=0, above=True)
    augment: Augment = dataclasses.field(default_factory=Augment)
    precision: Precision = option(
        Precision.AUTO, "Arithmetic of the training; auto takes bfloat16 where the processor has it."
    )
    balance: Balance = option(
        Balance.NONE,
        "For classes of unequal size: weights in the loss, or small classes sampled as often as the largest.",
    )
    seed: int = option(0, "Of splits and training.", least=0, most=2**31 - 1)

    def __post_init__(self) -> None:
        check_ranges(self)
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"Expected label_smoothing in [0, 1). Received: {self.label_smoothing}.")

    def for_images(self, images: int) -> "Settings":
        """Fill in what was left to the number of training images, and cut the batch to it.

        Some thousand images take 20 epochs of batches of 64. Fewer take smaller batches, and as many epochs as
        make 1,500 steps: a network that starts from noise needs steps, however few images there are.

        Args:
            images: number of training images, at least 1.

        Example:
            >>> settings = Settings().for_images(100)
            >>> settings.batch_size, settings.epochs
            (8, 125)
        """
        batch_size = self.batch_size or min(_BATCH_SIZE, max(_SMALLEST_BATCH, images // 16))
        batch_size = min(batch_size, images)
        epochs = self.epochs or max(_EPOCHS, math.ceil(_STEPS / (images // batch_size)))
        return dataclasses.replace(self, batch_size=batch_size, epochs=epochs)

    def for_fine_tuning(self, images: int) -> "Settings":
        """Fill in like `for_images`, for a network that starts from trained weights: three tenths of the epochs.

        The learning rate stays as it is; `FINE_TUNING_RATE` serves.

        Args:
            images: number of training images, at least 1.

        Example:
            >>> Settings().for_fine_tuning(8000).epochs
            6
        """
        scratch = self.for_images(images)
        epochs = self.epochs or math.ceil(scratch.epochs * _RETRAINING_EPOCHS)
        return dataclasses.replace(scratch, epochs=epochs)

    def for_retraining(self, epochs: int = 0) -> "Settings":
        """Turn settings for a training from scratch into those for retraining with a technique.

        A trained network takes fewer epochs at a lower rate, or it forgets what it knows.

        Args:
            epochs: for each technique; 0 takes three tenths of the epochs from scratch.

        Example:
            >>> settings = Settings(epochs=20).for_retraining()
            >>> settings.epochs, settings.learning_rate
            (6, 0.001)
        """
        epochs = epochs or max(1, round(self.epochs * _RETRAINING_EPOCHS))
        return dataclasses.replace(self, epochs=epochs, learning_rate=self.learning_rate * _RETRAINING_RATE)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["augment"] = dataclasses.asdict(self.augment)
        fields["optimizer"] = self.optimizer.value
        fields["precision"] = self.precision.value
        # Nothing where nothing is done: trainings of before there was a choice go by the same name.
        if not self.augment.cutout:
            del fields["augment"]["cutout"]
        if self.balance is Balance.NONE:
            del fields["balance"]
        else:
            fields["balance"] = self.balance.value
        return fields

    def schedule(self, total_steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
        """Linear warm-up from 0 to the learning rate, then cosine decay to a hundredth of it."""
        warmup_steps = min(self.warmup_steps, total_steps // 10)
        return keras.optimizers.schedules.CosineDecay(
            0.0,
            max(1, total_steps - warmup_steps),
            alpha=0.01,
            warmup_target=self.learning_rate,
            warmup_steps=warmup_steps,
        )

    def build_optimizer(self, total_steps: int) -> keras.optimizers.Optimizer:
        """The optimizer for a training of `total_steps` steps."""
        schedule = self.schedule(total_steps)
        if self.optimizer is Optimizer.SGD:
            optimizer: keras.optimizers.Optimizer = keras.optimizers.SGD(
                schedule, momentum=0.9, nesterov=True, weight_decay=self.weight_decay, clipnorm=self.clip_norm
            )
        else:
            fused = keras.backend.backend() == "tensorflow"
            adamw = FusedAdamW if fused else keras.optimizers.AdamW
            optimizer = adamw(schedule, weight_decay=self.weight_decay, clipnorm=self.clip_norm)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "codebook", "_factor"])
        return optimizer
