"""Energy of an inference: by what the machine can measure, else an estimate that says that it is one."""

import abc
import csv
import dataclasses
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from squeezekit.errors import FormatError

__all__ = ["Energy", "Estimated", "Meter", "PowerChip", "Rapl", "UsbMeter", "energy", "find_meter"]

CORE_WATTS = 1.2
"""What a busy core of a Raspberry Pi 4 or 5 adds to the idle board, roughly: the estimate's only assumption."""

_POWERCAP = Path("/sys/class/powercap")
_SAMPLE_S = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class Energy:
    """What inferences took, beyond what the idle machine takes.

    Args:
        millijoules: of one inference; never below 0.
        idle_watts: of the machine before; None where it was not measured.
        method: what measured it, or the assumption of the estimate.
        measured: whether anything did.
        runs: how many inferences the figure is the mean of.
    """

    millijoules: float
    idle_watts: float | None
    method: str
    measured: bool
    runs: int


class Meter(abc.ABC):
    """Something that knows how much energy the machine has taken."""

    method: str
    measured: bool = True

    @abc.abstractmethod
    def joules(self) -> float:
        """Energy taken since some moment in the past."""

    def close(self) -> None:  # noqa: B027  (most have nothing to stop)
        """Stop measuring."""


class Rapl(Meter):
    """The counters of Intel's and AMD's processors (Linux, often for root alone)."""

    method = "RAPL counters of the processor packages"

    def __init__(self, zones: list[Path]) -> None:
        self._zones = zones
        self._last = [self._read(zone / "energy_uj") for zone in zones]
        self._ranges = [self._read(zone / "max_energy_range_uj") for zone in zones]
        self._total = 0.0

    @classmethod
    def find(cls, root: Path = _POWERCAP) -> "Rapl | None":
        """The machine's, where its counters can be read."""
        # Packages only (intel-rapl:0): their parts (intel-rapl:0:1) are in them.
        zones = sorted(zone for zone in root.glob("*-rapl:*") if zone.name.count(":") == 1)
        try:
            return cls(zones) if zones else None
        except OSError:
            return None

    def joules(self) -> float:
        """See `Meter`."""
        now = [self._read(zone / "energy_uj") for zone in self._zones]
        for before, after, full in zip(self._last, now, self._ranges, strict=True):
            # The counter begins again when it is full.
            self._total += (after - before) % (full + 1)
        self._last = now
        return self._total / 1e6

    @staticmethod
    def _read(path: Path) -> int:
        return int(path.read_text("ascii"))


class PowerChip(Meter):
    """The Raspberry Pi 5's power management chip: currents and voltages of its rails, ten times a second.

    It does not see what the USB ports and the 5 V pins take.
    """

    method = "the Pi 5's power management chip (vcgencmd pmic_read_adc)"

    def __init__(self, read: Callable[[], str]) -> None:
        self._read = read
        self._total, self._then = 0.0, time.monotonic()
        self._watts = rail_watts(read())
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    @classmethod
    def find(cls) -> "PowerChip | None":
        """The machine's, where it is a Pi 5."""
        if shutil.which("vcgencmd") is None:
            return None
        try:
            return cls(_pmic)
        except (OSError, subprocess.SubprocessError, FormatError):
            return None

    def joules(self) -> float:
        """See `Meter`."""
        with self._lock:
            self._add(self._watts)
            return self._total

    def close(self) -> None:
        """See `Meter`."""
        self._stopped.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stopped.wait(_SAMPLE_S):
            try:
                watts = rail_watts(self._read())
            except (OSError, subprocess.SubprocessError, FormatError):
                # One reading lost: the last one stands for it.
                continue
            with self._lock:
                self._add((watts + self._watts) / 2)
                self._watts = watts

    def _add(self, watts: float) -> None:
        now = time.monotonic()
        self._total, self._then = self._total + watts * (now - self._then), now


