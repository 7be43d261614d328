"""The outcome of a run as plain text: one sentence, and a table for the terminal that fits 100 columns."""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from squeezekit.experiment.record import figure
from squeezekit.safe_text import width

__all__ = [
    "MISSING",
    "clean",
    "clip",
    "count",
    "headline",
    "milliseconds",
    "percent",
    "reference_row",
    "result_rows",
    "size",
    "table",
    "times",
    "unbalanced",
]

MISSING = "n/a"
_COLUMNS = 100
_GAP = "  "
# Where the column of macro-accuracy stands, if it does: after that of accuracy.
_AFTER, _MACRO_HEAD = 6, ("macro", "%")
# Classes that differ by more than this in their test images: accuracy is then that of the large ones.
_UNEQUAL = 1.5

# A folder's name may hold anything but a slash: what moves a terminal's cursor or turns text round is shown as a mark.
_BIDI_CONTROLS = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))


def count(value: Any) -> str:
    """A whole number with thousands separators.

    Example:
        >>> count(1235496)
        '1,235,496'
    """
    number = figure(value)
    return MISSING if number is None else f"{round(number):,}"


def size(value: Any) -> str:
    """A number of bytes for people; 1 KB is 1,000 bytes, as disks and `ls --si` count.

    Example:
        >>> size(812), size(34212), size(999_960), size(93_912_345)
        ('812 bytes', '34.2 KB', '1.0 MB', '93.9 MB')
    """
    number = figure(value)
    if number is None:
        return MISSING
    if number < 1000:
        return f"{round(number)} byte{'' if round(number) == 1 else 's'}"
    unit = "KB"
    number /= 1000
    for larger in ("MB", "GB", "TB"):
        # Rounded first, or 999,960 bytes would be called 1000.0 KB.
        if round(number, 1) < 1000:
            break
        number, unit = number / 1000, larger
    return f"{number:,.1f} {unit}"


def percent(value: Any) -> str:
    """A proportion in [0, 1] as a percentage with one decimal.

    Example:
        >>> percent(0.8433), percent(float("nan"))
        ('84.3 %', 'n/a')
    """
    number = figure(value)
    return MISSING if number is None else f"{100 * number:.1f} %"


def times(value: Any) -> str:
    """A ratio with one decimal.

    Example:
        >>> times(1021.34)
        '1,021.3'
    """
    number = figure(value)
    return MISSING if number is None else f"{number:,.1f}"


def milliseconds(value: Any) -> str:
    """A duration in milliseconds with two decimals, without the unit.

    Example:
        >>> milliseconds(12.2)
        '12.20'
    """
    number = figure(value)
    return MISSING if number is None else f"{number:,.2f}"


def clean(text: Any) -> str:
    """`text` with control characters, lone surrogates and direction overrides replaced by a visible mark.

    Example:
        >>> clean("cat" + chr(27) + "[2J")
        'cat�[2J'
    """
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(letter) in ("Cc", "Cs") or letter in _BIDI_CONTROLS
        else letter
        for letter in str(text)
    )


def clip(text: Any, columns: int) -> str:
    """`clean` text of at most `columns` terminal columns, ending in an ellipsis where something was cut.

    Example:
        >>> clip("golden retriever", 9)
        'golden r…'
    """
    # Marks that take no column could go on for ever; nobody reads a text in which most do.
    letters = clean(str(text)[: 4 * columns])
    if width(letters) <= columns and len(letters) == len(str(text)):
        return letters
    kept = ""
    room = columns - 1
    for letter in letters:
        room -= width(letter)
        if room < 0:
            break
        kept += letter
    return kept + "…"


