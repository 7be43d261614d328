"""The findings of an audit as one HTML file with small pictures in it."""

import base64
import functools
import importlib.resources
import io

import jinja2

from squeezekit.curate.audit import Audit
from squeezekit.errors import FormatError
from squeezekit.imaging import open_rgb

__all__ = ["render_audit"]

# What a page shows at most: some 3 KB a picture.
_MAX_GROUPS, _MAX_PICTURES, _MAX_FILES = 200, 8, 1000
_SIDE = 128


def render_audit(audit: Audit) -> str:
    """Write the page: what is in the folder, each duplicate, each broken file; it refers to nothing outside itself.

    The pictures are those of the user's folder: whoever publishes the page publishes them too.
    """
    left = list(audit.groups)
    sections = []
    for title, say, belongs in _KINDS:
        groups = [group for group in left if belongs(group)]
        left = [group for group in left if not belongs(group)]
        if groups:
            sections.append({"title": title, "say": say, "groups": groups})
    facts = audit.to_dict()
    most = max(sum(parts.values()) for parts in facts["classes"].values())
    limits = {"max_groups": _MAX_GROUPS, "max_pictures": _MAX_PICTURES, "max_files": _MAX_FILES}
    return _template().render(audit=audit, facts=facts, most=most, sections=sections, **limits)


_KINDS = (
    (
        "One picture, two labels",
        "At least one of the labels is wrong, and the network learns both.",
        lambda group: group.two_labels,
    ),
    (
        "In more than one part",
        "The network is tested on what it has learned, so its accuracy looks higher than it is.",
        lambda group: group.train_and_test,
    ),
    ("Equal files", "An image that counts twice.", lambda group: group.exact),
    (
        "Near duplicates",
        "The same photo saved again, or frames of one scene: harmless, unless there are many.",
        lambda group: True,
    ),
)


def _thumbnail(path: str) -> str:
    """A data-URI; empty for what cannot be decoded any more."""
    try:
        picture = open_rgb(path)
    except (FormatError, OSError):
        return ""
    picture.thumbnail((_SIDE, _SIDE))
    written = io.BytesIO()
    picture.save(written, "JPEG", quality=75)
    return "data:image/jpeg;base64," + base64.b64encode(written.getvalue()).decode("ascii")


def _clean(text: str) -> str:
    """A file name as a page may hold it: no control characters, nothing that is not Unicode."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters.update(clean=_clean, thumbnail=_thumbnail, count=lambda number: f"{number:,}")
    page = importlib.resources.files("squeezekit.curate").joinpath("audit.html")
    return environment.from_string(page.read_text(encoding="utf-8"))
