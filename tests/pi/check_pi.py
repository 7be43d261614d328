"""A bundle on Raspberry Pi OS, 64-bit and 32-bit, in an emulator: `make test-pi`, some minutes, Debian packages needed.

Not collected with the other tests, because it needs qemu-user-static, mmdebstrap and the network.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import squeezekit
import tiny_classifiers
from squeezekit import codec, runtime
from squeezekit.runtime.bundle import ARM_TAGS

# Roots are large and always the same: they are kept.
BUILD = Path(__file__).parents[2] / "build" / "pi"
ZOO = Path(__file__).parents[2] / "zoo" / "intel.sqz"
IMAGES = 20
MIRROR = "deb http://deb.debian.org/debian bookworm main"
TIMEOUT_S = 900
MOST_MB, MOST_OWN_MB = 160, 12

# What says what a file makes of images: run here and there.
PROBE = """
import hashlib, json, sys
sys.path[:0] = sys.argv[1].split(":")
from squeezekit import runtime
answers = {}
for path in sys.argv[3:]:
    model = runtime.load(path)
    answers[path] = []
    for image in sorted(runtime.folder_images(sys.argv[2])):
        pixels = model.pixels(image)
        odds = model.probabilities(pixels[None])[0]
        digest = hashlib.sha256(pixels.tobytes()).hexdigest()
        answers[path].append([image.name, digest, [float(value).hex() for value in odds]])
print(json.dumps(answers))
"""

# qemu 7.2 passes on the host's /proc and /sys, which LiteRT cannot read as an Arm's: the tree of a Pi 4.
CORE = """processor\t: {number}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

"""
CORE_FILES = {
    "regs/identification/midr_el1": "0x00000000410fd083",
    "cpufreq/cpuinfo_max_freq": "1500000",
    "cpufreq/cpuinfo_min_freq": "600000",
    "topology/core_id": "{number}",
    "topology/physical_package_id": "0",
    "topology/core_siblings_list": "0-3",
    "topology/package_cpus_list": "0-3",
    "topology/thread_siblings_list": "{number}",
    "topology/core_cpus_list": "{number}",
}


def make_root(architecture, packages):
    """Debian's Python for another processor, unpacked."""
    root = BUILD / architecture
    if root.exists():
        return root
    for tool in ("mmdebstrap", "qemu-aarch64-static", "qemu-arm-static"):
        if shutil.which(tool) is None:
            pytest.exit(f"no {tool} here: sudo apt install mmdebstrap qemu-user-static", 2)
    unfinished = BUILD / f"{architecture}.part"
    shutil.rmtree(unfinished, ignore_errors=True)
    BUILD.mkdir(parents=True, exist_ok=True)
    words = ["mmdebstrap", "--variant=extract", f"--architectures={architecture}"]
    subprocess.run(
        [*words, f"--include={','.join(packages)}", "bookworm", unfinished, MIRROR],
        check=True,
        timeout=TIMEOUT_S,
    )
    cores = unfinished / "sys/devices/system/cpu"
    write = {f"{kind}": "0-3" for kind in ("possible", "present", "online")}
    for number in range(4):
        write |= {f"cpu{number}/{name}": text.format(number=number) for name, text in CORE_FILES.items()}
    for name, text in write.items():
        (cores / name).parent.mkdir(parents=True, exist_ok=True)
        (cores / name).write_text(f"{text}\n")
    (unfinished / "proc").mkdir(exist_ok=True)
    (unfinished / "proc/cpuinfo").write_text("".join(CORE.format(number=number) for number in range(4)))
    unfinished.rename(root)
    return root


def pip(target, *words, tags):
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "--only-binary=:all:",
    ]
    command += ["--implementation=cp", "--python-version=3.11", "--target", str(target)]
    subprocess.run([*command, *(f"--platform={tag}" for tag in tags), *map(str, words)], check=True)


def probe(command, sites, pictures, *paths):
    words = [
        *map(str, command),
        "-I",
        "-c",
        PROBE,
        ":".join(map(str, sites)),
        str(pictures),
        *map(str, paths),
    ]
    for last in (False, True):
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            # The emulator hangs once in a while.
            if last:
                raise
            continue
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout.splitlines()[-1])
    return None


