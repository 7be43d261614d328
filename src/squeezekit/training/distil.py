"""Distillation: a teacher's softened probabilities guide the student, during any training.

Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015, section 2.
"""

import dataclasses
from typing import Any

import keras
from keras import ops

from squeezekit import compress
from squeezekit.options import check_ranges, option
from squeezekit.training.checkpoint import weights_digest

__all__ = ["Distil", "Distiller", "SelfDistil", "soft_divergence"]

# Probabilities below count as this, so that logarithms are finite: far below what float32 softmax gives a class that
# matters, and far enough above its smallest number that 1/p is finite.
_LEAST = 1e-30


@dataclasses.dataclass(frozen=True, eq=False)
class Distil:
    """A teacher, and how much it counts.

    loss = (1 - weight) * hard + weight * T^2 * KL(softmax(teacher / T) || softmax(student / T)), where teacher and
    student are logits. T^2 keeps the gradients' size as T changes.

    It costs the teacher's forward pass at every step: about a third of a step where the teacher is as large as the
    student. Not for a teacher that is hardly better than the student, nor for one that was trained on few of the
    student's classes: the student learns its mistakes too.

    Args:
        teacher: pixels to probabilities, of the student's input and classes; functional or sequential. A copy is used.
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
        SelfDistil(self.temperature, self.weight)  # checks both
        # A teacher that cannot be copied is refused here, not at the first step.
        teacher = compress.strip(self.teacher)
        teacher.trainable = False
        object.__setattr__(self, "teacher", teacher)

    @property
    def input_side(self) -> int:
        """Side of the square input that a student must have, in pixels; 0 if it is not square."""
        height, width = [*self.teacher.input_shape[1:3], 0, 0][:2]
        return height if isinstance(height, int) and height == width else 0

    def of(self, student: keras.Model) -> "Distil":
        """Itself, if the teacher fits the student; see `SelfDistil.of`."""
        self.check(student)
        return self

    def check(self, student: keras.Model) -> None:
        """Raise a `ValueError` unless the teacher takes the student's inputs and knows its classes."""
        for what in ("input_shape", "output_shape"):
            here, there = getattr(student, what)[1:], getattr(self.teacher, what)[1:]
            if here != there:
                raise ValueError(f"Expected a teacher with the student's {what} {here}. Received: {there}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the SHA-256 of the teacher's weights."""
        return {
            "temperature": self.temperature,
            "weight": self.weight,
            "teacher": weights_digest(self.teacher),
        }


@dataclasses.dataclass(frozen=True)
class SelfDistil:
    """A `Distil` whose teacher is the student itself before compression; takes its numbers and raises its errors.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, activation="softmax")])
        >>> SelfDistil(weight=0.5).of(model).to_dict()["teacher"] == weights_digest(model)
        True
    """

    temperature: float = option(4.0, "Softens the teacher's probabilities.", least=0, above=True)
    weight: float = option(
        0.7, "Weight of the teacher against the labels.", least=0, most=1, name="distil-weight"
    )

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def input_side(self) -> int:
        """0: any student's input will do."""
        return 0

    def of(self, student: keras.Model) -> Distil:
        """The distillation with `student`, as it is now, for a teacher."""
        return Distil(student, self.temperature, self.weight)

    def check(self, student: keras.Model) -> None:
        """Any student will do."""


def soft_divergence(teacher: Any, student: Any, temperature: float) -> Any:
    """T^2 * KL(softmax(log p / T) || softmax(log q / T)) of each pair of distributions.

    Logits and the logarithms of their softmax differ by a constant, which the next softmax removes. So this is the
    paper's equation for the logits.

    Args:
        teacher: p, probabilities (b, classes).
        student: q, the same.
        temperature: T, over 0. The result is (b,), float32, at least 0 but for rounding.

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

    Predictions and metrics are the student's. The validation loss is the hard one alone: it is comparable with that
    of any other training, and the teacher costs nothing there.

    Args:
        student: pixels to probabilities (b, classes); what is saved, exported and used.
        distil: the teacher and how much it counts; `Distil.check` raises if it does not fit.

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
        """The student's outputs."""
        return self.student(x, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The hard loss, mixed with the teacher's in training."""
        hard = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not training:
            return hard
        probabilities = ops.stop_gradient(self.teacher(x, training=False))
        soft = soft_divergence(probabilities, y_pred, self.temperature)
        if sample_weight is not None:
            soft = soft * ops.cast(sample_weight, soft.dtype)
        return (1 - self.weight) * hard + self.weight * ops.mean(soft)
