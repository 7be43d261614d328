"""`squeezekit data ...`: get datasets, unpack them, and check a folder of images."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from squeezekit import curate, data, files
from squeezekit.cli.output import PATH, json_option, plain, print_json, progress, say, table

__all__ = ["command"]

Progress = Callable[[int, int], None]

# Lines of a list shown on a terminal; --json and --page have the rest.
_SHOWN = 10
_FOUND = 1


@click.group("data")
def command() -> None:
    """Get datasets, and check them before a training."""


@command.command("check")
@click.argument("source", metavar="DATA")
@click.option("--page", metavar="FILE.html", type=PATH, help="Write the findings as a page with pictures.")
@click.option("--no-near", is_flag=True, help="Search for equal files only, not for near duplicates.")
@click.option(
    "--fix", is_flag=True, help="Move broken files and duplicates into quarantine; nothing is deleted."
)
@click.option("--fix-near", is_flag=True, help="Like --fix, and near duplicates too. Look at --page first.")
@click.option("--undo", is_flag=True, help="Put back everything that --fix moved.")
@click.option(
    "--quarantine",
    "--aside",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where --fix moves files to; by default DATA-set-aside, beside DATA.",
)
@json_option("Print all findings as JSON.")
def check(
    source: str,
    page: Path | None,
    no_near: bool,
    fix: bool,
    fix_near: bool,
    undo: bool,
    quarantine: Path | None,
    as_json: bool,
) -> None:
    """Check every image of the folder DATA: broken, misnamed, duplicate, in train and test, under two labels.

    Exit status: 0 when nothing is wrong or --fix has corrected everything, 1 when something is wrong, 2 when the check
    could not be made. The quarantine's moves.json lists the files that --fix moves. A killed --fix goes on when run
    again, and --undo puts everything back.
    """
    if undo and (fix or fix_near):
        raise ValueError("Expected --undo or --fix, not both.")
    folder = data.find_folder(source)
    away = quarantine or curate.quarantine_folder(folder)
    if undo:
        _undo(folder, away, as_json=as_json)
        return
    if fix or fix_near:
        with progress("finishing moves") as bar:
            finished = curate.finish_moves(folder, away, progress=bar)
        if finished:
            say(f"note: finished the {finished:,} moves of an interrupted run")
    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        reading, comparing = _bar(stack, "reading images"), _bar(stack, "comparing images")
        audit = curate.audit_folder(folder, near=not no_near, progress=reading, compared=comparing)
    seconds = time.perf_counter() - start
    if page is not None:
        files.write_text(page, curate.render_audit(audit))
    result: dict[str, Any] = {**audit.to_dict(), "seconds": round(seconds, 3)}
    wrong = audit.has_problems
    if fix or fix_near:
        moves = curate.plan_moves(audit, near=fix_near)
        with progress("moving files") as bar:
            notes = curate.make_moves(folder, moves, away, progress=bar)
        result["moves"] = [
            {"image": move.source, "renamed": move.renamed, "reason": move.reason} for move in moves
        ]
        result["aside"], result["left_alone"] = str(away), notes
        wrong = bool(notes) or (not fix_near and any(not group.exact for group in audit.groups))
    if as_json:
        print_json(result)
    else:
        click.echo("\n\n".join(_report(audit, result)))
        if page is not None:
            click.echo(f"\n{page}  shows the pictures")
    if wrong:
        click.get_current_context().exit(_FOUND)


@command.command("list")
@click.option("-o", "--output", type=PATH, help="Folder of fetched datasets.")
@json_option("Print the catalogue as JSON.")
def list_known(output: Path | None, as_json: bool) -> None:
    """List the datasets that `fetch` knows, and which of them are here."""
    folder = output or data.data_folder()
    if as_json:
        known = {}
        for name, entry in curate.CATALOGUE.items():
            known[name] = {
                key: getattr(entry, key) for key in ("title", "classes", "images", "licence", "urls")
            }
            known[name]["archive_bytes"] = entry.wanted.size_bytes or None
            known[name]["digest"] = entry.wanted.digest or None
            known[name]["login"] = entry.login or None
            known[name]["fetched"] = curate.is_fetched(name, folder)
        print_json(known)
        return
    rows = [
        [
            name,
            f"{entry.classes:,}",
            f"{entry.images:,}",
            "there" if curate.is_fetched(name, folder) else "login" if entry.login else "",
            entry.title,
            entry.licence,
        ]
        for name, entry in curate.CATALOGUE.items()
    ]
    click.echo(table(["name", "classes", "images", "", "what", "licence"], rows, right=[1, 2]))


@command.command("fetch")
@click.argument("name", metavar="NAME")
@click.option(
    "-o",
    "--output",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to put FOLDER/NAME; by default the folder that SQUEEZEKIT_DATA names, else data.",
)
@click.option("--mirror", metavar="URL", default="", help="Address of a folder to try first.")
@click.option(
    "--file",
    "archive",
    metavar="ARCHIVE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take this archive instead of downloading one.",
)
@click.option("--keep", is_flag=True, help="Keep the downloaded archive.")
@json_option("Print the folder as JSON.")
def fetch(
    name: str, output: Path | None, mirror: str, archive: Path | None, keep: bool, as_json: bool
) -> None:
    """Download the dataset NAME, check it and unpack it; run again after an interruption, it resumes.

    Where a login is needed it says what to do, and takes the archive with --file. `squeezekit data list` has the names.
    """
    with contextlib.ExitStack() as stack:
        bars = {what: _bar(stack, what) for what in ("downloading", "unpacking", "drawing")}
        where = curate.fetch(
            name,
            output or data.data_folder(),
            mirror=mirror,
            file=archive or "",
            keep=keep,
            progress=lambda what, done, total: bars[what](done, max(done, total)),
        )
    if as_json:
        print_json({"name": name, "folder": str(where)})
    else:
        click.echo(f"{where}  has the images; squeezekit data check {where}  says what is wrong with them")


@command.command("unpack")
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=PATH)
@click.option("-o", "--output", required=True, type=PATH, help="Folder to make.")
@click.option("--images", default="", metavar="NAME", help="Array of the images, where it cannot be guessed.")
@click.option("--labels", default="", metavar="NAME", help="Array of the labels; for a .npy its file.")
@click.option(
    "--names",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with one class name a line, for arrays and shards.",
)
@json_option("Print the number of images as JSON.")
def unpack(
    sources: tuple[Path, ...], output: Path, images: str, labels: str, names: Path | None, as_json: bool
) -> None:
    """Make class folders from a tar or ZIP archive of them, from .npz and .npy files, or from shards.

    Parts keep their names: train, validation and test. Only images are taken. An archive that would write elsewhere, or
    is a bomb, is refused; nothing is unpickled.
    """
    class_names = names.read_text("utf-8").split("\n") if names is not None else []
    class_names = [name.strip() for name in class_names if name.strip()]
    with progress("unpacking") as bar:
        count = curate.unpack_images(
            sources, output, images=images, labels=labels, class_names=class_names, progress=bar
        )
    if as_json:
        print_json({"images": count, "folder": str(output)})
    else:
        click.echo(
            f"{output}  has {count:,} images; squeezekit data check {output}  says what is wrong with them"
        )


def _bar(stack: contextlib.ExitStack, label: str) -> Progress:
    """A progress bar that appears at its first call, and ends the one before it."""
    bar: list[Progress | None] = []

    def show(done: int, total: int) -> None:
        if not bar:
            stack.close()
            bar.append(stack.enter_context(progress(label)))
        if bar[0] is not None:
            bar[0](done, total)

    return show


def _undo(folder: Path, away: Path, *, as_json: bool) -> None:
    with progress("putting back") as bar:
        back, notes = curate.undo_moves(folder, away, progress=bar)
    if as_json:
        print_json({"put_back": back, "left_alone": notes})
    else:
        click.echo(f"{back:,} files put back into {folder}")
        for note in notes:
            say(f"note: {note}")
    if notes:
        click.get_current_context().exit(_FOUND)


def _report(audit: curate.Audit, result: dict[str, Any]) -> Iterator[str]:
    """The findings as text: tables first, then the findings, the gravest first."""
    classes = [
        [name, *(f"{parts[part]:,}" for part in audit.parts)] for name, parts in result["classes"].items()
    ]
    heads = [part or "images" for part in audit.parts]
    yield table(["class", *heads], classes, right=range(1, len(heads) + 1))
    yield table(["in all", ""], _facts(result))
    yield from _listed("Notes", result["notes"])
    counts = result["counts"]
    rows = [[kind.replace("_", " "), "", f"{number:,}", "", ""] for kind, number in counts["files"].items()]
    for kind in ("duplicates", "near_duplicates"):
        numbers = counts[kind]
        if numbers["groups"]:
            cells = [numbers[name] for name in ("groups", "images", "two_labels", "train_and_test")]
            rows.append([kind.replace("_", " "), *(f"{number:,}" for number in cells)])
    if rows:
        header = ["found", "groups", "images", "under two labels", "in two parts"]
        yield table(header, rows, right=[1, 2, 3, 4])
    else:
        yield "Nothing is wrong: every image can be read, and there are no duplicates."
    lines = [f"{file['image']}: {file['reason']}" for file in result["files"]]
    yield from _listed("Files with a fault", lines)
    titles = ("Under two labels", "In more than one part", "Duplicates")
    listed: dict[str, list[str]] = {title: [] for title in titles}
    # The first fact that is true of a group decides; near duplicates that are neither are on the page only.
    for group in result["groups"]:
        facts = (group["two_labels"], group["train_and_test"], group["exact"])
        for title in [title for title, fact in zip(titles, facts, strict=True) if fact][:1]:
            listed[title].append(", ".join(group["images"]))
    for title, lines in listed.items():
        yield from _listed(title, lines)
    if "moves" in result:
        yield from _listed("Moved", [f"{move['image']}: {move['reason']}" for move in result["moves"]])
        yield from _listed("Left alone", result["left_alone"])
        yield f"{len(result['moves']):,} files moved to {plain(result['aside'])}; --undo puts them back"


def _facts(result: dict[str, Any]) -> list[list[str]]:
    sizes = result["sizes"]
    rows = [
        [
            "images",
            f"{result['images']:,}, {result['bytes']:,} bytes, checked in {result['seconds']:.1f} s",
        ],
        ["formats", ", ".join(f"{name} {number:,}" for name, number in result["formats"].items())],
        ["modes", ", ".join(f"{name} {number:,}" for name, number in result["modes"].items())],
    ]
    if sizes["distinct"]:
        smallest, median, largest = (
            "x".join(map(str, sizes[name])) for name in ("smallest", "median", "largest")
        )
        rows.append(["sizes", f"{smallest} to {largest}, median {median}, {sizes['distinct']:,} different"])
    rows.append(["rotated by EXIF", f"{len(result['rotated']):,}"])
    strays = result["strays"]
    if strays["files"]:
        rows.append(
            ["not read", f"{strays['files']:,} files, {len(strays['images']):,} of them images by content"]
        )
    return rows


def _listed(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        shown = [f"  {plain(line)}" for line in lines[:_SHOWN]]
        more = [f"  and {len(lines) - _SHOWN:,} more: see --json or --page"] if len(lines) > _SHOWN else []
        yield "\n".join([f"{title}:", *shown, *more])
