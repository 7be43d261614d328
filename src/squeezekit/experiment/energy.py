"""Energy: of an experiment, by codecarbon where it is installed, and of one inference, by a table of prices.

No network is asked and no file of codecarbon's is written. Carbon is not told: it depends on a country and an hour
that this program does not know.
"""

import contextlib
import dataclasses
import importlib.metadata
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from squeezekit import files

try:
    from codecarbon import OfflineEmissionsTracker
    from codecarbon.core import cpu as codecarbon_cpu
    from codecarbon.core.hardware_cache import get_cached_tdp
    from codecarbon.output_methods.base_output import BaseOutput
except ImportError:
    # The extra `energy`.
    OfflineEmissionsTracker, BaseOutput = None, object

__all__ = ["ASSUMPTIONS", "PICOJOULES", "Meter", "Prices", "add_up", "inference_uj", "total_energy"]

_MISSING = "codecarbon is not installed: pip install 'squeezekit[energy]'"
_FAILED = "codecarbon could not measure on this machine"
# How often a reading is taken and kept; what is lost to a kill is at most this.
_EVERY_SECONDS = 15
_PARTS = ("kwh", "cpu_kwh", "ram_kwh", "gpu_kwh", "seconds")


class Meter:
    """What the work in a `with` block takes; never the reason that the work fails.

    Args:
        kept: a file that the readings of this go are kept in as it runs, after those of earlier goes, so that work
            which is killed and goes on later adds up.
        resumed: whether earlier goes that nobody metered have done part of the work.

    Example:
        >>> with Meter() as meter:
        ...     total = sum(range(1000))
        >>> "kwh" in meter.record()
        True
    """

    def __init__(self, kept: Path | None = None, *, resumed: bool = False) -> None:
        self._kept = kept
        self._goes = _goes(kept)
        self._whole = not resumed or bool(self._goes)
        self._reading: dict[str, Any] = _nothing(_FAILED if OfflineEmissionsTracker else _MISSING)
        self._tracker: Any = None

    def __enter__(self) -> "Meter":
        if OfflineEmissionsTracker is None:
            return self
        # Nothing that goes wrong in another's program may end hours of training.
        with contextlib.suppress(Exception):
            logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
            if self._kept is not None:
                files.remove_leftovers(self._kept)
            self._tracker = OfflineEmissionsTracker(
                # For the carbon that it works out and nobody reads.
                country_iso_code="USA",
                # Of this process and its children: others that work on the machine are not ours.
                tracking_mode="process",
                measure_power_secs=_EVERY_SECONDS,
                api_call_interval=1,
                output_methods=[],
                output_handlers=[_Handler(self)],
                # Else it would stop at another study's lock, and take over the signals of this process.
                allow_multiple_runs=True,
                log_level="critical",
            )
            self._tracker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tracker is not None:
            # The last reading comes through the handler's `out`.
            with contextlib.suppress(Exception):
                self._tracker.stop()

    def record(self) -> dict[str, Any]:
        """All goes together, as JSON has it: see `add_up`."""
        return {**add_up([*self._goes, self._reading]), **({} if self._whole else {"whole": False})}

    def take(self, data: Any) -> None:
        """A reading since the start of this go, from codecarbon.

        Args:
            data: its `EmissionsData`.
        """
        self._reading = {
            "kwh": float(data.energy_consumed),
            "cpu_kwh": float(data.cpu_energy),
            "ram_kwh": float(data.ram_energy),
            "gpu_kwh": float(data.gpu_energy),
            "seconds": round(float(data.duration), 2),
            **_basis(self._tracker, data),
        }
        # A stage's folder may be gone by the last reading: a test's, or one that was cleared away.
        if self._kept is not None and self._kept.parent.is_dir():
            files.write_json(self._kept, [*self._goes, self._reading])


class _Handler(BaseOutput):
    """Passes what codecarbon reads to a meter."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def live_out(self, total: Any, delta: Any) -> None:
        """Of a reading on the way; called in codecarbon's thread."""
        with contextlib.suppress(Exception):
            self._meter.take(total)

    def out(self, total: Any, delta: Any) -> None:
        """Of the last reading."""
        self.live_out(total, delta)


