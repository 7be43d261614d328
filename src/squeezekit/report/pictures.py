"""Small pictures of the test images whose label flips, as data-URIs: for a reader's own eyes, in the page itself."""

import base64
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from squeezekit.errors import FormatError
from squeezekit.imaging import open_rgb

__all__ = ["MAX_PICTURES", "pictures_of"]

MAX_PICTURES = 24
_SIDE = 160


def pictures_of(
    images: Sequence[int], data: Mapping[str, Any], folder: str | os.PathLike[str]
) -> dict[int, str]:
    """A small JPEG of each of the first test images, as a data-URI; what cannot be read is left out.

    The pictures are those of the user's folder: whoever publishes the page publishes them too.

    Args:
        images: places in the order of the test split.
        data: of `study.json`, with `test_paths`.
        folder: where the images lie.

    Returns:
        Data-URIs by place, at most 24.
    """
    root = Path(folder).resolve()
    paths = data.get("test_paths")
    found: dict[int, str] = {}
    for image in images[:MAX_PICTURES]:
        if not isinstance(paths, list) or image >= len(paths):
            break
        path = (root / str(paths[image])).resolve()
        # A store from elsewhere names files; only those under the folder that the user named are opened.
        if not path.is_relative_to(root):
            continue
        try:
            picture = open_rgb(path)
        except (FormatError, OSError, ValueError):
            continue
        picture.thumbnail((_SIDE, _SIDE))
        written = io.BytesIO()
        picture.save(written, "JPEG", quality=75)
        found[image] = "data:image/jpeg;base64," + base64.b64encode(written.getvalue()).decode("ascii")
    return found
