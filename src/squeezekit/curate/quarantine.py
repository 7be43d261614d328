"""Move faulty and duplicate images into quarantine. Nothing is deleted; a kill or an undo at any point loses nothing.

The list of moves is on disk before the first of them is made. Each move is a rename within one file system, so a
file is always in one of its two places, and the list tells the next run which moves are still to be made.
"""

import dataclasses
import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from squeezekit import files
from squeezekit.curate.audit import Audit, Group, Image
from squeezekit.curate.image_check import Fault, right_suffix
from squeezekit.errors import DataError, FormatError
from squeezekit.readers import TEST, VALIDATION

__all__ = ["RECORD", "Move", "finish_moves", "make_moves", "plan_moves", "quarantine_folder", "undo_moves"]

Progress = Callable[[int, int], None]

RECORD = "moves.json"
_VERSION = 1
# A list of a million moves takes some 200 MB.
_MAX_RECORD_BYTES = 1 << 30


@dataclasses.dataclass(frozen=True, slots=True)
class Move:
    """One file's move out of the dataset, or to its right name within it.

    Args:
        source: relative to the dataset's folder, with forward slashes.
        target: relative to the quarantine, or to the dataset's folder for a file that is only renamed.
        renamed: whether the file stays in the dataset under another name.
        reason: why, in words.
    """

    source: str
    target: str
    renamed: bool
    reason: str


def quarantine_folder(folder: str | os.PathLike[str]) -> Path:
    """The default quarantine: beside the dataset, so that a rename gets files there.

    Example:
        >>> quarantine_folder("photos/").name
        'photos-set-aside'
    """
    root = Path(folder).resolve()
    return root.with_name(f"{root.name}-set-aside")


def plan_moves(audit: Audit, *, near: bool = False) -> list[Move]:
    """Decide which files move. One copy of every image stays, unless nobody can tell its label.

    - Unreadable and truncated files go.
    - A good file with the suffix of another format gets the right suffix.
    - Of an image in several parts those in test stay, else those in validation: figures stay comparable.
    - Of an image under two labels all copies go, because at least one label is wrong; copies in test go only if their
      own labels differ.
    - Of other duplicates the first stays.

    With `near` the same holds for near duplicates. Look at them first: frames of one film are near too.
    """
    reasons: dict[str, str] = {}
    renamed: list[Move] = []
    taken = {image.relative for image in audit.images} | {name for name, _ in audit.strays}
    for image in audit.faulty:
        if image.check.fault is not Fault.WRONG_SUFFIX:
            reasons[image.relative] = f"{image.check.fault.value}: {image.check.reason}"  # type: ignore[union-attr]
    for group in audit.groups:
        if group.exact or near:
            for image, reason in _superfluous(group):
                reasons.setdefault(image.relative, reason)
    for image in audit.faulty:
        suffix = right_suffix(image.check)
        if image.check.fault is Fault.WRONG_SUFFIX and image.relative not in reasons and suffix:
            target = _free(str(PurePosixPath(image.relative).with_suffix(suffix)), taken)
            taken.add(target)
            renamed.append(Move(image.relative, target, True, f"wrong suffix: {image.check.reason}"))
    order = {image.relative: place for place, image in enumerate(audit.images)}
    moves = renamed + [Move(name, name, False, reason) for name, reason in reasons.items()]
    return sorted(moves, key=lambda move: order[move.source])


def _superfluous(group: Group) -> Iterator[tuple[Image, str]]:
    """Which images of a group go, and why."""
    named = {image.part for image in group.images}
    part = TEST if TEST in named else VALIDATION if VALIDATION in named else ""
    kept = [image for image in group.images if not part or image.part == part]
    others = [image for image in group.images if part and image.part != part]
    kind = "duplicate" if group.exact else "near duplicate"
    yield from ((image, f"{kind} of {kept[0].relative}, which is in the {part} part") for image in others)
    labels = sorted({image.label for image in kept})
    if len(labels) > 1:
        yield from ((image, f"{kind} under {len(labels)} labels: {', '.join(labels)}") for image in kept)
    else:
        yield from ((image, f"{kind} of {kept[0].relative}") for image in kept[1:])


def _free(name: str, taken: Iterable[str]) -> str:
    """`name`, or with a number after its stem where something has that name."""
    path, number = PurePosixPath(name), 1
    while name in taken:
        number += 1
        name = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
    return name


@dataclasses.dataclass(frozen=True, slots=True)
class _Record:
    """The file: all moves, how many of them are known to be made, and whether they are being undone."""

    moves: tuple[Move, ...] = ()
    finished: int = 0
    undoing: bool = False


def make_moves(
    folder: str | os.PathLike[str],
    moves: Sequence[Move],
    quarantine: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
) -> list[str]:
    """Write down `moves`, after those of earlier calls, and make them.

    Args:
        folder: the dataset's.
        moves: of `plan_moves`.
        quarantine: a folder outside the dataset's, on the same file system.
        progress: called with (moves made, moves in all).

    Returns:
        A sentence for every file that was left alone, because it vanished or lies behind a link that leads elsewhere.

    Raises:
        DataError: the quarantine is in the wrong place, or an earlier call or undo was interrupted.
        FormatError: the list of earlier moves is damaged.
        OSError: a file cannot be moved; `finish_moves` then resumes.
    """
    root, away = Path(folder), Path(quarantine)
    if away.resolve().is_relative_to(root.resolve()):
        raise DataError(f"Expected a folder outside {root}, where training does not look. Received: {away}")
    if not moves:
        return []
    away.mkdir(parents=True, exist_ok=True)
    if os.stat(root).st_dev != os.stat(away).st_dev:
        raise DataError(
            f"{away}: on another file system than {root}; name a folder beside it with --quarantine"
        )
    record = _read(away)
    if record.undoing or record.finished < len(record.moves):
        raise DataError(f"{away / RECORD}: an earlier run was interrupted; finish it first")
    taken = {move.target for move in record.moves if not move.renamed}
    fresh = []
    for move in moves:
        target = move.target
        if not move.renamed:
            while target in taken or os.path.lexists(away / target):
                taken.add(target)
                target = _free(target, taken)
            taken.add(target)
        fresh.append(dataclasses.replace(move, target=target))
    record = _Record((*record.moves, *fresh), record.finished)
    _write(away, root, record)
    return _finish(root, away, record, progress)


