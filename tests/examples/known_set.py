"""How to add a known set of images: one entry in `curate.CATALOGUE`. `squeezekit data fetch squares` then gets it."""

from squeezekit.curate import Entry
from squeezekit.curate.download import Wanted

ENTRY = Entry(
    "red and blue squares at 16x16 pixels",
    classes=2,
    images=6,
    licence="CC0",
    # Tried in order. A set that needs a login has none, and `login=` says what to do.
    urls=("https://example.org/squares.zip",),
    # Exact size and checksum, as the publisher gives them; `data fetch` refuses anything else.
    wanted=Wanted(size_bytes=0, digest=""),
    # (folder in the archive, folder of the set): class folders lie under each.
    folders=(("squares-1.0/training", "train"), ("squares-1.0/testing", "test")),
)
