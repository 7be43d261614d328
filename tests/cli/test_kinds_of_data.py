"""Arrays and unequal classes, from the command line to figures of the file that ships."""

import json

import numpy as np
import pytest
from PIL import Image

QUICK = ("--epochs", "1", "--batch-size", "8", "--size", "32", "--width", "0.25", "--json")


def picture(label, generator):
    """A field of a class's own colour, with noise."""
    noise = generator.normal(0, 25, (40, 36, 3))
    colour = np.random.default_rng(label).uniform(40, 215, 3)
    return np.clip(colour + noise, 0, 255).astype(np.uint8)


def test_a_file_of_arrays_is_trained_on_and_evaluated(squeezekit, tmp_path):
    generator = np.random.default_rng(0)
    y, y_test = np.repeat([0, 1], [26, 9]), np.repeat([0, 1], [9, 3])
    x, x_test = (np.stack([picture(label, generator) for label in labels]) for labels in (y, y_test))
    names = np.array(["grass", "sky"])
    file, out = tmp_path / "a.npz", tmp_path / "out"
    np.savez_compressed(file, x_train=x, y_train=y, x_test=x_test, y_test=y_test, class_names=names)
    status, shown, error = squeezekit("train", file, "-o", out, "--balance", "weights", *QUICK)
    assert status == 0, error
    run = json.loads(shown)
    (row,) = run["rows"]
    assert (run["labels"], run["data"]["test"]) == (["grass", "sky"], 12)
    assert run["settings"]["balance"] == "weights"
    assert row["class_images"] == {"grass": 9, "sky": 3}
    status, shown, error = squeezekit("evaluate", out / "model.tflite", file, "--json")
    assert status == 0, error
    found = json.loads(shown)
    assert [found[key] for key in ("images", "top1", "macro_accuracy", "per_class")] == [
        row[key] for key in ("images", "top1", "macro_accuracy", "per_class")
    ]
    assert found["macro_accuracy"] == pytest.approx(np.mean(list(row["per_class"].values())))


def test_a_tree_like_caltechs(squeezekit, tmp_path):
    """Its names, unequal classes, a broken image; trained by its protocol."""
    generator = np.random.default_rng(0)
    names = [
        *("001.ak47", "002.american-flag", "053.desk-globe", "101.head-phones"),
        *("145.motorbikes-101", "204.sunflower-101", "251.airplanes-101", "257.clutter"),
    ]
    counts = dict(zip(names, (3, 4, 5, 6, 8, 3, 12, 4), strict=True))
    for label, (name, count) in enumerate(counts.items(), start=1):
        folder = tmp_path / "tree" / name
        folder.mkdir(parents=True)
        for number in range(count):
            Image.fromarray(picture(label, generator)).save(folder / f"{name[:3]}_{number + 1:04d}.jpg")
    (tmp_path / "tree" / "251.airplanes-101" / "251_0004.jpg").write_bytes(b"\xff\xd8\xff broken")
    options = ("--train-per-class", "2", "--balance", "sample", *QUICK)
    status, shown, error = squeezekit("train", tmp_path / "tree", "-o", tmp_path / "out", *options)
    assert status == 0, error
    run = json.loads(shown)
    data, (row,) = run["data"], run["rows"]
    assert [data[key] for key in ("train", "validation", "test", "train_per_class")] == [8, 8, 28, 2]
    assert [skipped["path"][-12:] for skipped in data["skipped"]] == ["251_0004.jpg"]
    assert row["class_images"] == {**{name: count - 2 for name, count in counts.items()}, names[6]: 9}
    assert 0 <= row["macro_accuracy"] <= 1
    status, _, error = squeezekit(
        "train", tmp_path / "tree", "-o", tmp_path / "out", "--balance", "sample", *QUICK
    )
    assert status == 2, "another split is another training"
    assert "train_per_class" in error
