"""What one inference would take: arithmetic and memory at the prices of one table. An estimate, not a measurement.

Papers: Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, figure 1.1.9 (45 nm, 0.9 V),
the table by which Han et al., "Deep Compression", ICLR 2016, reckon the energy of a network.
"""

import dataclasses

__all__ = ["ASSUMPTIONS", "PICOJOULES", "Prices", "inference_uj"]


@dataclasses.dataclass(frozen=True)
class Prices:
    """What one operation takes, in picojoules.

    Args:
        multiply: two values of the type.
        add: the product to a sum, of 32 bits for both types.
        value_bytes: of a weight or an activation.
    """

    multiply: float
    add: float
    value_bytes: int

    @property
    def mac(self) -> float:
        """A multiplication and an addition."""
        return self.multiply + self.add


PICOJOULES = {"float32": Prices(3.7, 0.9, 4), "int8": Prices(0.2, 0.1, 1)}
"""By data type."""

_DRAM_PER_BYTE = 640 / 4
"""640 pJ for 32 bits."""

ASSUMPTIONS = (
    f"An estimate, measured on nothing: {PICOJOULES['float32'].mac:.1f} pJ for each multiplication and addition in "
    f"float32, {PICOJOULES['int8'].mac:.1f} pJ in int8, and {_DRAM_PER_BYTE:.0f} pJ for each byte that comes from or "
    "goes to DRAM (Horowitz 2014, 45 nm, as Deep Compression reckons). Each weight is read once as the runtime holds "
    "it, decoded, zeros too; each activation is written and read once; no cache keeps anything."
)
"""In words, for whoever prints a figure."""


def inference_uj(*, macs: int, parameters: int, activations: int, dtype: str) -> float:
    """Microjoules of one inference: macs x pJ/MAC + (weights + 2 x activations) x bytes x pJ/byte.

    Not for choosing between two devices: a processor's caches, its other instructions and its idle watts are not in
    it. It tells what a network asks for. Pruning and coding save nothing here, as the runtime multiplies by zero too.

    Args:
        macs: multiplications and additions.
        parameters: weights and biases.
        activations: values that layers hand on, for one image.
        dtype: a key of `PICOJOULES`.

    Example:
        >>> inference_uj(macs=1_000_000, parameters=0, activations=0, dtype="float32")
        4.6
        >>> inference_uj(macs=0, parameters=500, activations=250, dtype="int8")
        0.16
    """
    prices = PICOJOULES[dtype]
    moved = (parameters + 2 * activations) * prices.value_bytes
    return round((macs * prices.mac + moved * _DRAM_PER_BYTE) / 1e6, 3)
