"""What the record of a run holds, and how to read one of which any part may be missing."""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from squeezekit.data import Dataset

__all__ = ["describe_data", "describe_machine", "differences", "figure", "mapping", "sequence"]

# What a result may depend on, besides our own code.
_VERSIONS_OF = ("keras", "tensorflow", "tensorflow-cpu", "numpy", "pillow", "ai-edge-litert")


def describe_data(dataset: Dataset, source: str) -> dict[str, Any]:
    """What a record holds of the images.

    Args:
        dataset: the images.
        source: what the user named as the images.
    """
    return {
        "source": source,
        "fingerprint": dataset.fingerprint,
        "classes": list(dataset.class_names),
        "labels": list(dataset.class_names),
        "train": len(dataset.train),
        "validation": len(dataset.validation),
        "test": len(dataset.test),
        **({"train_per_class": dataset.train_per_class} if dataset.train_per_class else {}),
        "skipped": [{"path": path, "reason": reason} for path, reason in dataset.skipped],
        **({"notes": list(dataset.notes)} if dataset.notes else {}),
        "truth": [int(label) for label in dataset.test.labels],
        "test_paths": [_relative(path, source) for path in dataset.test.names()],
    }


def describe_machine() -> dict[str, Any]:
    """What a record holds of the machine: versions of what a result may depend on, and the processor's kind."""
    versions = {"python": platform.python_version()}
    for name in _VERSIONS_OF:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The names of what differs between two records.

    Example:
        >>> differences({"seed": 0, "options": {"norm": "all"}}, {"seed": 0, "options": {}})
        ['options (norm)']
    """
    names = []
    for key in sorted(one.keys() | other.keys()):
        mine, its = one.get(key), other.get(key)
        if isinstance(mine, Mapping) and isinstance(its, Mapping):
            inner = differences(mine, its)
            names += [f"{key} ({', '.join(inner)})"] if inner else []
        elif mine != its:
            names.append(key)
    return names


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` where it is one, else an empty one: a record may lack any part."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: Any) -> Sequence[Any]:
    """`value` where it is a list, else an empty one."""
    return value if isinstance(value, (list, tuple)) else []


def figure(value: Any) -> float | None:
    """The number that `value` is, or None for whatever is no finite number (None, NaN, a string, a flag)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    # An integer past the largest float has no place in a chart either; isfinite would raise.
    return float(value) if abs(value) <= sys.float_info.max else None


def _relative(path: str, source: str) -> str:
    """An image's path inside the folder of the images, with forward slashes."""
    for root in (Path(source), Path(os.environ.get("SQUEEZEKIT_DATA", "")) / source):
        if Path(path).is_relative_to(root):
            return Path(path).relative_to(root).as_posix()
    return Path(path).as_posix()
