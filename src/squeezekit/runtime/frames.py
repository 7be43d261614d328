"""Images from a folder, a watched folder, a stream of bytes or a camera."""

import dataclasses
import importlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from squeezekit.errors import FormatError
from squeezekit.imaging import is_image_name

__all__ = ["MAX_FRAME_BYTES", "Frame", "camera_frames", "folder_images", "stream_frames", "watched_files"]

MAX_FRAME_BYTES = 1 << 26
"""A larger frame of a stream is not a photo."""

_BLOCK_BYTES = 1 << 16
# The stream of a network camera (multipart/x-mixed-replace) begins with this.
_BOUNDARY = b"--"
_START, _END = b"\xff\xd8", b"\xff\xd9"
# JPEG markers without a length: restarts and TEM.
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_SCAN = 0xDA


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """One image of a stream.

    Args:
        name: the name to show.
        image: what `Model.predict` takes: a path, the bytes of an image file, or pixels.
    """

    name: str
    image: Path | bytes | np.ndarray


def folder_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Every image file in a folder and its subfolders, sorted by name, without hidden ones.

    Args:
        folder: where to look.

    Raises:
        OSError: the folder cannot be read.
    """

    def stop(error: OSError) -> None:
        raise error

    found: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=stop):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(root, name) for name in sorted(names) if is_image_name(name)]
    return found


def stream_frames(stream: BinaryIO) -> Iterator[Frame]:
    """Images from bytes: JPEG after JPEG as cameras and `ffmpeg -f image2pipe` send them, or one file of any kind.

    Frames end where JPEG's own segments end, so that a thumbnail inside a frame does not end it. Bytes between
    frames, such as the headers of a network camera, are skipped. After a broken frame reading continues at the next
    start of an image. Memory stays below the size of one frame.

    Args:
        stream: a binary stream, such as standard input.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (8, 8)).save(file, "JPEG")
        >>> [frame.name for frame in stream_frames(io.BytesIO(3 * file.getvalue()))]
        ['frame 1', 'frame 2', 'frame 3']
    """
    cutter = _Cutter(stream)
    if not cutter.starts_with(_START) and not cutter.starts_with(_BOUNDARY):
        # For example a PNG: one image, which ends with the stream.
        whole = cutter.rest()
        if whole:
            yield Frame("frame 1", whole)
        return
    number = 0
    while (data := cutter.next_jpeg()) is not None:
        number += 1
        yield Frame(f"frame {number}", data)


class _Cutter:
    """Cuts a stream of bytes at the ends of JPEG files."""

    def __init__(self, stream: BinaryIO) -> None:
        self._read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
        self._data = bytearray()

    def starts_with(self, mark: bytes) -> bool:
        return self._has(len(mark)) and self._data.startswith(mark)

    def rest(self) -> bytes:
        while len(self._data) <= MAX_FRAME_BYTES and self._more():
            pass
        if len(self._data) > MAX_FRAME_BYTES:
            raise FormatError(
                f"standard input: over {MAX_FRAME_BYTES:,} bytes and no JPEG begins it: no image"
            )
        return bytes(self._data)

    def next_jpeg(self) -> bytes | None:
        """The next JPEG, complete or cut off; None at the end of the stream."""
        while (at := self._data.find(_START)) < 0:
            # The last byte can be the first half of a start marker.
            del self._data[:-1]
            if not self._more():
                return None
        del self._data[:at]
        end = self._end()
        data = bytes(self._data[:end])
        del self._data[:end]
        return data

    def _end(self) -> int:
        """Where the JPEG at the start of the data ends."""
        at = 2
        while self._has(at + 2):
            if self._data[at] != 0xFF or self._data[at + 1] == _START[1]:
                # No segment begins here, or another picture does: this one is broken off.
                return at
            mark = self._data[at + 1]
            if mark == _END[1]:
                return at + 2
            if mark == 0xFF or mark in _ALONE:
                at += 1 if mark == 0xFF else 2
                continue
            if not self._has(at + 4):
                break
            at += 2 + int.from_bytes(self._data[at + 2 : at + 4])
            if mark == _SCAN:
                at = self._after_scan(at)
            if at > MAX_FRAME_BYTES:
                return min(at, len(self._data))
        # The stream ended inside a frame.
        return len(self._data)

    def _after_scan(self, at: int) -> int:
        """Where the coded picture that begins at `at` ends: at the next marker that is not its own."""
        while True:
            at = self._data.find(b"\xff", at)
            if at < 0:
                at = len(self._data)
            if not self._has(at + 2) or at > MAX_FRAME_BYTES:
                return len(self._data)
            if self._data[at] != 0xFF:
                continue
            # 0xFF followed by 0 is picture data; restart markers belong to the picture.
            if self._data[at + 1] != 0 and self._data[at + 1] not in _ALONE:
                return at
            at += 2

    def _has(self, size: int) -> bool:
        while len(self._data) < size:
            if size > 2 * MAX_FRAME_BYTES or not self._more():
                return False
        return True

    def _more(self) -> bool:
        block = self._read(_BLOCK_BYTES)
        self._data += block
        return bool(block)


def watched_files(
    folder: str | os.PathLike[str], *, every: float = 0.5, sleep: Callable[[float], object] = time.sleep
) -> Iterator[Frame | None]:
    """New image files of a folder, each when it is complete: when size and time did not change between two looks.

    Files that exist at the start are not labelled. A file that is written again is labelled again.

    Args:
        folder: the folder to watch, without its subfolders.
        every: seconds between looks.
        sleep: the function that waits.

    Yields:
        A frame, or None after each look, so that the caller can stop.

    Raises:
        OSError: the folder cannot be read.
    """
    seen = _looked(folder)
    resting: dict[str, tuple[int, int]] = {}
    while True:
        sleep(every)
        now = _looked(folder)
        for name, state in sorted(now.items()):
            if seen.get(name) == state:
                continue
            if resting.get(name) == state:
                seen[name] = state
                yield Frame(str(Path(folder, name)), Path(folder, name))
        resting = {name: state for name, state in now.items() if seen.get(name) != state}
        # Forget names that are gone, or a year of pictures fills the memory.
        seen = {name: state for name, state in seen.items() if name in now}
        yield None


def _looked(folder: str | os.PathLike[str]) -> dict[str, tuple[int, int]]:
    """Size in bytes and time of change of each image file."""
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if not is_image_name(entry.name):
                continue
            try:
                status = entry.stat()
            except OSError:
                # Deleted meanwhile, or a dead link.
                continue
            found[entry.name] = (status.st_size, status.st_mtime_ns)
    return found


def camera_frames(number: int = 0) -> Iterator[Frame]:
    """Pictures of a camera: with picamera2 on a Raspberry Pi, otherwise with OpenCV.

    Args:
        number: of the camera, from 0.

    Raises:
        OSError: neither picamera2 nor OpenCV is installed, there is no such camera, or it stopped.
    """
    grab, close = _open_camera(number)
    count = 0
    try:
        while (pixels := grab()) is not None:
            count += 1
            yield Frame(f"frame {count}", np.ascontiguousarray(pixels, np.uint8))
    finally:
        close()
    raise OSError(f"camera {number}: no more pictures after {count}")


def _open_camera(number: int) -> tuple[Callable[[], Any], Callable[[], object]]:
    """Two functions: one takes a picture, RGB (height, width, 3) or None; the other closes the camera."""
    try:
        picamera2 = importlib.import_module("picamera2")
    except ModuleNotFoundError:
        return _open_with_opencv(number)
    camera = picamera2.Picamera2(number)
    # picamera2's BGR888 has the order R, G, B in memory.
    camera.configure(camera.create_video_configuration(main={"format": "BGR888", "size": (640, 480)}))
    camera.start()
    return camera.capture_array, camera.close


def _open_with_opencv(number: int) -> tuple[Callable[[], Any], Callable[[], object]]:
    try:
        cv2 = importlib.import_module("cv2")
    except ModuleNotFoundError as error:
        raise OSError(
            "a camera needs picamera2 (sudo apt install python3-picamera2, in an environment made with "
            "--system-site-packages) or OpenCV (pip install opencv-python-headless)"
        ) from error
    camera = cv2.VideoCapture(number)
    if not camera.isOpened():
        raise OSError(f"camera {number}: there is none, or another program has it")

    def grab() -> Any:
        found, pixels = camera.read()
        return pixels[..., ::-1] if found else None

    return grab, camera.release
