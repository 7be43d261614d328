"""`squeezekit info`: what is in a model file, and what takes its bytes."""

from pathlib import Path

import click

from squeezekit import codec, files
from squeezekit.cli.output import json_option, model_argument, print_json, table
from squeezekit.errors import FormatError
from squeezekit.runtime import Contents, read_contents

__all__ = ["command"]

# A longer name loses its beginning: the end tells layers apart.
_NAME_WIDTH = 48
# Coders of tensors whose bytes are counted elsewhere.
_ELSEWHERE = ("skeleton", "shared")
_TENSOR_KEYS = (
    *("name", "shape", "dtype", "coder", "bytes", "entropy_bound_bytes", "overhead_bytes", "raw_bytes"),
    *("elements", "bits_per_element"),
)


@click.command()
@model_argument
@json_option()
def command(model: Path, as_json: bool) -> None:
    """Show what is in a .sqz or .tflite, tensor by tensor.

    The bound is the zero-order entropy: the least bytes for a coder that knows only how often each value occurs in
    a tensor. Codebooks and code tables are not part of it.
    """
    data = files.read_regular(model)
    try:
        description = codec.describe(data)
        # A file of arrays has no network, and nothing that belongs to one.
        network = "arrays" not in description.sections
        contents = read_contents(data) if network else Contents(b"", (), None, description.info)
    except FormatError as error:
        raise FormatError(f"{model}: {error}") from error
    if as_json:
        print_json(_as_json(description, contents))
    else:
        click.echo(_as_text(description, contents))


def _as_json(description: codec.Description, contents: Contents) -> dict[str, object]:
    preprocess = contents.preprocess
    return {
        "bytes": description.bytes,
        "tflite_bytes": len(contents.tflite),
        "tensors": [
            {
                **{key: getattr(line, key) for key in _TENSOR_KEYS},
                "shape": list(line.shape),
                "bits_per_element": round(line.bits_per_element, 3),
            }
            for line in description.tensors
        ],
        "sections": description.sections,
        "tables": description.tables,
        "skeleton": description.skeleton,
        "labels": list(contents.labels),
        "preprocess": preprocess.to_dict() if preprocess else None,
        "provenance": contents.provenance,
    }


def _as_text(description: codec.Description, contents: Contents) -> str:
    rows = [
        [
            line.name if len(line.name) <= _NAME_WIDTH else "..." + line.name[3 - _NAME_WIDTH :],
            "x".join(map(str, line.shape)) or "scalar",
            line.dtype,
            line.coder,
            *_figures(
                line.bytes, line.elements, line.entropy_bound_bytes, counted=line.coder not in _ELSEWHERE
            ),
        ]
        for line in description.tensors
    ]
    own = [line for line in description.tensors if line.coder not in _ELSEWHERE]
    if own:
        sums = (sum(line.bytes for line in own), sum(line.elements for line in own))
        bound = sum(line.entropy_bound_bytes for line in own)
        rows.append(["in all", "", "", "", *_figures(*sums, bound, counted=True)])
    header = ["tensor", "shape", "type", "coder", "bytes", "bits/weight", "bound", "over"]
    parts = [table(header, rows, right=[4, 5, 6, 7])]
    sizes = [*description.sections.items(), ("in all", description.bytes)]
    if len(contents.tflite) != description.bytes:
        sizes.append(("as .tflite", len(contents.tflite)))
    lines = [[name, f"{size:,}"] for name, size in sizes]
    if description.skeleton:
        place = next(number for number, (name, _) in enumerate(lines) if name == "skeleton") + 1
        lines[place:place] = [
            [f"skeleton: {name}", f"({size:,})"] for name, size in description.skeleton.items()
        ]
    parts.append(table(["section", "bytes"], lines, right=[1]))
    facts = [["labels", ", ".join(contents.labels) or "none in the file"]]
    if contents.preprocess:
        image = contents.preprocess
        size = f"{image.height}x{image.width}, cut from {image.resize_height}x{image.resize_width}"
        facts.append(["image", f"{size}, {image.fit.value}"])
    facts += [[str(name), str(value)] for name, value in contents.provenance.items()]
    parts.append(table(["about", ""], facts))
    return "\n\n".join(parts)


def _figures(size: int, elements: int, bound: int, *, counted: bool) -> list[str]:
    """Bytes, bits per element, bound, and bytes over the bound."""
    if not counted:
        return ["-", "", f"{bound:,}", ""]
    return [f"{size:,}", f"{8 * size / elements:.2f}", f"{bound:,}", f"{size - bound:+,}"]
