"""`squeezekit data ...`: known sets of images, and what is in a folder of them."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from squeezekit import data, files
from squeezekit.cli.output import plain, print_json, progress, table

__all__ = ["command"]

Progress = Callable[[int, int], None]

# Lines of a list that a terminal shows; --json and --page have the rest.
_SHOWN = 10
_FOUND = 1


@click.group("data")
def command() -> None:
    """Get sets of images, and look at them before anything is trained on them."""


@command.command("check")
@click.argument("source", metavar="DATA")
@click.option("--page", metavar="FILE.html", type=click.Path(path_type=Path), help="Show it, with pictures.")
@click.option("--no-near", is_flag=True, help="Look for equal files only, not for pictures that look alike.")
@click.option("--fix", is_flag=True, help="Set aside what is broken or there twice; nothing is deleted.")
@click.option("--fix-near", is_flag=True, help="Like --fix, and near duplicates too. Look at --page first.")
@click.option("--undo", is_flag=True, help="Put back everything that --fix set aside.")
@click.option(
    "--aside",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where --fix moves files to; by default DATA-set-aside, beside DATA.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything that was found as JSON.")
def check(
    source: str,
    page: Path | None,
    no_near: bool,
    fix: bool,
    fix_near: bool,
    undo: bool,
    aside: Path | None,
    as_json: bool,
) -> None:
    """Look at every image of the folder DATA: broken, misnamed, there twice, in train and test, under two labels.

    Exit status: 0 when nothing is wrong or --fix has set everything right, 1 when something is wrong, 2 when
    the check could not be made. Files that --fix moves are listed in moves.json beside them; killed, it goes on
    when run again, and --undo puts everything back.
    """
    if undo and (fix or fix_near):
        raise ValueError("Expected --undo or --fix, not both.")
    folder = data.find_folder(source)
    away = aside or data.aside_folder(folder)
    if undo:
        _undo(folder, away, as_json=as_json)
        return
    if fix or fix_near:
        with progress("finishing moves") as bar:
            finished = data.finish_moves(folder, away, progress=bar)
        if finished:
            _say(f"note: finished the {finished:,} moves of an interrupted run")
    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        looking, comparing = _bar(stack, "reading images"), _bar(stack, "comparing pictures")
        audit = data.audit_folder(folder, near=not no_near, progress=looking, compared=comparing)
    seconds = time.perf_counter() - start
    if page is not None:
        files.write_text(page, data.render_audit(audit))
    result: dict[str, Any] = {**audit.to_dict(), "seconds": round(seconds, 3)}
    wrong = audit.has_problems
    if fix or fix_near:
        moves = data.plan_moves(audit, near=fix_near)
        with progress("moving files") as bar:
            notes = data.make_moves(folder, moves, away, progress=bar)
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
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder to look for fetched ones in.")
@click.option("--json", "as_json", is_flag=True, help="Print everything that is known as JSON.")
def list_sets(output: Path | None, as_json: bool) -> None:
    """List the sets of images that `fetch` knows, and which of them are there."""
    folder = output or data.data_folder()
    if as_json:
        print_json(
            {
                name: {
                    "title": entry.title,
                    "classes": entry.classes,
                    "images": entry.images,
                    "licence": entry.licence,
                    "urls": list(entry.urls),
                    "archive_bytes": entry.wanted.size_bytes or None,
                    "digest": entry.wanted.digest or None,
                    "login": entry.login or None,
                    "fetched": data.is_fetched(name, folder),
                }
                for name, entry in data.CATALOGUE.items()
            }
        )
        return
    rows = [
        [
            name,
            f"{entry.classes:,}",
            f"{entry.images:,}",
            "there" if data.is_fetched(name, folder) else "login" if entry.login else "",
            entry.title,
            entry.licence,
        ]
        for name, entry in data.CATALOGUE.items()
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
@click.option(
    "--mirror", metavar="URL", default="", help="Folder to ask first for the archive, by its own name."
)
@click.option(
    "--file",
    "archive",
    metavar="ARCHIVE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take this archive instead of downloading one.",
)
@click.option("--keep", is_flag=True, help="Keep the downloaded archive.")
@click.option("--json", "as_json", is_flag=True, help="Print where it is as JSON.")
def fetch(
    name: str, output: Path | None, mirror: str, archive: Path | None, keep: bool, as_json: bool
) -> None:
    """Download the set NAME, check it and unpack it; interrupted and run again, it goes on where it was.

    Where a login is needed it says what to do, and takes the archive with --file. `squeezekit data list` has the names.
    """
    with contextlib.ExitStack() as stack:
        bars = {what: _bar(stack, what) for what in ("downloading", "unpacking", "drawing")}
        where = data.fetch(
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
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to make.")
@click.option("--images", default="", metavar="NAME", help="Array of the images, where it cannot be guessed.")
@click.option("--labels", default="", metavar="NAME", help="Array of the labels; for a .npy its file.")
@click.option(
    "--names",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with one class name a line, for arrays.",
)
@click.option("--json", "as_json", is_flag=True, help="Print how many images there are as JSON.")
def unpack(
    sources: tuple[Path, ...], output: Path, images: str, labels: str, names: Path | None, as_json: bool
) -> None:
    """Make a folder of class folders of a tar or ZIP archive of them, or of the arrays in .npz and .npy files.

    Only images are taken. An archive that would write elsewhere, or is a bomb, is refused; nothing is unpickled.
    """
    class_names = names.read_text("utf-8").split("\n") if names is not None else []
    class_names = [name.strip() for name in class_names if name.strip()]
    with progress("unpacking") as bar:
        count = data.unpack_images(
            sources, output, images=images, labels=labels, class_names=class_names, progress=bar
        )
    if as_json:
        print_json({"images": count, "folder": str(output)})
    else:
        click.echo(
            f"{output}  has {count:,} images; squeezekit data check {output}  says what is wrong with them"
        )


def _bar(stack: contextlib.ExitStack, label: str) -> Progress:
    """A progress bar that appears at its first news, and ends the one before it."""
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
        back, notes = data.undo_moves(folder, away, progress=bar)
    if as_json:
        print_json({"put_back": back, "left_alone": notes})
    else:
        click.echo(f"{back:,} files put back into {folder}")
        for note in notes:
            _say(f"note: {note}")
    if notes:
        click.get_current_context().exit(_FOUND)


def _say(line: str) -> None:
    click.echo(f"squeezekit: {plain(line)}", err=True)


def _report(audit: data.Audit, result: dict[str, Any]) -> Iterator[str]:
    """What people read: tables first, then the findings, the gravest first."""
    classes = [
        [name, *(f"{parts[part]:,}" for part in audit.parts)] for name, parts in result["classes"].items()
    ]
    heads = [part or "images" for part in audit.parts]
    yield table(["class", *heads], classes, right=range(1, len(heads) + 1))
    yield table(["in all", ""], _facts(result))
    counts = result["counts"]
    rows = [[kind.replace("_", " "), "", f"{number:,}", "", ""] for kind, number in counts["files"].items()]
    for kind in ("duplicates", "near_duplicates"):
        numbers = counts[kind]
        if numbers["groups"]:
            cells = [numbers[name] for name in ("groups", "images", "two_labels", "train_and_test")]
            rows.append([kind.replace("_", " "), *(f"{number:,}" for number in cells)])
    if rows:
        header = ["found", "groups", "images", "under two labels", "in train and test"]
        yield table(header, rows, right=[1, 2, 3, 4])
    else:
        yield "Nothing is wrong: every image can be read, and none is there twice."
    lines = [f"{file['image']}: {file['reason']}" for file in result["files"]]
    yield from _listed("Files with a fault", lines)
    for title, belongs in (
        ("Under two labels", lambda group: group["two_labels"]),
        ("In train and test", lambda group: group["train_and_test"] and not group["two_labels"]),
        (
            "Duplicates",
            lambda group: group["exact"] and not group["train_and_test"] and not group["two_labels"],
        ),
    ):
        lines = [", ".join(group["images"]) for group in result["groups"] if belongs(group)]
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
            f"{result['images']:,}, {result['bytes']:,} bytes, looked at in {result['seconds']:.1f} s",
        ],
        ["formats", ", ".join(f"{name} {number:,}" for name, number in result["formats"].items())],
        ["modes", ", ".join(f"{name} {number:,}" for name, number in result["modes"].items())],
    ]
    if sizes["distinct"]:
        smallest, median, largest = (
            "x".join(map(str, sizes[name])) for name in ("smallest", "median", "largest")
        )
        rows.append(["sizes", f"{smallest} to {largest}, median {median}, {sizes['distinct']:,} different"])
    rows.append(["turned by EXIF", f"{len(result['rotated']):,}"])
    strays = result["strays"]
    if strays["files"]:
        rows.append(
            ["passed over", f"{strays['files']:,} files, {len(strays['images']):,} of them images by content"]
        )
    return rows


def _listed(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        shown = [f"  {plain(line)}" for line in lines[:_SHOWN]]
        more = [f"  and {len(lines) - _SHOWN:,} more: see --json or --page"] if len(lines) > _SHOWN else []
        yield "\n".join([f"{title}:", *shown, *more])
