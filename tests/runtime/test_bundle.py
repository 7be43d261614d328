import gzip
import io
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import squeezekit
import tiny_classifiers
from squeezekit import codec, runtime
from squeezekit.errors import FormatError
from squeezekit.runtime.bundle import own_wheel, pinned_requirements


@pytest.fixture
def packed(tmp_path):
    path = tmp_path / "colours.sqz"
    path.write_bytes(codec.pack(tiny_classifiers.with_labels(tiny_classifiers.tflite("colours"))))
    return path


def test_a_folder_and_an_archive_hold_the_same(packed, tmp_path):
    sizes = runtime.bundle(packed, tmp_path / "folder")
    runtime.bundle(packed, tmp_path / "folder.tar.gz")
    with tarfile.open(tmp_path / "folder.tar.gz") as archive:
        members = {entry.name: (entry.mode, archive.extractfile(entry).read()) for entry in archive}
    assert members.keys() == {f"folder/{name}" for name in sizes}
    for name, (mode, data) in members.items():
        path = tmp_path / name
        assert path.read_bytes() == data
        assert path.stat().st_mode & 0o777 == mode
        assert len(data) == sizes[path.name]
    assert (tmp_path / "folder" / "classify").stat().st_mode & 0o111
    assert len((tmp_path / "folder" / "README.md").read_text().splitlines()) == 3
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_archive_is_the_same_when_made_again(packed, tmp_path):
    for name in ("a/pi.tar.gz", "b/pi.tar.gz"):
        runtime.bundle(packed, tmp_path / name)
    assert (tmp_path / "a/pi.tar.gz").read_bytes() == (tmp_path / "b/pi.tar.gz").read_bytes()


def test_the_wheel_is_whole_and_pip_takes_it(tmp_path):
    name, data = own_wheel()
    (tmp_path / name).write_bytes(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = set(archive.namelist())
    root = Path(squeezekit.__file__).parent
    assert {f"squeezekit/{path.relative_to(root).as_posix()}" for path in root.rglob("*.py")} <= names
    target = tmp_path / "site"
    words = [
        "install",
        "-q",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-index",
        "--target",
        str(target),
    ]
    subprocess.run(
        [sys.executable, "-m", "pip", *words, str(tmp_path / name)], check=True, capture_output=True
    )
    found = subprocess.run(
        [sys.executable, "-c", "import squeezekit; print(squeezekit.__file__)"],
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith(str(target))


def test_every_requirement_is_pinned():
    lines = [line for line in pinned_requirements().splitlines() if not line.startswith("#")]
    pins = {}
    for line in lines:
        pin = re.fullmatch(r"([a-z0-9.-]+)==([\w.]+)(?:; (platform_machine [!=]= \"armv7l\"))?", line)
        assert pin, line
        pins.setdefault(pin[1], []).append(pin[3])
    assert {"click", "numpy", "pillow", "ai-edge-litert", "tflite-runtime"} <= pins.keys()
    assert sorted(pins["numpy"]) == ['platform_machine != "armv7l"', 'platform_machine == "armv7l"']
    assert not {"keras", "tensorflow", "tensorflow-cpu"} & pins.keys()


def test_the_launcher_labels_from_any_folder(packed, tmp_path, photo):
    """Its environment made by hand: what pip would fetch is installed in this one."""
    folder = tmp_path / "with a space"
    runtime.bundle(packed, folder)
    venv.create(folder / ".venv", symlinks=True)
    program = folder / ".venv/bin/squeezekit"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m squeezekit "$@"\n')
    program.chmod(0o755)
    (folder / ".venv/installed").touch()
    done = subprocess.run(
        [folder / "classify", photo.name], cwd=photo.parent, capture_output=True, text=True, check=True
    )
    assert "red" in done.stdout


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "pictures" / "red.png"
    path.parent.mkdir()
    from_colour = tiny_classifiers.COLOURS["red"]
    pixels = bytes(from_colour) * 600
    path.write_bytes(b"P6 30 20 255\n" + pixels)
    return path


def test_what_is_there_is_not_overwritten(packed, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="there already"):
        runtime.bundle(packed, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_model_that_does_not_run_is_not_bundled(tmp_path):
    path = tmp_path / "no.sqz"
    path.write_bytes(b"GIF89a")
    with pytest.raises(FormatError):
        runtime.bundle(path, tmp_path / "out.tar.gz")
    assert [entry.name for entry in tmp_path.iterdir()] == ["no.sqz"]


@pytest.mark.parametrize("version", ["311", "3.11; rm -rf /", "-r x"])
def test_a_version_of_python_that_is_none(version, packed, tmp_path):
    with pytest.raises(ValueError, match=r"like 3\.11"):
        runtime.bundle(packed, tmp_path / "out", wheels=[version])
    assert not (tmp_path / "out").exists()


def test_gzip_carries_no_time(packed, tmp_path):
    runtime.bundle(packed, tmp_path / "pi.tar.gz")
    data = (tmp_path / "pi.tar.gz").read_bytes()
    assert data[4:8] == bytes(4)
    assert gzip.decompress(data)
