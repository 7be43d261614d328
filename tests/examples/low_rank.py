"""A technique in one file: every kernel becomes a matrix of low rank, found by a singular value decomposition.

Denton et al., "Exploiting linear structure within convolutional networks for efficient evaluation", 2014, section 3.2.
"""

import dataclasses
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from squeezekit.compress import Kernel, Slot, Sweep, Technique, Transform


@dataclasses.dataclass(frozen=True)
class LowRank(Technique):
    """Project each kernel, as a matrix (inputs, outputs), onto its first singular vectors."""

    name: ClassVar[str] = "low_rank"
    noun: ClassVar[str] = "low rank"
    study_level: ClassVar[str] = "low_rank(4)"
    sweep: ClassVar[Sweep | None] = Sweep("rank", (16, 8, 4, 2))
    takes: ClassVar[str] = "kernels of a higher rank than rank="

    rank: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.rank, int) or self.rank < 1:
            raise ValueError(f"Expected rank as a whole number, at least 1. Received: rank={self.rank!r}.")

    def transform(self, kernel: Kernel, *, stage: int = 0) -> "Projection | None":
        """Return the projection of one kernel, or None if its rank is low already."""
        outputs = kernel.shape[-1]
        return (
            Projection(self.rank, stage=stage) if self.rank < min(outputs, kernel.size // outputs) else None
        )


@keras.saving.register_keras_serializable(package="examples")
class Projection(Transform):
    """W -> B (B^T W): B holds the first `rank` left singular vectors of the kernel at the time of `apply`."""

    slot = Slot.VALUES

    def __init__(self, rank: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rank = rank

    def build(self, input_shape: tuple[int, ...]) -> None:
        self.basis = self.state("basis", (int(np.prod(input_shape[:-1])), self.rank))

    def adapt(self, weight: np.ndarray) -> None:
        left, _, _ = np.linalg.svd(weight.reshape(-1, weight.shape[-1]), full_matrices=False)
        self.basis.assign(left[:, : self.rank])

    def call(self, weight: Any) -> Any:
        matrix = ops.reshape(weight, (-1, weight.shape[-1]))
        projected = ops.matmul(self.basis, ops.matmul(ops.transpose(self.basis), matrix))
        return ops.reshape(projected, weight.shape)

    def invariant_violation(self, weight: np.ndarray) -> str:
        rank = np.linalg.matrix_rank(weight.reshape(-1, weight.shape[-1]), rtol=1e-5)
        return f"rank {rank} instead of {self.rank}" if rank > self.rank else ""

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"rank": self.rank}