class UsbMeter(Meter):
    """A USB power meter's log, that some other program writes while we run: lines of `seconds,watts`.

    Args:
        path: a CSV file whose first column is Unix time in seconds and whose last one is watts; lines that hold
            no such figures (a title) are passed over.

    Raises:
        FormatError: no line holds figures.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.method = f"USB meter's log {path.name}"
        self._path = path
        self.joules()

    def joules(self) -> float:
        """See `Meter`; up to the log's last line."""
        times, watts = [], []
        with self._path.open(newline="", encoding="utf-8", errors="replace") as file:
            for line in csv.reader(file):
                try:
                    when, power = float(line[0]), float(line[-1])
                except (ValueError, IndexError):
                    continue
                times.append(when)
                watts.append(power)
        if not times:
            raise FormatError(f"{self._path}: no line like 'seconds,watts' in it")
        now = time.time()
        # The last reading stands until the next one comes.
        times.append(max(now, times[-1]))
        return sum(
            power * max(0.0, after - before)
            for power, before, after in zip(watts, times, times[1:], strict=False)
        )


class Estimated(Meter):
    """No measurement: processor time times what a busy core is taken to need.

    Args:
        core_watts: that assumption.
    """

    measured = False

    def __init__(self, core_watts: float = CORE_WATTS) -> None:
        self.method = f"estimate: processor time x {core_watts:g} W a busy core; nothing was measured"
        self._core_watts = core_watts

    def joules(self) -> float:
        """See `Meter`."""
        return time.process_time() * self._core_watts


def find_meter(log: Path | None = None) -> Meter:
    """The best that the machine has.

    Args:
        log: a USB meter's log, which comes before all else.
    """
    if log is not None:
        return UsbMeter(log)
    return Rapl.find() or PowerChip.find() or Estimated()


def energy(run: Callable[[], object], meter: Meter, *, seconds: float = 2.0) -> Energy:
    """Run something again and again, and tell what one time took beyond an idle machine.

    Args:
        run: what to do.
        meter: of `find_meter`.
        seconds: how long to be idle, then how long to run; above 0.

    Example:
        >>> found = energy(lambda: sum(range(1000)), Estimated(), seconds=0.02)
        >>> found.measured, found.idle_watts, found.millijoules >= 0
        (False, None, True)
    """
    if seconds <= 0:
        raise ValueError(f"Expected a time above 0 seconds. Received: seconds={seconds}.")
    idle = None
    if meter.measured:
        before, start = meter.joules(), time.monotonic()
        time.sleep(seconds)
        idle = (meter.joules() - before) / (time.monotonic() - start)
    before, start, runs = meter.joules(), time.monotonic(), 0
    while time.monotonic() - start < seconds:
        run()
        runs += 1
    joules = meter.joules() - before - (idle or 0.0) * (time.monotonic() - start)
    return Energy(1000 * max(0.0, joules) / runs, idle, meter.method, meter.measured, runs)


def rail_watts(text: str) -> float:
    """Watts of the rails that `vcgencmd pmic_read_adc` lists.

    Args:
        text: lines like `VDD_CORE_A current(7)=1.5A` and `VDD_CORE_V volt(15)=0.8V`.

    Raises:
        FormatError: no rail has both.

    Example:
        >>> rail_watts("VDD_CORE_A current(7)=1.5A\\n VDD_CORE_V volt(15)=0.8V\\n EXT5V_V volt(24)=5.1V")
        1.2000000000000002
    """
    amperes = dict(re.findall(r"(\w+)_A current\(\d+\)=([\d.]+)A", text))
    volts = dict(re.findall(r"(\w+)_V volt\(\d+\)=([\d.]+)V", text))
    rails = amperes.keys() & volts.keys()
    if not rails:
        raise FormatError("vcgencmd pmic_read_adc lists no rails: not a Raspberry Pi 5")
    return sum(float(amperes[rail]) * float(volts[rail]) for rail in sorted(rails))


def _pmic() -> str:
    return subprocess.run(
        ["vcgencmd", "pmic_read_adc"], capture_output=True, text=True, timeout=10, check=True
    ).stdout