def add_up(readings: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Several records of energy as one.

    Args:
        readings: of `Meter.record`, or of this.

    Returns:
        "kwh" and its parts, None where nothing was metered; "seconds" that were; "metered": whether all of it was read
        from a counter of the processor, rather than estimated; "by", "cpu" and "basis": what measured, of which
        processor, and what is assumed, each text once; "reason" where something is missing.

    Example:
        >>> total = add_up([{"kwh": 0.25, "seconds": 60.0}, {"kwh": 0.5, "seconds": 90.0}, {"kwh": None}])
        >>> total["kwh"], total["seconds"], total["gpu_kwh"]
        (0.75, 150.0, None)
    """
    readings = list(readings)
    known = [reading for reading in readings if reading.get("kwh") is not None]
    total: dict[str, Any] = {}
    for part in _PARTS:
        values = [float(reading[part]) for reading in known if reading.get(part) is not None]
        total[part] = round(sum(values), 9) if values else None
    total["metered"] = bool(known) and all(reading.get("metered") for reading in known)
    for key in ("by", "cpu", "basis", "reason"):
        # A list in what has been added up already: machines may change between goes.
        told = [reading[key] for reading in readings if reading.get(key)]
        texts = dict.fromkeys(text for one in told for text in ([one] if isinstance(one, str) else one))
        if texts:
            total[key] = list(texts)
    if any(reading.get("whole") is False for reading in readings):
        total["whole"] = False
    return total


def total_energy(
    trainings: Sequence[Mapping[str, Any]], measuring: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What `study.json` holds of a study's energy.

    Args:
        trainings: of `study.json`, each with its "energy".
        measuring: of all its rows.

    Returns:
        What `add_up` makes of all, and "trainings_kwh", "reused_kwh" (the part of it that earlier studies spent),
        "unmetered_trainings" (how many are not in the sum, or not wholly), "measuring" as given.
    """
    energies = [training.get("energy") or {"kwh": None} for training in trainings]
    reused = [energy for energy, training in zip(energies, trainings, strict=True) if training.get("reused")]
    total = add_up([*energies, *([measuring] if measuring else [])])
    return {
        **total,
        "trainings_kwh": add_up(energies)["kwh"],
        "reused_kwh": add_up(reused)["kwh"],
        "unmetered_trainings": sum(
            energy.get("kwh") is None or energy.get("whole") is False for energy in energies
        ),
        "measuring": dict(measuring) if measuring else None,
    }


def _nothing(reason: str) -> dict[str, Any]:
    return {"kwh": None, "reason": reason}


def _goes(kept: Path | None) -> list[dict[str, Any]]:
    """The readings of earlier goes; none where the file is not there or not ours."""
    if kept is None or not kept.exists():
        return []
    try:
        found = json.loads(kept.read_text("utf-8"))
    except (ValueError, OSError):
        return []
    return [reading for reading in found if isinstance(reading, dict)] if isinstance(found, list) else []


def _basis(tracker: Any, data: Any) -> dict[str, Any]:
    """What a reading stands on. Without a counter it is the processor's rated power, and codecarbon may guess that."""
    hardware = " ".join(part.description() for part in getattr(tracker, "_hardware", ()))
    metered = any(name in hardware.lower() for name in ("rapl", "gadget", "emi", "applesilicon", "raspberry"))
    if metered:
        told = "processor: its own counter, which counts every program on it"
    else:
        watts = os.environ.get("CODECARBON_FORCE_CPU_POWER") or get_cached_tdp(codecarbon_cpu).tdp
        told = (
            f"processor: no counter could be read, so this study's share of its time x {float(watts or 0):g} W, "
            "the power that codecarbon takes it to draw at full load"
        )
    # To the watt: a text that changed with each reading would be listed again and again.
    told += (
        f"; memory: {float(data.ram_power):.0f} W by codecarbon's model of its size, however little is used"
    )
    if data.gpu_count:
        told += f"; {data.gpu_model}: its own counter"
    return {
        "metered": metered,
        "by": f"codecarbon {importlib.metadata.version('codecarbon')}",
        "cpu": f"{data.cpu_model}, {data.cpu_count} threads",
        "basis": told,
    }


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
