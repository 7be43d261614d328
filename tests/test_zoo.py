"""The files in `zoo/` are what their records and the README say."""

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest

from squeezekit import codec, data, runtime
from squeezekit.cli import main

ROOT = Path(__file__).parents[1]
SQZ = sorted((ROOT / "zoo").glob("*.sqz"))
OF_INTEL = [path for path in SQZ if path.name.startswith("intel")]
OF_CIFAR = [path for path in SQZ if path.name.startswith("cifar10")]
DATA = Path(os.environ.get("SQUEEZEKIT_DATA", ROOT.parent / "shared" / "data"))
CIFAR_ARCHIVE = DATA / "cifar10" / "cifar10-jpeg.tar.xz"


def record(path):
    return json.loads(path.with_suffix(".run.json").read_text(encoding="utf-8"))


def shipped_row(path):
    return record(path)["rows"][-1]


def test_there_is_a_zoo():
    assert [path.name for path in SQZ] == [
        "cifar10-small.sqz",
        "cifar10.sqz",
        "intel-quick.sqz",
        "intel-separable.sqz",
        "intel-tiny.sqz",
        "intel.sqz",
    ]


@pytest.mark.parametrize("path", SQZ, ids=lambda path: path.stem)
def test_a_file_is_small_whole_and_the_recorded_one(path):
    row = shipped_row(path)
    assert path.stat().st_size == row["file_bytes"] < 200_000
    assert codec.unpack(path.read_bytes())[4:8] == b"TFL3"
    assert list(runtime.load(path).labels) == record(path)["labels"]


@pytest.mark.parametrize("path", OF_INTEL, ids=lambda path: path.stem)
def test_the_squeezed_network_beats_alexnet_at_a_three_hundredth_of_its_size(path):
    alexnet, full, squeezed = record(path)["rows"]
    assert full["images"] == squeezed["images"] == alexnet["images"] >= 1000
    assert squeezed["times_smaller"] == alexnet["file_bytes"] / squeezed["file_bytes"] >= 300
    assert squeezed["top1"] >= alexnet["top1"]


@pytest.mark.parametrize(
    ("name", "least", "points_lost", "times_smaller"),
    [("cifar10", 0.88, 1.0, 14), ("cifar10-small", 0.86, 2.5, 20)],
)
def test_cifar_10_is_told_at_32_pixels(name, least, points_lost, times_smaller):
    path = ROOT / "zoo" / f"{name}.sqz"
    full, squeezed = record(path)["rows"]
    assert full["images"] == squeezed["images"] == 10_000
    assert runtime.load(path).input_shape[1:3] == (32, 32)
    assert full["top1"] >= 0.88
    assert squeezed["top1"] >= max(least, full["top1"] - points_lost / 100)
    assert squeezed["times_smaller"] == full["file_bytes"] / squeezed["file_bytes"] >= times_smaller


def test_the_readme_shows_the_records():
    script = ROOT / "benchmarks" / "readme_table.py"
    spec = importlib.util.spec_from_file_location("readme_table", script)
    readme_table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(readme_table)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = ("intel.sqz", "intel-separable.sqz", "intel-tiny.sqz", "intel-quick.sqz")
    table = readme_table.block([record(ROOT / "zoo" / name) for name in shown])
    assert readme_table.replace_block(readme, "results", table) == readme
    cifar10 = readme_table.block(
        [record(ROOT / "zoo" / name) for name in ("cifar10.sqz", "cifar10-small.sqz")]
    )
    assert readme_table.replace_block(readme, "cifar10", cifar10) == readme
    findings = readme_table.findings_block(ROOT / "docs" / "results" / "intel")
    assert readme_table.replace_block(readme, "findings", findings) == readme


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "intel" / "test").is_dir(), reason="the Intel images are not on this machine")
@pytest.mark.parametrize("path", OF_INTEL, ids=lambda path: path.stem)
def test_evaluate_gives_the_recorded_accuracy(path, capsys):
    check_accuracy(path, DATA / "intel", capsys)


@pytest.mark.slow
@pytest.mark.skipif(not CIFAR_ARCHIVE.is_file(), reason="the CIFAR images are not on this machine")
def test_evaluate_gives_the_recorded_accuracy_on_cifar_10(tmp_path, capsys):
    assert main(["data", "unpack", str(CIFAR_ARCHIVE), "-o", str(tmp_path / "c")]) == 0
    capsys.readouterr()
    for path in OF_CIFAR:
        check_accuracy(path, tmp_path / "c", capsys)


def check_accuracy(path, folder, capsys):
    assert main(["evaluate", str(path), str(folder), "--json"]) == 0
    measured, row = json.loads(capsys.readouterr().out), shipped_row(path)
    assert measured["images"] == row["images"]
    # Another processor family may round an activation the other way, which moves an image or two in a thousand.
    assert measured["top1"] == pytest.approx(row["top1"], abs=0.005)


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "intel" / "test").is_dir(), reason="the Intel images are not on this machine")
def test_training_and_runtime_see_the_same_pixels():
    model = runtime.load(ROOT / "zoo" / "intel.sqz")
    test = data.open_dataset(DATA / "intel").test
    agreed, largest, position = 0, 0, 0
    for pixels, _ in data.batches(test, model.preprocess, batch_size=50):
        for trained in pixels.numpy():
            shipped = model.pixels(test.paths[position])
            largest = max(largest, int(np.abs(trained - shipped.astype(np.float32)).max()))
            both = model.probabilities(np.stack([trained.astype(np.uint8), shipped]))
            agreed += int(both[0].argmax() == both[1].argmax())
            position += 1
    assert position == len(test) == 1500
    assert largest == 0
    assert agreed / position >= 0.995
