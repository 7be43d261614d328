"""Text that is safe to print: no control characters, and its width in terminal columns."""

import unicodedata

__all__ = ["plain", "width"]


def plain(text: str) -> str:
    """One line without control characters: names come from files, and files from strangers.

    Example:
        >>> plain("a" + chr(27) + "[2J" + chr(10) + "b")
        'a�[2J b'
    """
    line = " ".join(text.split())
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)


def width(text: str) -> int:
    """Terminal columns of a text: East Asian wide letters take two, combining marks none.

    Example:
        >>> width("ねこ"), width("cafe" + chr(0x301))
        (4, 4)
    """
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)
