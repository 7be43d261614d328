"""Where images come from when they do not come one file at a time: a folder, a stream of bytes, a camera."""

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
"""A frame of a stream that is larger is no photo."""

_BLOCK_BYTES = 1 << 16
# How a network camera's stream (multipart/x-mixed-replace) begins.
_BOUNDARY = b"--"
_START, _END = b"\xff\xd8", b"\xff\xd9"
# A JPEG's marks without a length: restarts and TEM.
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_SCAN = 0xDA


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """One image of many.

    Args:
        name: what to call it.
        image: what `Model.predict` takes: a path, the bytes of an image file, or pixels.
    """

    name: str
    image: Path | bytes | np.ndarray


def folder_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Every image file in a folder and in those inside it, by name; hidden ones are passed by.

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

    What lies between the frames of a network camera's stream is passed by.
    Frames are cut where JPEG's own segments say, so that a thumbnail inside one does not end it. Of bytes between
    frames, and of a broken frame, the next start of an image is where it goes on. Memory stays below one frame.

    Args:
        stream: opened for bytes, standard input for example.

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
        # A PNG, say: there is one of it, and it ends with the stream.
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
        """The next file, or what there is of it; None at the end of the stream."""
        while (at := self._data.find(_START)) < 0:
            # The last byte may be the first half of a start.
            del self._data[:-1]
            if not self._more():
                return None
        del self._data[:at]
        end = self._end()
        data = bytes(self._data[:end])
        del self._data[:end]
        return data

    def _end(self) -> int:
        """Where the file ends that the data begins with."""
        at = 2
        while self._has(at + 2):
            if self._data[at] != 0xFF or self._data[at + 1] == _START[1]:
                # No segment begins here, or another picture does: broken off. The next frame is found by its start.
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
        # The stream stopped within a frame.
        return len(self._data)

    def _after_scan(self, at: int) -> int:
        """Where the coded picture ends that begins at `at`: at the next mark that is none of its own."""
        while True:
            at = self._data.find(b"\xff", at)
            if at < 0:
                at = len(self._data)
            if not self._has(at + 2) or at > MAX_FRAME_BYTES:
                return len(self._data)
            if self._data[at] != 0xFF:
                continue
            # A zero follows an 0xFF of the picture itself; restarts are part of it.
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
    """Image files that come into a folder, each once it is whole: when its size and time have rested for a look.

    Those that are there already are not labelled. A file that is written anew is labelled anew.

    Args:
        folder: what to watch; not the folders inside it.
        every: seconds between looks.
        sleep: waits that long.

    Yields:
        A frame, or None after each look, so that the caller can end it.

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
        # Names that are gone are forgotten, or a year of pictures would fill the memory.
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
                # Gone between the list and the look, or a link that leads nowhere.
                continue
            found[entry.name] = (status.st_size, status.st_mtime_ns)
    return found


def camera_frames(number: int = 0) -> Iterator[Frame]:
    """Pictures of a camera for as long as they come: a Raspberry Pi's by picamera2, else any that OpenCV knows.

    Args:
        number: which camera.

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
    """What takes a picture, RGB (height, width, 3) or None, and what closes the camera."""
    try:
        picamera2 = importlib.import_module("picamera2")
    except ModuleNotFoundError:
        return _open_with_opencv(number)
    camera = picamera2.Picamera2(number)
    # What picamera2 calls BGR888 lies in memory as R, G, B.
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
