"""Energy of an inference: measured if the machine can, otherwise an estimate that is marked as one."""

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
"""Power that a busy core of a Raspberry Pi 4 or 5 adds to the idle board, roughly: the estimate's only assumption."""

_POWERCAP = Path("/sys/class/powercap")
_SAMPLE_S = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class Energy:
    """Energy of an inference, without what the idle machine takes.

    Args:
        millijoules: energy of one inference, at least 0.
        idle_watts: power of the idle machine before; None if it was not measured.
        method: the meter, or the assumption of the estimate.
        measured: whether a meter measured it.
        runs: number of inferences; the figure is their mean.
    """

    millijoules: float
    idle_watts: float | None
    method: str
    measured: bool
    runs: int


class Meter(abc.ABC):
    """A source that says how much energy the machine has taken."""

    method: str
    measured: bool = True

    @abc.abstractmethod
    def joules(self) -> float:
        """Energy taken since a fixed moment in the past."""

    def close(self) -> None:  # noqa: B027  (most have nothing to stop)
        """Stop measuring."""


class Rapl(Meter):
    """The energy counters of Intel's and AMD's processors (on Linux, often readable by root only)."""

    method = "RAPL counters of the processor packages"

    def __init__(self, zones: list[Path]) -> None:
        self._zones = zones
        self._last = [self._read(zone / "energy_uj") for zone in zones]
        self._ranges = [self._read(zone / "max_energy_range_uj") for zone in zones]
        self._total = 0.0

    @classmethod
    def find(cls, root: Path = _POWERCAP) -> "Rapl | None":
        """The counters of this machine; None if they cannot be read."""
        # Packages only (intel-rapl:0): they include their parts (intel-rapl:0:1).
        zones = sorted(zone for zone in root.glob("*-rapl:*") if zone.name.count(":") == 1)
        try:
            return cls(zones) if zones else None
        except OSError:
            return None

    def joules(self) -> float:
        """See `Meter`."""
        now = [self._read(zone / "energy_uj") for zone in self._zones]
        for before, after, full in zip(self._last, now, self._ranges, strict=True):
            # The counter starts again at 0 when it is full.
            self._total += (after - before) % (full + 1)
        self._last = now
        return self._total / 1e6

    @staticmethod
    def _read(path: Path) -> int:
        return int(path.read_text("ascii"))


class PowerChip(Meter):
    """The Raspberry Pi 5's power management chip: currents and voltages of its rails, ten times a second.

    It does not measure the USB ports and the 5 V pins.
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
        """The chip of this machine; None if it is no Pi 5."""
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
                # One reading is lost: use the last one in its place.
                continue
            with self._lock:
                self._add((watts + self._watts) / 2)
                self._watts = watts

    def _add(self, watts: float) -> None:
        now = time.monotonic()
        self._total, self._then = self._total + watts * (now - self._then), now


class UsbMeter(Meter):
    """The log of a USB power meter, which another program writes during the measurement: lines of `seconds,watts`.

    Args:
        path: a CSV file. The first column is Unix time in seconds, the last one watts. Other lines, such as a
            title, are skipped.

    Raises:
        FormatError: no line has such numbers.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.method = f"USB meter's log {path.name}"
        self._path = path
        self.joules()

    def joules(self) -> float:
        """See `Meter`; the log's last reading counts until now."""
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
        # A reading is valid until the next one.
        times.append(max(now, times[-1]))
        return sum(
            power * max(0.0, after - before)
            for power, before, after in zip(watts, times, times[1:], strict=False)
        )


class Estimated(Meter):
    """No measurement: processor time times the assumed power of a busy core.

    Args:
        core_watts: the assumed power.
    """

    measured = False

    def __init__(self, core_watts: float = CORE_WATTS) -> None:
        self.method = f"estimate: processor time x {core_watts:g} W a busy core; nothing was measured"
        self._core_watts = core_watts

    def joules(self) -> float:
        """See `Meter`."""
        return time.process_time() * self._core_watts


def find_meter(log: Path | None = None) -> Meter:
    """The best meter of this machine.

    Args:
        log: a USB meter's log, which takes precedence.
    """
    if log is not None:
        return UsbMeter(log)
    return Rapl.find() or PowerChip.find() or Estimated()


def energy(run: Callable[[], object], meter: Meter, *, seconds: float = 2.0) -> Energy:
    """Run a function repeatedly and measure the energy of one run, without what the idle machine takes.

    Args:
        run: the function.
        meter: of `find_meter`.
        seconds: how long to wait idle, then how long to run; over 0.

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
    """Total power in watts of the rails that `vcgencmd pmic_read_adc` lists.

    Args:
        text: lines like `VDD_CORE_A current(7)=1.5A` and `VDD_CORE_V volt(15)=0.8V`.

    Raises:
        FormatError: no rail has both values.

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