def megabytes(*paths):
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    return sum(file.stat().st_size for file in files if file.is_file() and file.suffix != ".pyc") / 1e6


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    draws = np.random.default_rng(3)
    for number in range(IMAGES):
        height, width = draws.integers(60, 400, 2)
        coarse = Image.fromarray(draws.integers(0, 256, (5, 5, 3), np.uint8))
        coarse.resize((int(width), int(height)), Image.Resampling.BICUBIC).save(folder / f"{number:02}.jpg")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The zoo's integer network, and a float one."""
    path = tmp_path_factory.mktemp("models") / "places.sqz"
    path.write_bytes(codec.pack(tiny_classifiers.tflite("places")))
    return ZOO, path


@pytest.fixture(scope="module")
def here(pictures, models):
    return probe([sys.executable], [Path(squeezekit.__file__).parents[1]], pictures, *models)


@pytest.fixture(scope="module")
def bundled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "pi"
    runtime.bundle(ZOO, folder)
    return folder


def floats(odds):
    return np.array([float.fromhex(value) for value in odds])


@pytest.mark.timeout(3 * TIMEOUT_S)
def test_64_bit(bundled, pictures, models, here, tmp_path):
    root = make_root("arm64", ["python3", "libpython3.11-stdlib", "libstdc++6"])
    site = tmp_path / "site"
    pip(site, "-r", bundled / "requirements.txt", next(bundled.glob("*.whl")), tags=ARM_TAGS)
    whole, own = megabytes(site), megabytes(site / "squeezekit", site / "click")
    print(f"installed: {whole:.0f} MB, squeezekit and its command line {own:.1f} MB")
    assert whole <= MOST_MB
    assert own <= MOST_OWN_MB
    assert not (site / "tensorflow").exists()
    python = ["qemu-aarch64-static", "-cpu", "cortex-a72", "-L", root, root / "usr/bin/python3.11"]
    there = probe(python, [site], pictures, bundled / ZOO.name, models[1])
    # The same pixels, and of the integer network the same answers, bit for bit.
    assert there[str(bundled / ZOO.name)] == here[str(ZOO)]
    for one, other in zip(there[str(models[1])], here[str(models[1])], strict=True):
        assert one[:2] == other[:2]
        np.testing.assert_allclose(floats(one[2]), floats(other[2]), rtol=0, atol=1e-5)


@pytest.mark.timeout(3 * TIMEOUT_S)
def test_32_bit(bundled, pictures, models, here, tmp_path):
    packages = ["python3", "python3-numpy", "python3-pil", "python3-click", "libstdc++6", "libatomic1"]
    root = make_root("armhf", packages)
    site = tmp_path / "site"
    # NumPy and Pillow are Debian's: PyPI has no wheels of them for this processor, Raspberry Pi's own index has.
    pip(
        site,
        "--no-deps",
        "tflite-runtime==2.14.0",
        next(bundled.glob("*.whl")),
        tags=["manylinux_2_34_armv7l"],
    )
    libraries = root / "usr/lib/arm-linux-gnueabihf"
    path = ":".join(str(libraries / name) for name in ("blas", "lapack", "."))
    python = ["qemu-arm-static", "-cpu", "cortex-a15", "-E", f"LD_LIBRARY_PATH={path}", "-L", root]
    sites = [site, root / "usr/lib/python3/dist-packages"]
    there = probe([*python, root / "usr/bin/python3.11"], sites, pictures, bundled / ZOO.name, models[1])
    for name, path in ((str(ZOO), str(bundled / ZOO.name)), (str(models[1]), str(models[1]))):
        for one, other in zip(there[path], here[name], strict=True):
            assert one[0] == other[0]
            np.testing.assert_allclose(floats(one[2]), floats(other[2]), rtol=0, atol=0.05)
            assert floats(one[2]).argmax() == floats(other[2]).argmax()


def test_the_probe_can_tell_pictures_apart(here):
    for answers in here.values():
        assert len({digest for _, digest, _ in answers}) == IMAGES
        assert len({tuple(odds) for _, _, odds in answers}) > IMAGES // 2
    assert hashlib.sha256(b"").hexdigest() not in str(here)
