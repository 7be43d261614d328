import json
import os
import signal
import stat
import subprocess
import sys

import pytest

from squeezekit import files


def test_writers_write(tmp_path):
    files.write_bytes(tmp_path / "a.bin", b"\0\xff")
    files.write_text(tmp_path / "new" / "folder" / "a.txt", "é\n")
    files.write_json(tmp_path / "a.json", {"label": "é", "value": [1, 2.5]})
    assert (tmp_path / "a.bin").read_bytes() == b"\0\xff"
    assert (tmp_path / "new" / "folder" / "a.txt").read_bytes() == b"\xc3\xa9\n"
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"label": "é", "value": [1, 2.5]}


def test_the_temporary_file_lies_beside_with_the_same_suffix(tmp_path):
    with files.replacing(tmp_path / "model.tflite") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".tflite"
        assert temporary.name.startswith(".")
        temporary.write_bytes(b"x")
        assert not (tmp_path / "model.tflite").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there(tmp_path, error):
    def fail():
        with files.replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise error

    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(error):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_kill_leaves_what_was_there(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    code = (
        "import os, signal, sys; from squeezekit import files\n"
        "with files.replacing(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.txt"], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "a.txt").read_text() == "old"
    # What a killed process leaves is hidden, so that no class folder or glob takes it for an image.
    assert all(path.name.startswith(".") for path in tmp_path.iterdir() if path.name != "a.txt")


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_the_file_is_as_readable_as_any_other(tmp_path):
    (tmp_path / "usual.txt").write_text("")
    files.write_text(tmp_path / "a.txt", "x")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual.txt", "a.txt")}
    assert len(modes) == 1


def test_a_name_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / ("n" * 250 + ".sqz")
    files.write_bytes(path, b"x")
    assert path.read_bytes() == b"x"


def test_outputs_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(IsADirectoryError, match="received a folder"):
        files.write_text(tmp_path, "x")
    with pytest.raises(NotADirectoryError, match="received a file"):
        files.write_text(tmp_path / "file" / "a.txt", "x")
    with pytest.raises(NotADirectoryError):
        files.write_text(tmp_path / "file" / "deeper" / "a.txt", "x")
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that root cannot write to either")
def test_the_error_names_the_file_that_was_asked_for():
    with pytest.raises(OSError, match=r"a\.txt") as caught:
        files.write_text("/proc/self/a.txt", "x")
    assert caught.value.filename == "/proc/self/a.txt"


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    for name in (".net.ab12cd.npz", ".net.x.npz", "net.npz", ".other.ab.npz", ".net.ab.json"):
        (tmp_path / name).write_bytes(b"x")
    files.remove_leftovers(tmp_path / "net.npz")
    assert {path.name for path in tmp_path.iterdir()} == {"net.npz", ".other.ab.npz", ".net.ab.json"}
