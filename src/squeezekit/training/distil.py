"""Distillation: a teacher's softened probabilities guide the student, during any training.

Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015, section 2.
"""

import dataclasses
from typing import Any

import keras
from keras import ops

from squeezekit import compress
from squeezekit.training.checkpoint import weights_digest

__all__ = ["Distil", "Distiller", "SelfDistil", "soft_divergence"]

# What a probability is taken for at least, so that its logarithm is finite: far below what float32 softmax gives
# a class that plays any part, and far enough above its smallest number that 1/p is finite.
_LEAST = 1e-30


@dataclasses.dataclass(frozen=True, eq=False)
class Distil:
    """Who teaches, and how much it counts.

    loss = (1 - weight) * hard + weight * T^2 * KL(softmax(teacher / T) || softmax(student / T)), where teacher and
    student are logits. T^2 keeps the gradients' size as T changes.

    It costs the teacher's forward pass at every step: about a third of a step where the teacher is as large as the
    student. Not for a teacher that is hardly better than the student, nor for one that was trained on few of the
    student's classes: its mistakes are taught too.

    Args:
        teacher: pixels to probabilities, of the student's input and classes; functional or sequential. A copy of it
            is used, and neither is changed.
        temperature: T, over 0; the higher, the more the small probabilities count.
        weight: of the teacher against the labels, in [0, 1].

    Raises:
        ValueError: a number is out of range, or the teacher is of another kind.

    Example:
        >>> teacher = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, activation="softmax")])
        >>> Distil(teacher, weight=0.5).to_dict()["temperature"]
        4.0
    """

    teacher: keras.Model
    temperature: float = 4.0
    weight: float = 0.7

    def __post_init__(self) -> None:
        _expect_numbers(self.temperature, self.weight)
        # Also shows now, not at the first step, whether the teacher can be copied.
        teacher = compress.strip(self.teacher)
        teacher.trainable = False
        object.__setattr__(self, "teacher", teacher)

    @property
    def input_side(self) -> int:
        """Side of the square input that a student must have, in pixels; 0 if it is not square."""
        height, width = [*self.teacher.input_shape[1:3], 0, 0][:2]
        return height if isinstance(height, int) and height == width else 0

    def of(self, student: keras.Model) -> "Distil":
        """Return this teaching, if the teacher fits the student; see `SelfDistil.of`."""
        self.check(student)
        return self

    def check(self, student: keras.Model) -> None:
        """Raise ValueError unless the teacher takes the student's inputs and knows its classes."""
        for what in ("input_shape", "output_shape"):
            here, there = getattr(student, what)[1:], getattr(self.teacher, what)[1:]
            if here != there:
                raise ValueError(f"Expected a teacher with the student's {what} {here}. Received: {there}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values that tell this teaching from others: the teacher by the SHA-256 of its weights."""
        return {
            "temperature": self.temperature,
            "weight": self.weight,
            "teacher": weights_digest(self.teacher),
        }


@dataclasses.dataclass(frozen=True)
class SelfDistil:
    """The teacher is the student itself, as it was before it was squeezed: known once that is trained.

    Args:
        temperature: as of `Distil`.
        weight: as of `Distil`.

    Raises:
        ValueError: a number is out of range.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, activation="softmax")])
        >>> SelfDistil(weight=0.5).of(model).to_dict()["teacher"] == weights_digest(model)
        True
    """

    temperature: float = 4.0
    weight: float = 0.7

    def __post_init__(self) -> None:
        _expect_numbers(self.temperature, self.weight)

    @property
    def input_side(self) -> int:
        """Return 0: it fits any student."""
        return 0

    def of(self, student: keras.Model) -> Distil:
        """Return the teaching by `student` as it is now."""
        return Distil(student, self.temperature, self.weight)

    def check(self, student: keras.Model) -> None:
        """Return nothing: it fits any student."""


def _expect_numbers(temperature: float, weight: float) -> None:
    # Written so that NaN is refused too.
    if not 0 < temperature < float("inf"):
        raise ValueError(f"Expected a temperature over 0. Received: temperature={temperature}.")
    if not 0 <= weight <= 1:
        raise ValueError(f"Expected a weight in [0, 1]. Received: weight={weight}.")


def soft_divergence(teacher: Any, student: Any, temperature: float) -> Any:
    """Return T^2 * KL(softmax(log p / T) || softmax(log q / T)) of each pair of distributions.

    The logarithm of a softmax differs from its logits by a constant, which the next softmax takes out again: so
    this is what the paper's equation gives for the logits.

    Args:
        teacher: p, probabilities (b, classes).
        student: q, the same.
        temperature: T, over 0.

    Returns:
        Divergences (b,), float32, at least 0 but for rounding.

    Example:
        >>> p = ops.array([[0.5, 0.5], [0.9, 0.1]])
        >>> [round(float(x), 4) for x in soft_divergence(p, ops.array([[0.5, 0.5], [0.5, 0.5]]), 1.0)]
        [0.0, 0.3681]
    """

    def soften(probabilities: Any) -> Any:
        floored = ops.maximum(ops.cast(probabilities, "float32"), _LEAST)
        return ops.log_softmax(ops.log(floored) / temperature, axis=-1)

    p, q = soften(teacher), soften(student)
    return temperature**2 * ops.sum(ops.exp(p) * (p - q), axis=-1)


class Distiller(keras.Model):
    """A student and its teacher as one model to compile and fit; the student is trained in place.

    Predictions and metrics are the student's. The loss of a validation is the hard one alone, without the
    teacher: comparable with that of any other training, and the teacher costs nothing there.

    Args:
        student: pixels to probabilities (b, classes); what is saved, exported and used.
        distil: the teacher and how much it counts.

    Raises:
        ValueError: the teacher takes other inputs than the student or knows other classes.

    Example:
        >>> student, teacher = (
        ...     keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, activation="softmax")]) for _ in range(2)
        ... )
        >>> both = Distiller(student, Distil(teacher))
        >>> both.compile("sgd", "sparse_categorical_crossentropy")
        >>> _ = both.fit(ops.ones((4, 8)), ops.zeros((4,)), verbose=0)
        >>> len(both.trainable_variables), len(student.trainable_variables)
        (2, 2)
    """

    def __init__(self, student: keras.Model, distil: Distil) -> None:
        distil.check(student)
        super().__init__(name=f"{student.name}_and_teacher")
        self.student = student
        self.teacher = distil.teacher
        self.temperature = distil.temperature
        self.weight = distil.weight

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Return what the student makes of `x`."""
        return self.student(x, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the hard loss, mixed with the teacher's in training."""
        hard = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not training:
            return hard
        taught = ops.stop_gradient(self.teacher(x, training=False))
        soft = soft_divergence(taught, y_pred, self.temperature)
        if sample_weight is not None:
            soft = soft * ops.cast(sample_weight, soft.dtype)
        soft = ops.mean(soft)
        return (1 - self.weight) * hard + self.weight * soft
