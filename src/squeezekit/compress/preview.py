"""What a recipe makes of the kernels of a model now, without training: their values, their invariants, their bytes."""

import dataclasses

import keras
import numpy as np

from squeezekit.compress.apply import kernel_layers
from squeezekit.compress.graph.clone import kernel_in_use
from squeezekit.compress.technique import Kernel, Recipe
from squeezekit.compress.transform import END, Transform

__all__ = ["TrialKernel", "trial_kernels"]


@dataclasses.dataclass(frozen=True)
class TrialKernel:
    """A kernel and its weights."""

    kernel: Kernel
    weight: np.ndarray

    def sample(self, weights: int = 8192) -> "TrialKernel":
        """The first output channels, at least two, about so many weights of them; the kernel stays as it is."""
        axis = self.kernel.channel_axes[-1]
        channels = self.weight.shape[axis]
        kept = min(channels, max(2, weights * channels // max(1, self.weight.size)))
        return TrialKernel(self.kernel, np.take(self.weight, np.arange(kept), axis=axis))

    def transformed(self, recipe: Recipe) -> tuple[np.ndarray, dict[tuple[int, int], str]]:
        """The kernel after all techniques at once, and {(violating, violated): reason} by places in the recipe."""
        chain: list[tuple[int, Transform]] = []
        violations: dict[tuple[int, int], str] = {}
        weight = self.weight
        for index, technique in enumerate(recipe):
            at_once = technique.without_schedule()
            here = None if at_once is None else at_once.for_kernel(self.kernel)
            made = None if here is None else here.transform(self.kernel, stage=index)
            if made is None:
                continue
            made.build(weight.shape)
            made.adapt(weight)
            type(made).update([made], [weight], END)
            chain = sorted([*chain, (index, made)], key=lambda item: item[1].slot)
            weight = self.weight
            for _, transform in chain:
                weight = transform.in_numpy(weight)
            for owner, transform in chain if len(chain) > 1 else ():
                reason = transform.invariant_violation(weight)
                if reason:
                    violating = chain[-1][0] if owner == index else index
                    violations.setdefault((violating, owner), reason)
        return weight, violations

    def in_file(self, recipe: Recipe, int8: bool) -> np.ndarray:
        """The transformed kernel as the file that ships holds it: output channels first, as in a `.tflite`."""
        weight, _ = self.transformed(recipe)
        weight = np.moveaxis(weight, self.kernel.channel_axes[-1], 0)
        if not int8:
            return (weight + np.float32(0)).astype("<f4")
        peak = np.abs(weight).max()
        return np.rint(weight * (127 / peak if peak else 0)).astype(np.int8)


def trial_kernels(model: keras.Model) -> list[TrialKernel]:
    """Return the kernels of a model that techniques can transform."""
    found = ((Kernel.of(name, layer), layer) for name, layer in kernel_layers(model))
    return [TrialKernel(kernel, kernel_in_use(layer)) for kernel, layer in found if kernel is not None]
