import io
import os
import subprocess
import sys
import types

import numpy as np
import pytest
from PIL import Image

from squeezekit import runtime
from squeezekit.errors import FormatError
from squeezekit.runtime import frames


def jpeg(colour, size=(40, 30), **options):
    file = io.BytesIO()
    picture = np.random.default_rng(len(colour)).integers(0, 256, (size[1], size[0], 3), np.uint8)
    picture[: size[1] // 2] = Image.new("RGB", (1, 1), colour).getpixel((0, 0))
    Image.fromarray(picture).save(file, "JPEG", **options)
    return file.getvalue()


class Dripping(io.RawIOBase):
    """Gives a few bytes at a time, as a pipe may."""

    def __init__(self, data, step):
        self.data, self.step = io.BytesIO(data), step

    def readable(self):
        return True

    def read(self, size=-1):
        return self.data.read(self.step)


def cut(data, step=1 << 16):
    return [frame.image for frame in runtime.stream_frames(Dripping(data, step))]


def with_thumbnail(colour):
    """A JPEG that holds a whole other one in its EXIF."""
    inner = jpeg(colour, (8, 8))
    outer = jpeg(colour)
    return outer[:2] + b"\xff\xe1" + (len(inner) + 8).to_bytes(2) + b"Exif\0\0" + inner + outer[2:]


@pytest.mark.parametrize("step", [1, 7, 1 << 16])
def test_a_stream_is_cut_where_its_pictures_end(step):
    files = [
        jpeg("red"),
        jpeg("green", progressive=True),
        with_thumbnail("blue"),
        jpeg("white", restart_marker_rows=1),
    ]
    assert cut(b"".join(files), step) == files


def test_what_lies_between_frames_is_passed_by():
    files = [jpeg("red"), jpeg("green")]
    assert (
        cut(b"--boundary\r\n\r\n" + files[0] + b"\r\n--boundary\r\n\r\n\xff" + files[1] + b"\r\n", 5) == files
    )


def test_a_broken_frame_does_not_take_the_others_with_it():
    good, broken = jpeg("red"), bytearray(jpeg("green"))
    broken[2:20] = bytes(18)
    found = cut(good + bytes(broken) + good)
    assert (found[0], found[-1]) == (good, good)
    # What stopped half way is given as it is: the decoder says what is wrong with it.
    assert cut(good + good[:-50])[-1] == good[:-50]


def test_another_format_is_one_image(tmp_path):
    file = io.BytesIO()
    Image.new("RGB", (5, 5)).save(file, "PNG")
    assert cut(file.getvalue(), 9) == [file.getvalue()]
    assert cut(b"") == []


def test_a_stream_without_an_end_takes_no_memory_for_ever(monkeypatch):
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 100_000)
    with pytest.raises(FormatError, match="no JPEG"):
        cut(bytes(10**6))
    endless = jpeg("red")[:-2] + b"\x01" * 10**6
    assert max(map(len, cut(endless))) < 400_000


def test_a_folder_stands_for_its_images(tmp_path):
    for name in ("b.jpg", "a/2.PNG", "a/1.jpeg", "a/notes.txt", ".hidden/x.jpg", "a/.x.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [os.path.relpath(path, tmp_path) for path in runtime.folder_images(tmp_path)]
    assert names == ["b.jpg", "a/1.jpeg", "a/2.PNG"]


def test_a_watched_folder_gives_each_new_file_once_when_it_is_whole(tmp_path):
    (tmp_path / "old.jpg").write_bytes(b"1")
    events = {
        1: lambda: (tmp_path / "new.jpg").write_bytes(b"half"),
        2: lambda: (tmp_path / "new.jpg").write_bytes(b"half and more"),
        5: lambda: (tmp_path / "new.jpg").write_bytes(b"written anew, longer"),
        8: lambda: (tmp_path / "notes.txt").write_bytes(b"no image"),
        # A link that leads in a circle, and one into the void, are no reason to stop watching.
        9: lambda: (tmp_path / "loop.jpg").symlink_to("loop.jpg"),
        10: lambda: (tmp_path / "void.jpg").symlink_to("nowhere.jpg"),
    }
    looks = 0

    def sleep(_):
        nonlocal looks
        looks += 1
        events.get(looks, lambda: None)()

    found = []
    for frame in runtime.watched_files(tmp_path, sleep=sleep):
        if frame is not None:
            found.append((looks, frame.name, frame.image.read_bytes()))
        if looks == 12:
            break
    new = str(tmp_path / "new.jpg")
    assert found == [(3, new, b"half and more"), (6, new, b"written anew, longer")]


def test_a_camera_by_opencv(monkeypatch):
    class Capture:
        def __init__(self, number):
            self.left = 2 if number == 0 else 0
            self.open = number == 0

        def isOpened(self):
            return self.open

        def read(self):
            self.left -= 1
            return self.left >= 0, np.full((4, 6, 3), (1, 2, 3), np.uint8)

        def release(self):
            self.open = False

    monkeypatch.setitem(sys.modules, "picamera2", None)
    monkeypatch.setitem(sys.modules, "cv2", types.SimpleNamespace(VideoCapture=Capture))
    pictures = runtime.camera_frames()
    first, second = next(pictures), next(pictures)
    assert (first.name, second.name) == ("frame 1", "frame 2")
    # OpenCV's are blue first.
    assert first.image[0, 0].tolist() == [3, 2, 1]
    with pytest.raises(OSError, match="no more pictures after 2"):
        next(pictures)
    with pytest.raises(OSError, match="camera 7"):
        next(runtime.camera_frames(7))
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(OSError, match="picamera2"):
        next(runtime.camera_frames())


def test_a_stream_through_a_pipe_is_answered_at_once(tmp_path, colours):
    """And SIGTERM ends it: what was said stays said."""
    picture = jpeg("red")
    child = subprocess.Popen(
        [sys.executable, "-m", "squeezekit", "predict", str(colours.path), "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        child.stdin.write(picture)
        child.stdin.flush()
        assert child.stdout.readline().startswith(b"frame 1\t")
        child.terminate()
        assert child.wait(30) == 0
    finally:
        child.kill()
        child.stdin.close()
        child.stdout.close()


def test_two_processes_run_one_file_at_once_and_pass_over_what_is_broken(tmp_path, colours):
    """Neither locks the file, nor writes to it or beside it."""
    model = tmp_path / "model" / "colours.sqz"
    model.parent.mkdir()
    model.write_bytes(colours.path.read_bytes())
    model.chmod(0o444)
    words = [sys.executable, "-m", "squeezekit", "predict", str(model), "-"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    children = [subprocess.Popen(words, **pipes) for _ in range(2)]
    try:
        for child in children:
            # Answered while the other runs as well.
            child.stdin.write(jpeg("red"))
            child.stdin.flush()
        said = [child.stdout.readline() for child in children]
        assert said[0] == said[1]
        assert said[0].startswith(b"frame 1\t")
        for child in children:
            rest, complaints = child.communicate(jpeg("lime")[:-40] + jpeg("blue"), 60)
            assert rest.startswith(b"frame 3\t")
            assert rest.count(b"\n") == complaints.count(b"\n") == 1
            assert complaints.startswith(b"squeezekit: frame 2")
            assert child.returncode == 2
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert model.read_bytes() == colours.path.read_bytes()
    assert os.listdir(model.parent) == [model.name]
