"""How a network is trained: one frozen value, written whole into `run.json`."""

import dataclasses
import enum
from typing import Any

import keras

from squeezekit.data import Augment

__all__ = ["Optimizer", "Precision", "Settings"]


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


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What determines a training besides the network and the images.

    The defaults train SqueezeNet and AlexNet from scratch on some thousand images: AdamW, linear warm-up then
    cosine decay, label smoothing (Szegedy et al. 2016, section 7), He initialisation, mild augmentation.

    Args:
        epochs: passes over the training images, at least 1.
        batch_size: images a step, at least 1.
        learning_rate: its peak, after the warm-up; over 0.
        optimizer: `Optimizer.ADAMW` or `SGD`.
        weight_decay: decoupled decay of kernels (not of biases, norms and codebooks); at least 0.
        warmup_steps: steps of linear warm-up; cut to a tenth of the training when that is fewer.
        label_smoothing: probability mass spread over all classes, in [0, 1).
        clip_norm: gradients of each variable are scaled down to this norm; over 0.
        augment: random changes of the training images.
        precision: float format of the arithmetic.
        seed: of weights, order, augmentation and dropout.

    Raises:
        ValueError: a setting is out of range.

    Example:
        >>> Settings(epochs=3).to_dict()["optimizer"]
        'adamw'
    """

    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 2e-3
    optimizer: Optimizer = Optimizer.ADAMW
    weight_decay: float = 0.01
    warmup_steps: int = 150
    label_smoothing: float = 0.1
    clip_norm: float = 1.0
    augment: Augment = dataclasses.field(default_factory=Augment)
    precision: Precision = Precision.AUTO
    seed: int = 0

    def __post_init__(self) -> None:
        checks = {
            "epochs": self.epochs >= 1,
            "batch_size": self.batch_size >= 1,
            "learning_rate": self.learning_rate > 0,
            "weight_decay": self.weight_decay >= 0,
            "warmup_steps": self.warmup_steps >= 0,
            "label_smoothing": 0 <= self.label_smoothing < 1,
            "clip_norm": self.clip_norm > 0,
        }
        for name, fine in checks.items():
            if not fine:
                raise ValueError(
                    f"Expected settings within their range. Received: {name}={getattr(self, name)}."
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["augment"] = dataclasses.asdict(self.augment)
        fields["optimizer"] = self.optimizer.value
        fields["precision"] = self.precision.value
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
            optimizer = keras.optimizers.AdamW(
                schedule, weight_decay=self.weight_decay, clipnorm=self.clip_norm
            )
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "codebook"])
        return optimizer
