"""Bundle a model with everything it needs on a Raspberry Pi: one folder or archive to copy."""

import base64
import gzip
import hashlib
import importlib.metadata
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from squeezekit import files
from squeezekit.errors import FormatError
from squeezekit.runtime.model import load

__all__ = ["ARM_TAGS", "bundle", "own_wheel", "pinned_requirements"]

ARM_TAGS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
"""Platform tags of wheels for 64-bit Raspberry Pi OS."""

LAUNCHER, REQUIREMENTS, UNIT, WHEELS = "classify", "requirements.txt", "classify.service", "wheels"

_PACKAGE = "squeezekit"
# The earliest time that a ZIP file can store, so that the same model gives the same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)
# 32-bit Raspberry Pi OS: the last runtime with wheels for it, and the NumPy that it was built for.
_IS_32_BIT = 'platform_machine == "armv7l"'
_ON_32_BIT = ("tflite-runtime==2.14.0", "numpy==1.26.4")

_LAUNCHER_TEXT = """\
#!/bin/sh
# Labels images: ./classify photo.jpg, ./classify --watch folder, ./classify --camera 0. More: ./classify --help.
# The first call installs the packages into .venv beside this file.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
if [ ! -e "$here/.venv/installed" ]; then
  echo 'Installing into .venv, once: a minute or two ...' >&2
  # On Raspberry Pi OS the camera library is a system package, outside any environment.
  if python3 -c 'import picamera2' 2>/dev/null; then site=--system-site-packages; else site=; fi
  # pip takes a 32-bit system on a 64-bit kernel for a 64-bit one.
  if [ "$(getconf LONG_BIT)" = 32 ] && command -v linux32 >/dev/null; then as=linux32; else as=; fi
  python3 -m venv --clear $site "$here/.venv"
  if [ -d "$here/wheels" ]; then from="--no-index --find-links $here/wheels"; else from=; fi
  (cd "$here" && $as .venv/bin/python -m pip install -q --disable-pip-version-check $from -r requirements.txt {wheel})
  touch "$here/.venv/installed"
fi
exec "$here/.venv/bin/squeezekit" predict "$here/{model}" "$@"
"""

_UNIT_TEXT = """\
# Labels every new image in a folder, from the start of the machine. Change the three paths, then run:
#   sudo cp classify.service /etc/systemd/system/ && sudo systemctl enable --now classify
#   journalctl -u classify -f
[Unit]
Description=Label pictures with {model}

[Service]
User=pi
ExecStart=/home/pi/{name}/classify --json --watch /home/pi/pictures
Restart=on-failure
MemoryMax=300M

[Install]
WantedBy=multi-user.target
"""

_README_TEXT = """\
Copy this folder to the machine (Raspberry Pi OS or any Linux with Python 3.11 to 3.13) and run: ./classify photo.jpg
The first call installs LiteRT, NumPy and Pillow into .venv ({source}); `./classify --help` shows what else it can do.
`.venv/bin/squeezekit bench {model}` measures speed and memory; classify.service is an example for systemd.
"""


def bundle(
    model: str | os.PathLike[str], out: str | os.PathLike[str], *, wheels: Sequence[str] = ()
) -> dict[str, int]:
    """Write a folder, or a `.tar.gz` of it, that runs a model on another machine.

    It holds the model, a launcher, pinned requirements, squeezekit itself as a wheel, an example for systemd and a
    README. The same model gives the same archive, byte for byte.

    Args:
        model: a `.sqz` or `.tflite` that classifies images.
        out: the folder, new or empty; or a name that ends in `.tar.gz`.
        wheels: versions of Python ("3.11") on 64-bit Raspberry Pi OS. Their wheels are downloaded into the bundle.

    Returns:
        The size in bytes of each file, by name.

    Raises:
        FormatError: the model cannot be used.
        FileExistsError: the folder exists and is not empty.
        OSError: a file cannot be written, or pip cannot download.
    """
    source, target = Path(model), Path(out)
    # A model that does not run here is not worth sending.
    load(source)
    archived = target.name.endswith(".tar.gz")
    name = target.name.removesuffix(".tar.gz") if archived else target.name
    if not archived and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target}: there already; choose another folder, or delete it")
    wheel_name, wheel = own_wheel()
    words = {"model": source.name, "wheel": wheel_name, "name": name}
    members = {
        source.name: source.read_bytes(),
        LAUNCHER: _LAUNCHER_TEXT.format(**words).encode(),
        REQUIREMENTS: pinned_requirements().encode(),
        UNIT: _UNIT_TEXT.format(**words).encode(),
        "README.md": _README_TEXT.format(
            **words, source=f"from {WHEELS}/" if wheels else "some 60 MB are downloaded"
        ).encode(),
        wheel_name: wheel,
    }
    with tempfile.TemporaryDirectory() as folder:
        for version in wheels:
            _download(version, members[REQUIREMENTS], Path(folder))
        for path in sorted(Path(folder).iterdir()):
            members[f"{WHEELS}/{path.name}"] = path.read_bytes()
    if archived:
        files.write_bytes(target, _tar(name, members))
    else:
        _write_folder(target, members)
    return {member: len(data) for member, data in members.items()}


