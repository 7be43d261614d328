"""`squeezekit info`: what is in a model file, and where its bytes go."""

from pathlib import Path

import click

from squeezekit import codec
from squeezekit.cli.output import print_json, table
from squeezekit.errors import FormatError
from squeezekit.runtime import Contents, read_contents

__all__ = ["command"]

# A longer name keeps its end, which tells layers apart.
_NAME_WIDTH = 48


@click.command("info", short_help="Say what is in a .sqz or .tflite and where its bytes go.")
@click.argument("model", metavar="MODEL", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(model: Path, as_json: bool) -> None:
    """Say what is in a .sqz or .tflite, tensor by tensor.

    The bound is the zero-order entropy: what a coder that knows only how often each value occurs in a
    tensor could reach at best.
    """
    data = model.read_bytes()
    try:
        contents, description = read_contents(data), codec.describe(data)
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
                "name": line.name,
                "shape": list(line.shape),
                "dtype": line.dtype,
                "coder": line.coder,
                "bytes": line.bytes,
                "entropy_bound_bytes": line.entropy_bound_bytes,
            }
            for line in description.tensors
        ],
        "sections": description.sections,
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
            f"{line.bytes:,}",
            f"{line.entropy_bound_bytes:,}",
        ]
        for line in description.tensors
    ]
    parts = [table(["tensor", "shape", "type", "coder", "bytes", "bound"], rows, right=[4, 5])]
    sizes = [*description.sections.items(), ("in all", description.bytes)]
    if len(contents.tflite) != description.bytes:
        sizes.append(("as .tflite", len(contents.tflite)))
    parts.append(table(["section", "bytes"], [[name, f"{size:,}"] for name, size in sizes], right=[1]))
    facts = [["labels", ", ".join(contents.labels) or "none in the file"]]
    if contents.preprocess:
        image = contents.preprocess
        size = f"{image.height}x{image.width}, cut from {image.resize_height}x{image.resize_width}"
        facts.append(["image", f"{size}, {image.fit.value}"])
    facts += [[str(name), str(value)] for name, value in contents.provenance.items()]
    parts.append(table(["about", ""], facts))
    return "\n\n".join(parts)
