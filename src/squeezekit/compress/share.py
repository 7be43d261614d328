"""Weight sharing: every weight of a layer is one of few trained values.

Han, Mao and Dally, "Deep Compression: compressing deep neural networks with pruning, trained
quantization and Huffman coding", 2016, section 3; the clustering here is exact.
"""

import dataclasses
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from squeezekit.compress.base import Kernel, Slot, Technique, Transform, expect_bits
from squeezekit.compress.kmeans import assign, kmeans_1d

__all__ = ["Codebook", "ShareWeights"]

BITS = (2, 8)


@keras.saving.register_keras_serializable(package="squeezekit")
class Codebook(Transform):
    """w -> codebook[assignment]: the assignment is fixed, the entries are trained.

    The gradient of an entry is the sum of those of its weights (Deep Compression, equation 3): that is
    what differentiating the lookup gives. Entry 0 is always zero, so weights that are zero when
    sharing begins stay zero, and a mask that comes later needs no further value.

    Args:
        bits: the codebook has 2^bits entries.
    """

    slot = Slot.VALUES
    ignores_input = True

    def __init__(self, bits: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bits = bits

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Make an empty codebook; `adapt` fills it."""
        entries = 2**self.bits
        self.codebook = self.state("codebook", (entries,), dtype="float32", initial="zeros", trainable=True)
        # 0 for the entry that stays zero and for those that no weight uses, else 1.
        self.free = self.state("free", (entries,), dtype="float32", initial="zeros", trainable=False)
        self.assignment = self.state(
            "assignment", input_shape, dtype="int32", initial="zeros", trainable=False
        )

    def adapt(self, weight: np.ndarray) -> None:
        """Cluster the weights that are not zero."""
        codebook, free = np.zeros((2, 2**self.bits), np.float32)
        assignment = np.zeros(weight.shape, np.int32)
        alive = weight != 0
        if alive.any():
            centroids = kmeans_1d(weight[alive], 2**self.bits - 1)
            codebook[1 : len(centroids) + 1] = centroids
            free[1 : len(centroids) + 1] = 1
            assignment[alive] = 1 + assign(weight[alive], centroids)
        self.codebook.assign(codebook)
        self.free.assign(free)
        self.assignment.assign(assignment)

    def call(self, weight: Any) -> Any:
        """Look every weight up; the kernel given is not used."""
        # The product comes before the lookup so that its gradient is a dense vector of 2^bits sums.
        return ops.take(self.codebook * self.free, self.assignment, axis=0)

    def promise_broken(self, weight: np.ndarray) -> str:
        """No more distinct values than entries."""
        distinct = np.unique(weight).size
        if distinct > 2**self.bits:
            return f"{distinct} distinct values, {2**self.bits} were promised"
        return ""

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds this codebook, without its state."""
        return super().get_config() | {"bits": self.bits}


@dataclasses.dataclass(frozen=True)
class ShareWeights(Technique):
    """Let all weights of a kernel share 2^bits values, found by exact k-means and then trained.

    One of the values is zero, so 2^bits - 1 remain to be found. The packed file stores a short index a
    weight and the values once a layer; the plain `.tflite` gets no smaller. The weights no longer learn
    one by one: share last, or last but quantization. Fold BatchNorm before, or folding afterwards
    gives each channel values of its own. Under 4 bits expect to lose accuracy.

    Args:
        bits: 2 to 8; Deep Compression takes 8 for convolutions and 5 for dense layers.

    Raises:
        ValueError: `bits` is out of range.

    Example:
        >>> print(ShareWeights(4))
        share(bits=4)
    """

    name: ClassVar[str] = "share"

    bits: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        expect_bits(self.bits, BITS)

    def transform(self, kernel: Kernel, *, stage: int = 0) -> Codebook:
        """Return the codebook for one kernel."""
        return Codebook(self.bits, stage=stage)
