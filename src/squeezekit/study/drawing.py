"""An SVG as PNG, for papers and slides that take no SVG."""

from resvg_py import svg_to_bytes

__all__ = ["png_of"]

# Dots for each unit of the SVG: 720 units make a column of 12 cm at 300 dots an inch.
_ZOOM = 2.0


def png_of(svg: str) -> bytes:
    """The picture, opaque, with the fonts of this machine.

    Args:
        svg: a whole document that refers to nothing outside itself.
    """
    return bytes(svg_to_bytes(svg_string=svg, zoom=_ZOOM))
