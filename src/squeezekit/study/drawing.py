"""An SVG as PNG, for papers and slides that take no SVG."""

try:
    from resvg_py import svg_to_bytes
except ImportError:
    # The extra `train` has it, but there is no wheel for every platform: the SVG is there in any case.
    svg_to_bytes = None

__all__ = ["png_of"]

# Dots for each unit of the SVG: 720 units make a column of 12 cm at 300 dots an inch.
_ZOOM = 2.0


def png_of(svg: str) -> bytes | None:
    """The picture, opaque, with the fonts of this machine; None where resvg is not installed.

    Args:
        svg: a whole document that refers to nothing outside itself.
    """
    return None if svg_to_bytes is None else bytes(svg_to_bytes(svg_string=svg, zoom=_ZOOM))
