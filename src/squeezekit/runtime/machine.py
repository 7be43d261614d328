"""The machine: model, temperature, throttling."""

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["describe_machine", "temperature_c", "throttled"]

_ROOT = Path("/")
# Bits of `vcgencmd get_throttled`: now, and since the machine was started.
_FLAGS = {
    0: "under-voltage now",
    1: "clock capped now",
    2: "throttled now",
    3: "soft temperature limit now",
    16: "under-voltage since start",
    17: "clock capped since start",
    18: "throttled since start",
    19: "soft temperature limit since start",
}


def describe_machine(root: Path = _ROOT) -> dict[str, Any]:
    """Board or processor, system, cores and Python, for a record.

    Args:
        root: of the file system to read from.
    """
    return {
        "model": _model(root),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
    }


def temperature_c(root: Path = _ROOT) -> float | None:
    """The processor's temperature in degrees Celsius; None if the system does not report it.

    Args:
        root: of the file system to read from.
    """
    try:
        return int((root / "sys/class/thermal/thermal_zone0/temp").read_text("ascii")) / 1000
    except (OSError, ValueError):
        return None


def throttled(word: str | None = None) -> list[str] | None:
    """Why a Raspberry Pi runs slower than it could; None on other machines.

    Args:
        word: what `vcgencmd get_throttled` prints; None to ask it.

    Example:
        >>> throttled("throttled=0x50000")
        ['under-voltage since start', 'throttled since start']
    """
    if word is None:
        if shutil.which("vcgencmd") is None:
            return None
        try:
            word = subprocess.run(
                ["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=10, check=True
            ).stdout
        except (OSError, subprocess.SubprocessError):
            return None
    found = re.search(r"throttled=0x([0-9a-fA-F]+)", word)
    if found is None:
        return None
    flags = int(found[1], 16)
    return [text for bit, text in _FLAGS.items() if flags >> bit & 1]


def _model(root: Path) -> str:
    try:
        # Raspberry Pi and most other boards store their name here.
        return (root / "proc/device-tree/model").read_text("utf-8", errors="replace").strip("\0\n ")
    except OSError:
        pass
    try:
        text = (root / "proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        text = ""
    name = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    return name[1].strip() if name else platform.processor() or "unknown"