def finish_moves(
    folder: str | os.PathLike[str], quarantine: str | os.PathLike[str], *, progress: Progress | None = None
) -> int:
    """Make the moves that a killed `make_moves` wrote down but did not make; return their number.

    Raises:
        DataError: an undo was interrupted.
    """
    root, away = Path(folder), Path(quarantine)
    record = _read(away)
    if record.undoing:
        raise DataError(f"{away / RECORD}: an undo was interrupted; finish it with --undo")
    pending = len(record.moves) - record.finished
    if pending:
        _finish(root, away, record, progress)
    return pending


def undo_moves(
    folder: str | os.PathLike[str], quarantine: str | os.PathLike[str], *, progress: Progress | None = None
) -> tuple[int, list[str]]:
    """Put back everything that `make_moves` moved, the last move first; after a kill call it again.

    Returns:
        How many files were put back, and a sentence for every one that could not be.

    Raises:
        DataError: nothing is in quarantine there.
    """
    root, away = Path(folder), Path(quarantine)
    record = _read(away)
    if not record.moves:
        raise DataError(f"{away}: nothing is in quarantine there")
    record = dataclasses.replace(record, undoing=True)
    _write(away, root, record)
    notes, back, stuck = [], 0, []
    for done, move in enumerate(reversed(record.moves), start=1):
        start, end = _places(root, away, move)
        if os.path.lexists(end):
            note = _rename(end, start, root, move.source)
            if note:
                notes.append(note)
                stuck.append(move)
            else:
                back += 1
        if progress is not None:
            progress(done, len(record.moves))
    stuck.reverse()
    if stuck:
        _write(away, root, _Record(tuple(stuck), len(stuck)))
    else:
        (away / RECORD).unlink()
    _remove_empty(away)
    return back, notes


def _finish(root: Path, away: Path, record: _Record, progress: Progress | None) -> list[str]:
    notes = []
    for done, move in enumerate(record.moves[record.finished :], start=1):
        start, end = _places(root, away, move)
        if os.path.lexists(start):
            note = _rename(start, end, root if move.renamed else away, move.source, inside=root)
        else:
            note = "" if os.path.lexists(end) else f"{move.source}: vanished"
        if note:
            notes.append(note)
        if progress is not None:
            progress(done, len(record.moves) - record.finished)
    _write(away, root, dataclasses.replace(record, finished=len(record.moves)))
    return notes


def _places(root: Path, away: Path, move: Move) -> tuple[Path, Path]:
    return root / move.source, (root if move.renamed else away) / move.target


def _rename(start: Path, end: Path, base: Path, name: str, inside: Path | None = None) -> str:
    """Move a file to a free place under `base`; else say why not."""
    if os.path.lexists(end):
        return f"{name}: left alone, because something else is at {end}"
    if inside is not None and not start.parent.resolve().is_relative_to(inside.resolve()):
        return f"{name}: left alone, because its folder is a link that leads out of {inside}"
    end.parent.mkdir(parents=True, exist_ok=True)
    if not end.parent.resolve().is_relative_to(base.resolve()):
        return f"{name}: left alone, because {end.parent} is a link that leads out of {base}"
    try:
        os.rename(start, end)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return f"{name}: left alone, because its new name is longer than the file system allows"
    return ""


def _write(away: Path, root: Path, record: _Record) -> None:
    # ASCII, because a file name need not be Unicode.
    value = {"version": _VERSION, "dataset": root.resolve().name, **dataclasses.asdict(record)}
    files.write_text(away / RECORD, json.dumps(value, indent=1) + "\n")


def _read(away: Path) -> _Record:
    """Read the list of moves and check it: a stranger may have written it."""
    path = away / RECORD
    try:
        if path.stat().st_size > _MAX_RECORD_BYTES:
            raise FormatError(f"{path}: too large for a list of moves")
        value = json.loads(path.read_text("utf-8"))
        moves = tuple(Move(**move) for move in value["moves"])
        version, finished, undoing = (value[key] for key in ("version", "finished", "undoing"))
    except FileNotFoundError:
        return _Record()
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        raise FormatError(f"{path}: damaged list of moves") from error
    if version != _VERSION:
        raise FormatError(f"{path}: no list of moves that this version knows")
    typed = all(tuple(map(type, dataclasses.astuple(move))) == (str, str, bool, str) for move in moves)
    if not typed or type(finished) is not int or type(undoing) is not bool or not 0 <= finished <= len(moves):
        raise FormatError(f"{path}: damaged list of moves")
    for name in (name for move in moves for name in (move.source, move.target)):
        place = Path(name)
        if not place.parts or place.anchor or ".." in place.parts or "\0" in name:
            raise FormatError(f"{path}: a move that leads out of its folder")
    return _Record(moves, finished, undoing)


def _remove_empty(folder: Path) -> None:
    """Remove folders in which nothing is left, from the inside out."""
    for parent, _, _ in os.walk(folder, topdown=False):
        if not os.listdir(parent):
            os.rmdir(parent)
