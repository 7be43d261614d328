"""Download one file completely or not at all: resumed after any interruption, checked, from several addresses.

The bytes received lie in `NAME.part`; the next attempt, the next mirror or the next run resumes there (HTTP Range).
Standard library only: pooch, which others use for datasets, does not resume.
"""

import dataclasses
import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from squeezekit.errors import DataError, FormatError

__all__ = ["Wanted", "check_file", "download"]

Progress = Callable[[int, int], None]

_CHUNK = 1 << 18
# No archive of images is larger.
_MAX_BYTES = 1 << 40
_TIMEOUT_SECONDS = 30.0
# Attempts at one address without any bytes; received bytes start the count anew.
_ATTEMPTS = 4
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What a file must be: its exact size, 0 when unknown, and "sha256:..." or "md5:...", "" when unknown."""

    size_bytes: int = 0
    digest: str = ""

    def __post_init__(self) -> None:
        kind, _, value = self.digest.partition(":")
        lengths = {"sha256": 64, "md5": 32}
        if self.size_bytes < 0 or (self.digest and len(value) != lengths.get(kind)):
            raise ValueError(f"Expected a size and 'sha256:...' or 'md5:...'. Received: {self}.")


class _NotHereError(Exception):
    """The address does not give the file; another may."""


class _AgainError(Exception):
    """The attempt failed; the next may succeed."""


def download(
    urls: Sequence[str],
    target: str | os.PathLike[str],
    wanted: Wanted,
    *,
    progress: Progress | None = None,
    wait_seconds: float = 1.0,
) -> Path:
    """Fetch a file over HTTP from the first of several addresses that gives it, or only check the file that is there.

    A dropped connection is resumed. An answer of another size or another start than was asked for is refused. A file
    with a wrong checksum is deleted, and fetched once more if it was put together from several answers.

    Args:
        urls: `http://` or `https://`, tried in order.
        target: path of the file, which is returned.
        wanted: size and checksum.
        progress: called with (bytes here, bytes in all; 0 when unknown).
        wait_seconds: before the second attempt; doubled each time.

    Raises:
        ValueError: no address, or one that is not HTTP.
        DataError: no address gave the file; the next call resumes.
    """
    if not urls or any(not url.startswith(("http://", "https://")) for url in urls):
        raise ValueError(f"Expected addresses that begin with http:// or https://. Received: {list(urls)}.")
    path = Path(target)
    if path.exists():
        check_file(path, wanted)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    troubles: list[str] = []
    for url in urls:
        try:
            _from_one(url, part, wanted, progress, wait_seconds)
        except _NotHereError as error:
            troubles.append(f"{url}: {error}")
            continue
        os.replace(part, path)
        return path
    raise DataError("; ".join(troubles) + f" (run it again to go on from {_size(part):,} bytes)")


def _from_one(url: str, part: Path, wanted: Wanted, progress: Progress | None, wait: float) -> None:
    """Bring `part` to its end from one address and check it."""
    for whole in (False, True):
        resumed = _until_complete(url, part, wanted, progress, wait)
        try:
            check_file(part, wanted)
            return
        except FormatError as error:
            part.unlink()
            if whole or not resumed:
                raise _NotHereError(str(error).removeprefix(f"{part}: ")) from error
            # Parts of two different files, perhaps: once more in one piece.


def _until_complete(url: str, part: Path, wanted: Wanted, progress: Progress | None, wait: float) -> bool:
    """Ask again until nothing is missing; return whether the file was put together from several answers."""
    failures, answers, before = 0, 0, _size(part)
    resumed = before > 0
    while True:
        try:
            answers += 1
            _attempt(url, part, wanted, progress)
            return resumed or answers > 1
        except (
            _AgainError,
            http.client.HTTPException,
            TimeoutError,
            ConnectionError,
            urllib.error.URLError,
        ) as error:
            after = _size(part)
            failures = 1 if after > before else failures + 1
            before = after
            if failures >= _ATTEMPTS:
                raise _NotHereError(str(getattr(error, "reason", error)) or type(error).__name__) from error
            time.sleep(wait * 2 ** (failures - 1))


def _attempt(url: str, part: Path, wanted: Wanted, progress: Progress | None) -> None:
    """Ask once for what is missing and write what comes."""
    have = _size(part)
    if wanted.size_bytes and have == wanted.size_bytes:
        return
    if wanted.size_bytes and have > wanted.size_bytes:
        part.unlink()
        have = 0
    headers = {"User-Agent": "squeezekit", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        answer = _OPENER.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
                part.unlink()
                raise _AgainError("the rest cannot be had; from the beginning") from error
            if error.code >= 500 or error.code in (408, 429):
                raise _AgainError(f"HTTP {error.code} {error.reason}") from error
            raise _NotHereError(f"HTTP {error.code} {error.reason}") from error
    with answer:
        have, total = _announced(answer, have)
        if wanted.size_bytes and total and total != wanted.size_bytes:
            raise _NotHereError(f"offers {total:,} bytes instead of {wanted.size_bytes:,}")
        limit = wanted.size_bytes or total or _MAX_BYTES
        with part.open("r+b" if have else "wb") as file:
            file.seek(have)
            file.truncate()
            while data := answer.read(_CHUNK):
                have += len(data)
                if have > limit:
                    file.truncate(0)
                    raise _NotHereError(f"sent more than {limit:,} bytes")
                file.write(data)
                if progress is not None:
                    progress(have, wanted.size_bytes or total)
    missing = (wanted.size_bytes or total) - have
    if missing > 0:
        raise _AgainError(f"the connection ended {missing:,} bytes early")


def _announced(answer: http.client.HTTPResponse, have: int) -> tuple[int, int]:
    """Where the answer begins, and the size of the whole file by its headers; 0 when unknown."""
    length = answer.headers.get("Content-Length", "")
    if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
        return 0, int(length) if length.isdecimal() else 0
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != have:
        raise _NotHereError("answers with another part than was asked for")
    return have, 0 if match[3] == "*" else int(match[3])


def check_file(path: str | os.PathLike[str], wanted: Wanted) -> None:
    """Compare a file with its size and checksum; raise `FormatError` when it is another file, or damaged."""
    size = os.stat(path).st_size
    if wanted.size_bytes and size != wanted.size_bytes:
        raise FormatError(f"{path}: {size:,} bytes instead of {wanted.size_bytes:,}")
    kind, _, value = wanted.digest.partition(":")
    if not kind:
        return
    with open(path, "rb") as file:
        # MD5 only where nothing better is published: against accidents, not against attacks.
        found = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
    if found != value:
        raise FormatError(f"{path}: {kind} {found} instead of {value}")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _opener() -> urllib.request.OpenerDirector:
    """HTTP and HTTPS, with the environment's proxies, and nothing else: no file:// behind a redirect."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


_OPENER = _opener()
