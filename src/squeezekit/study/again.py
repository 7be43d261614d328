"""The command that makes one row of a study again, and nothing that the row does not need."""

import shlex
from collections.abc import Mapping
from typing import Any

from squeezekit.study.grid import REFERENCE
from squeezekit.training import Settings

__all__ = ["command_of"]

# Settings that the verb has an option for; the others have one value.
_OPTIONS = ("epochs", "batch_size", "learning_rate", "optimizer", "precision", "balance")
_USUAL_DECAY = Settings().weight_decay


def command_of(record: Mapping[str, Any], factors: Mapping[str, str], seed: int) -> str:
    """The `squeezekit study` line of a row; DATA stands for the images.

    On the same images, versions and kind of processor it ends with the same file, `row/` before its name, and with a
    row of the same id. What a study left to the images or the processor is named, so that the line says the same
    wherever it is run.

    Args:
        record: "model", "width", "seeds", "settings", "compress_settings" and "preprocess" as in `study.json`.
        factors: of the row; none for AlexNet.
        seed: of the row.

    Example:
        >>> print(command_of({"seeds": [0, 1]}, {"fire": "separable", "prune": "", "coder": "rans"}, 1))
        squeezekit study DATA -o row --seed 0 --techniques fire,coder --level separable --level rans --only 1
    """
    words = ["squeezekit", "study", "DATA", "-o", "row"]
    settings, side = record.get("settings") or {}, (record.get("preprocess") or {}).get("height")
    decay = settings.get("weight_decay", _USUAL_DECAY)
    named = {
        "model": record.get("model"),
        "width": record.get("width"),
        "size": side,
        **{option.replace("_", "-"): settings.get(option) for option in _OPTIONS},
        "weight-decay": "" if decay == _USUAL_DECAY else str(decay),
        "cutout": settings.get("augment", {}).get("cutout"),
        "compress-epochs": (record.get("compress_settings") or {}).get("epochs"),
    }
    for option, value in named.items():
        if value:
            words += [f"--{option}", str(value)]
    # The first seed chooses the splits for all.
    words += ["--seed", str(min(record.get("seeds") or [seed]))]
    levels = {
        factor: level
        for factor, level in factors.items()
        if factor == "coder" or level != REFERENCE.get(factor, "")
    }
    if levels:
        words += ["--techniques", ",".join(levels)]
    for level in levels.values():
        words += ["--level", level]
    return shlex.join([*words, "--only", str(seed)])