def result_rows(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The measured networks of `run`; the last is the one that ships."""
    rows = run.get("rows")
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, Sequence) else []


def unbalanced(run: Mapping[str, Any]) -> bool:
    """Whether the largest class has over 1.5 times the test images of the smallest: macro-accuracy tells more then.

    Example:
        >>> unbalanced({"rows": [{"class_images": {"cat": 10, "dog": 16}}]})
        True
    """
    for row in result_rows(run):
        found = row.get("class_images")
        counts = [figure(value) or 0 for value in found.values()] if isinstance(found, Mapping) else []
        if counts and max(counts) > _UNEQUAL * min(counts):
            return True
    return False


def reference_row(run: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The row that others are "times smaller" than: the one named by `reference`, else the first; None without rows."""
    rows = result_rows(run)
    named = (row for row in rows if row.get("name") == run.get("reference"))
    return next(named, rows[0] if rows else None)


def headline(run: Mapping[str, Any]) -> str:
    """The run in one sentence: how small, how much smaller than what, and how often right.

    Args:
        run: the content of `run.json`.

    Returns:
        One line of text that ends in a full stop.

    Example:
        >>> rows = [{"name": "AlexNet, float", "file_bytes": 93_900_000, "top1": 0.81},
        ...         {"name": "SqueezeNet 1.1, squeezed", "file_bytes": 93_900, "times_smaller": 1000.0,
        ...          "top1": 0.843, "images": 1500}]
        >>> headline({"rows": rows})
        '93.9 KB, 1,000 times smaller than AlexNet, and 84.3 % of 1,500 test images right; AlexNet: 81.0 %.'
    """
    rows, reference = result_rows(run), reference_row(run)
    if not rows or reference is None:
        return "No network was measured."
    shipped = rows[-1]
    parts = [
        size(shipped.get("file_bytes")) if figure(shipped.get("file_bytes")) else "A file of unknown size"
    ]
    compared = reference is not shipped
    smaller = figure(shipped.get("times_smaller"))
    if compared and smaller is not None:
        # Rounded down where decimals no longer matter: the sentence may not claim more than the file holds.
        ratio = times(smaller) if smaller < 100 else count(math.floor(smaller))
        parts.append(f"{ratio} times smaller than {_short(reference, rows)}")
    sentence = ", ".join(parts)
    if figure(shipped.get("top1")) is None:
        sentence += "; accuracy not measured"
    else:
        images = f"{count(shipped['images'])} " if figure(shipped.get("images")) else "the "
        comma = "," if len(parts) > 1 else ""
        sentence += f"{comma} and {percent(shipped['top1'])} of {images}test images right"
    if compared and figure(reference.get("top1")) is not None:
        sentence += f"; {_short(reference, rows)}: {percent(reference['top1'])}"
    return sentence + "."


def table(run: Mapping[str, Any]) -> str:
    """The measured networks of a run as a text table of at most 100 columns, with a note on what was measured how.

    Args:
        run: the content of `run.json`; missing figures, None and NaN show as "n/a".

    Returns:
        Lines joined by newlines, without one at the end.

    Example:
        >>> row = {"name": "SqueezeNet 1.1, float", "parameters": 725_574, "file_bytes": 2_914_000, "top1": 0.86,
        ...        "worst_class": {"label": "glacier", "recall": 0.78}}
        >>> print(table({"rows": [row]}).splitlines()[3])
        SqueezeNet 1.1, float     725,574       n/a  2.9 MB      n/a   86.0      n/a   78.0 glacier
    """
    rows = result_rows(run)
    if not rows:
        return "No network was measured."
    head = [
        ("model", ""),
        ("parameters", ""),
        ("non-zero", ""),
        ("file", ""),
        ("times", "smaller"),
        ("top-1", "%"),
        ("latency", "ms"),
        ("worst class", "recall, %"),
    ]
    cells = [*zip(*head, strict=True), *(_cells(row) for row in rows)]
    macro = [*_MACRO_HEAD, *(percent(row.get("macro_accuracy")).removesuffix(" %") for row in rows)]
    if unbalanced(run):
        cells = [
            (*line[:_AFTER], figures, *line[_AFTER:]) for line, figures in zip(cells, macro, strict=True)
        ]
    widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
    # A long class name gives way first, a long model name only when that is not enough.
    last = max(12, _COLUMNS - sum(widths[:-1]) - len(_GAP) * (len(widths) - 1))
    widths[0] = min(widths[0], _COLUMNS - sum(widths[1:-1]) - last - len(_GAP) * (len(widths) - 1))
    lines = [_line(line, widths, last) for line in cells]
    rule = "-" * max(map(width, lines))
    lines = [*lines[:2], rule, *lines[2:], rule]
    return "\n".join([*lines, *_notes(run, rows)])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    worst = row.get("worst_class")
    label, recall = (worst.get("label"), worst.get("recall")) if isinstance(worst, Mapping) else (None, None)
    return (
        clean(row.get("name", MISSING)),
        count(row.get("parameters")),
        count(row.get("nonzero_parameters")),
        size(row.get("file_bytes")),
        times(row.get("times_smaller")),
        percent(row.get("top1")).removesuffix(" %"),
        milliseconds(row.get("latency_ms")),
        MISSING if label is None else f"{percent(recall).removesuffix(' %'):>5} {clean(label)}",
    )


def _line(cells: Sequence[str], widths: Sequence[int], last: int) -> str:
    name = clip(cells[0], widths[0])
    padded = [name + " " * (widths[0] - width(name))]
    padded += [text.rjust(width) for text, width in zip(cells[1:-1], widths[1:-1], strict=True)]
    return _GAP.join([*padded, clip(cells[-1], last)]).rstrip()


def _notes(run: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the figures mean, in lines that fit."""
    reference = reference_row(run)
    sizes = [
        f"{clip(row.get('file') or row.get('name'), 40)} {count(row.get('file_bytes'))} bytes" for row in rows
    ]
    notes = [f"{', '.join(sizes)}."]
    if reference is not None and len(rows) > 1:
        name = clean(reference.get("name", MISSING))
        notes.append(f"Times smaller: than the file of {name}. 1 KB = 1,000 bytes.")
    else:
        notes.append("1 KB = 1,000 bytes.")
    images = {count(row.get("images")) for row in rows} - {MISSING}
    on = f"the {images.pop()} test images" if len(images) == 1 else "the test images"
    macro = " Macro: mean of the classes' recalls." if unbalanced(run) else ""
    notes.append(f"Accuracy: each file itself on {on}.{macro} Latency: median of one inference, one thread.")
    return [line for note in notes for line in _wrapped(note)]


def _wrapped(text: str) -> list[str]:
    """Break at spaces by what a terminal shows, not by the number of code points."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and width(longer) > _COLUMNS:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _short(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """A row's name without its variant ("AlexNet, float" -> "AlexNet") where that is still one row's alone."""
    name = clip(row.get("name", MISSING), 60)
    short, comma, variant = name.partition(", ")
    alike = [other for other in rows if str(other.get("name")).partition(", ")[0] == short]
    return short if len(alike) <= 1 or not comma else f"{short} ({variant})"
