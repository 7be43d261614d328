"""How to add an export target: the bytes of a `.tflite` as a C array, for a microcontroller. One file and one line."""

import os

from squeezekit import files
from squeezekit.export import ExportOptions, Start, Target


def write(network: bytes, path: str | os.PathLike[str], options: ExportOptions) -> None:
    """Write a C header; labels and image settings are inside the `.tflite` already."""
    rows = [network[start : start + 12] for start in range(0, len(network), 12)]
    body = "".join(f"  {', '.join(f'0x{byte:02x}' for byte in row)},\n" for row in rows)
    files.write_text(
        path,
        f"// {len(network):,} bytes\n#include <stdint.h>\n\n"
        f"alignas(16) const uint8_t model[] = {{\n{body}}};\nconst unsigned model_bytes = {len(network)};\n",
    )


TARGET = Target("c", ".h", "C array of a .tflite.", write, start=Start.TFLITE)
