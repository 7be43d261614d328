"""A tree made like Caltech-256, trained by its protocol: unequal classes, broken images, macro-accuracy.

    python benchmarks/caltech.py
    python benchmarks/caltech.py --folders 24 --epochs 2

All 257 folders with names of its scheme (`001.ak47`, `257.clutter`), 3 to 40 pictures each of one of 257 kinds of drawn
pattern, and a few that are broken. `squeezekit train --train-per-class N --balance sample` and `squeezekit evaluate`
run on it as a user would run them; chance is 0.4 %.

Measured on 2 cores beside other work: 257 folders, 5,581 images, 57 of them broken and all found; trained for 60 epochs
on one image a class (and one for validation), top-1 49.3 %, macro-accuracy 50.0 % on the 5,010 others, 1 to 38 a class;
97 s.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

_NAMES = {1: "ak47", 2: "american-flag", 145: "motorbikes-101", 251: "airplanes-101", 257: "clutter"}
_SIDE = 40


def draw(label: int, generator: np.random.Generator) -> Image.Image:
    """A class's own two colours in stripes of its own direction and width, moved and with noise."""
    own = np.random.default_rng(label)
    colours = own.uniform(20, 235, (2, 3))
    angle, width = own.uniform(0, np.pi), own.uniform(0.3, 1.2)
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    along = rows * np.cos(angle) + columns * np.sin(angle)
    share = (0.5 + 0.5 * np.sin(along * width + generator.uniform(0, 6.3)))[..., np.newaxis]
    picture = share * colours[0] + (1 - share) * colours[1] + generator.normal(0, 15, (_SIDE, _SIDE, 3))
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def make(root: Path, folders: int, seed: int = 0) -> tuple[int, int]:
    """Write the tree: images in all, and how many of them are broken."""
    generator = np.random.default_rng(seed)
    images = broken = 0
    for label in range(1, folders + 1):
        name = f"{label:03d}.{_NAMES.get(label, f'thing-{label}')}"
        folder = root / name
        folder.mkdir(parents=True)
        for number in range(1, int(generator.integers(3, 41)) + 1):
            path = folder / f"{label:03d}_{number:04d}.jpg"
            draw(label, generator).save(path, quality=90)
            images += 1
            if number > 3 and generator.random() < 0.01:
                # A copy that stopped, a page that says that the image is gone, nothing at all.
                data = path.read_bytes()
                kinds = (data[: len(data) // 2], b"<html>404</html>", b"")
                path.write_bytes(kinds[broken % 3])
                broken += 1
    return images, broken


def run(*words: str) -> dict:
    """What a verb says in JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "squeezekit", *words, "--json"], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folders", type=int, default=257)
    parser.add_argument("--train-per-class", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tree, out = Path(folder, "256_ObjectCategories"), Path(folder, "out")
        images, broken = make(tree, options.folders)
        print(f"{options.folders} folders, {images:,} images, {broken} of them broken", flush=True)
        start = time.perf_counter()
        words = ["train", str(tree), "-o", str(out), "--size", "32", "--epochs", str(options.epochs)]
        words += ["--train-per-class", str(options.train_per_class), "--balance", "sample"]
        found = run(*words)
        seconds = time.perf_counter() - start
        data, row = found["data"], found["rows"][0]
        print(
            f"train {data['train']:,}, validation {data['validation']:,}, test {data['test']:,}, "
            f"skipped {len(data['skipped'])}"
        )
        counts = row["class_images"].values()
        print(
            f"top-1 {row['top1']:.1%}, macro-accuracy {row['macro_accuracy']:.1%} "
            f"on {min(counts)} to {max(counts)} images a class; {options.epochs} epochs in {seconds:.0f} s"
        )
        whole = run("evaluate", str(out / "model.tflite"), str(tree))
        assert len(data["skipped"]) == broken == len(whole["skipped"]), "not the broken images"
        assert (
            data["train"] + data["validation"] + data["test"] + broken == images == whole["images"] + broken
        )
        assert len(row["class_images"]) == options.folders
        print(
            f"evaluate on the whole tree, training images included: top-1 {whole['top1']:.1%}, macro "
            f"{whole['macro_accuracy']:.1%}"
        )


if __name__ == "__main__":
    main()