def pinned_requirements() -> str:
    """Pip's requirements of the runtime: the versions installed here, and those for 32-bit Raspberry Pi OS."""
    lines = [
        "# The versions that the model was tested with. 32-bit systems use tflite-runtime instead of ai-edge-litert."
    ]
    for package, version in sorted(_needed(_PACKAGE)):
        # 32-bit systems need other versions of these two.
        only = '; platform_machine != "armv7l"' if package in ("numpy", "ai-edge-litert") else ""
        lines.append(f"{package}=={version}{only}")
    lines += [f"{pin}; {_IS_32_BIT}" for pin in _ON_32_BIT]
    return "\n".join(lines) + "\n"


def own_wheel() -> tuple[str, bytes]:
    """Build a wheel of squeezekit as it is installed here: file name and bytes, the same each time.

    Raises:
        FormatError: squeezekit is not installed, but runs from its source.
    """
    try:
        found = importlib.metadata.distribution(_PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise FormatError(
            "squeezekit is not installed here, so it cannot be bundled: pip install it first"
        ) from error
    root = Path(__file__).parent.parent
    about = f"{_PACKAGE}-{found.version}.dist-info"
    members = {
        f"{_PACKAGE}/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    members[f"{about}/METADATA"] = (found.read_text("METADATA") or "").encode()
    members[f"{about}/entry_points.txt"] = (found.read_text("entry_points.txt") or "").encode()
    members[f"{about}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: squeezekit\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record = "".join(f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in members.items())
    members[f"{about}/RECORD"] = f"{record}{about}/RECORD,,\n".encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, data)
    return f"{_PACKAGE}-{found.version}-py3-none-any.whl", file.getvalue()


def _needed(package: str) -> set[tuple[str, str]]:
    """Name and installed version of all dependencies of a package, without extras."""
    found: set[tuple[str, str]] = set()
    waiting = [package]
    while waiting:
        for line in importlib.metadata.requires(waiting.pop()) or ():
            if "extra ==" in line:
                continue
            name = re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0].lower().replace("_", "-")
            try:
                version = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                # For another system or Python than this.
                continue
            if (name, version) not in found:
                found.add((name, version))
                waiting.append(name)
    return found


def _download(version: str, requirements: bytes, folder: Path) -> None:
    if not re.fullmatch(r"3\.\d+", version):
        raise ValueError(f"Expected a version of Python like 3.11. Received: {version!r}.")
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write(requirements)
        file.flush()
        words = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--disable-pip-version-check",
            "--only-binary=:all:",
        ]
        words += [f"--platform={tag}" for tag in ARM_TAGS]
        words += ["--implementation=cp", f"--python-version={version}", "-d", str(folder), "-r", file.name]
        done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        raise OSError(f"wheels for Python {version} on aarch64: {lines[-1].removeprefix('ERROR: ')}")


def _write_folder(target: Path, members: Mapping[str, bytes]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name[:32]}.", dir=target.parent))
    try:
        for name, data in members.items():
            path = temporary / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            path.chmod(_mode(name))
        temporary.chmod(0o755)
        # Onto an empty folder, or nothing: both are replaced at once.
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _tar(name: str, members: Mapping[str, bytes]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry, data in _entries(name, members):
            archive.addfile(entry, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), mtime=0)


def _entries(name: str, members: Mapping[str, bytes]) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    for member, data in members.items():
        entry = tarfile.TarInfo(f"{name}/{member}")
        entry.size, entry.mode = len(data), _mode(member)
        yield entry, data


def _mode(member: str) -> int:
    return 0o755 if member == LAUNCHER else 0o644


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
