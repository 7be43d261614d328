"""The same networks in LiteRT, ONNX Runtime, OpenVINO and ncnn: latency in turns, cold start, install size, agreement.

    python benchmarks/engines.py ENVIRONMENTS --squeezed zoo/intel.sqz [--photos FOLDER] [--json]

Needs squeezekit[train], the network for the first run, and 1 GB in the folder ENVIRONMENTS: each engine gets an
environment of its own there, with the versions below. Float and int8 SqueezeNet 1.1, AlexNet and MobileNetV3Small get
the squeezed network's input size and classes. Their weights are random (--network NAME=FILE.keras brings trained
ones), the last layer's such that pictures get different answers. ONNX Runtime reads what tf2onnx makes of the
`.tflite`, ncnn what pnnx makes of that; OpenVINO reads the `.tflite` itself. ncnn gets no int8 network: pnnx leaves
the quantization as operations that ncnn does not have, and ncnn's own quantizer is not in its wheels.

One thread each. In a round every engine runs some times, and the next round begins with another; ratios are to LiteRT,
round by round, with a 95 % interval, by the clock and by processor time: the second holds on a busy machine too.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from engine_process import OPENERS  # beside this file
from PIL import Image

from squeezekit import export, models, runtime
from squeezekit.cli.output import table
from squeezekit.runtime.latency import Latency, ratio

REFERENCE = "LiteRT"
PINS = {
    "LiteRT": ("ai-edge-litert==2.3.0", "numpy==2.4.6"),
    "ONNX Runtime": ("onnxruntime==1.32.0", "numpy==2.4.6"),
    "OpenVINO": ("openvino==2026.4.1", "numpy==2.4.6"),
    "ncnn": ("ncnn==1.0.20261020", "numpy==2.4.6"),
}
CONVERTERS = ("tf2onnx==1.17.0", "onnx==1.23.2")
# Of the package only the program is needed: what it depends on is PyTorch with CUDA, 5 GB.
PNNX = "pnnx==20261020"
TO_ONNX = """
import sys
from tf2onnx import convert
convert._convert_common(None, name="network", tflite_path=sys.argv[1], opset=18, output_path=sys.argv[2])
"""
PICTURES = 200
TIMEOUT_S = 900
NETWORKS = {
    "SqueezeNet 1.1": lambda shape, classes: models.build("squeezenet-1.1", shape, classes),
    "AlexNet": lambda shape, classes: models.build("alexnet", shape, classes),
    "MobileNetV3Small": lambda shape, classes: keras.applications.MobileNetV3Small(
        shape, weights=None, classes=classes
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("environments", type=Path)
    parser.add_argument("--squeezed", type=Path, required=True, action="append", help="A .sqz or .tflite.")
    parser.add_argument("--network", action="append", default=[], metavar="NAME=FILE.keras")
    parser.add_argument("--only", action="append", choices=list(NETWORKS), help="Of the float networks.")
    parser.add_argument("--photos", type=Path, help="A folder of images; without it coloured noise.")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--runs", type=int, default=10, help="Of an engine in a round.")
    parser.add_argument("--cold", type=int, default=5, help="Fresh processes of an engine and network.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.environments.mkdir(parents=True, exist_ok=True)
    pythons = {name: environment(options.environments, name, pins) for name, pins in PINS.items()}
    converter = environment(options.environments, "convert", CONVERTERS, alone=PNNX)
    sizes = {name: installed_bytes(python) for name, python in pythons.items()}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        first = runtime.load(options.squeezed[0])
        pictures = some_pictures(first, options.photos)
        np.save(work / "pictures.npy", pictures)
        rows = []
        for name, path in tflites(options, first, pictures, work):
            say(f"{name}: converting")
            files = converted(converter, path)
            rows += measured(name, files, pythons, work, options)
            shutil.rmtree(path.parent)
    found = {"pins": PINS, "converters": [*CONVERTERS, PNNX], "installed_bytes": sizes, "rows": rows}
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print(told(found))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def environment(folder: Path, name: str, pins: Sequence[str], alone: str = "") -> Path:
    """The Python of an environment with these packages, made when it is not there; `alone` comes without others."""
    home = folder / name.replace(" ", "-").lower()
    stamp, wanted = home / "pins.txt", "\n".join([*pins, alone])
    python = home / "bin" / "python"
    if stamp.exists() and stamp.read_text("ascii") == wanted:
        return python
    say(f"installing {', '.join(pins)}")
    subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--only-binary=:all:"]
    subprocess.run([*pip, *pins], check=True)
    if alone:
        subprocess.run([*pip, "--no-deps", alone], check=True)
        # tf2onnx wants a TensorFlow: the one that runs this script will do.
        (site(python) / "beside.pth").write_text(sysconfig.get_paths()["purelib"], "utf-8")
    stamp.write_text(wanted, "ascii")
    return python


def site(python: Path) -> Path:
    return next(python.parents[1].glob("lib/python3*/site-packages"))


def installed_bytes(python: Path) -> int:
    """What an engine and all that it needs take on the disk, pip and compiled caches aside."""
    tools = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence")
    return sum(
        file.stat().st_size
        for entry in site(python).iterdir()
        if not entry.name.startswith(tools)
        for file in ([entry] if entry.is_file() else entry.rglob("*"))
        if file.is_file() and file.suffix != ".pyc"
    )


def some_pictures(network: runtime.Model, photos: Path | None) -> np.ndarray:
    """Pixels for the network's input, uint8 (images, height, width, 3)."""
    if photos is not None:
        paths = runtime.folder_images(photos)
        # From all of the folder, not from its first class alone.
        return np.stack([network.pixels(path) for path in paths[:: -(-len(paths) // PICTURES)]])
    draws = np.random.default_rng(1)
    _, height, width, _ = network.input_shape
    coarse = draws.integers(0, 256, (PICTURES, 5, 5, 3), np.uint8)
    return np.stack(
        [np.asarray(Image.fromarray(one).resize((width, height), Image.Resampling.BICUBIC)) for one in coarse]
    )


def tflites(options: argparse.Namespace, first: runtime.Model, pictures: np.ndarray, work: Path):
    """Yield name and file of every network, each in a folder of its own."""
    shape, classes = first.input_shape[1:], first.network.classes
    for path in options.squeezed:
        target = work / f"squeezed-{path.stem}" / "network.tflite"
        target.parent.mkdir()
        target.write_bytes(runtime.read_contents(path.read_bytes()).tflite)
        yield f"squeezed: {path.name}", target
    trained = dict(line.split("=", 1) for line in options.network)
    chosen = {name: NETWORKS[name] for name in options.only or NETWORKS if name not in trained}
    for name in [*chosen, *trained]:
        say(f"{name}: exporting")
        if name in trained:
            model = models.load(trained[name])
        else:
            keras.utils.set_random_seed(0)
            model = chosen[name](shape, classes)
            awaken(model, pictures[:64].astype(np.float32))
        for kind in ("float", "int8"):
            target = work / name.replace(" ", "-") / "network.tflite"
            target.parent.mkdir(exist_ok=True)
            calibration = [pictures[:100].astype(np.float32)] if kind == "int8" else None
            export.litert(model, target, calibration=calibration, per_channel=kind == "int8")
            yield f"{name} {kind}", target


def awaken(model: keras.Model, pixels: np.ndarray) -> None:
    """Make a network of random weights tell pictures apart: statistics for BatchNorm, a spread for the classes."""
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if norms:
        for layer in norms:
            layer.momentum = 0.0
        model(pixels, training=True)
    last = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)][
        -1
    ]
    values = np.asarray(keras.Model(model.inputs[0], last.output)(pixels))
    values = values.mean(
        axis=tuple(range(1, values.ndim - 1))
    )  # (b, [height, width,] classes) -> (b, classes)
    spread = values.std(axis=0) + 1e-6
    kernel, bias = last.get_weights()
    last.set_weights([kernel / spread, (bias - values.mean(axis=0)) / spread])


def converted(python: Path, tflite: Path) -> dict[str, Path | str]:
    """The network's file for each engine, or why there is none."""
    files: dict[str, Path | str] = {"LiteRT": tflite, "OpenVINO": tflite}
    onnx = tflite.with_suffix(".onnx")
    problem = run_quietly([python, "-W", "ignore", "-c", TO_ONNX, tflite, onnx])
    files["ONNX Runtime"] = problem or onnx
    shape, integer = describe(tflite)
    if problem or integer:
        files["ncnn"] = problem or "pnnx and ncnn's wheels do no int8"
        return files
    settings = f"inputshape={json.dumps(shape).replace(' ', '')}f32"
    problem = run_quietly([site(python) / "pnnx" / "pnnx", onnx, settings, "fp16=0"], tflite.parent)
    param = tflite.with_suffix(".ncnn.param")
    param.with_suffix(".shape").write_text(json.dumps(shape), "ascii")
    files["ncnn"] = problem or param
    return files


def describe(tflite: Path) -> tuple[list[int], bool]:
    """The input's shape, and whether the network computes in integers."""
    entry = export.audit(tflite.read_bytes()).inputs[0]
    return list(runtime.load(tflite).input_shape), entry.dtype != "float32"


def run_quietly(words: Sequence[Any], folder: Path | None = None) -> str:
    """Why a program failed, in a line; empty when it did not."""
    done = subprocess.run(
        [*map(str, words)], cwd=folder, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S
    )
    if not done.returncode:
        return ""
    return (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]


class Engine:
    """One network in one engine, in a process that waits for orders."""

    def __init__(self, python: Path, engine: str, path: Path) -> None:
        self.words = [str(python), str(Path(__file__).with_name("engine_process.py")), engine, str(path)]
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the process)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors, "text": True}
        self.process = subprocess.Popen(self.words, **pipes)
        self.listen()

    def ask(self, *order: Any) -> dict[str, Any]:
        """Give an order and wait for the answer."""
        print(json.dumps(order), file=self.process.stdin, flush=True)
        return self.listen()

    def listen(self) -> dict[str, Any]:
        """The next answer; what else an engine prints is passed over."""
        for line in self.process.stdout:
            if line.startswith("@"):
                return json.loads(line[1:])
        self.errors.seek(0)
        raise RuntimeError((self.errors.read().strip().splitlines() or ["it ended without a word"])[-1])

    def cold(self) -> dict[str, Any]:
        """From the start of a fresh process to its end, with one answer in between."""
        start = time.perf_counter()
        done = subprocess.run([*self.words, "--once"], capture_output=True, text=True, check=True)
        whole = 1000 * (time.perf_counter() - start)
        answer = next(line for line in done.stdout.splitlines() if line.startswith("@"))
        return {"whole": whole, **json.loads(answer[1:])}

    def close(self) -> None:
        """End the process: there are no more orders."""
        self.process.communicate(timeout=60)
        self.errors.close()


def measured(
    name: str,
    files: dict[str, Path | str],
    pythons: dict[str, Path],
    work: Path,
    options: argparse.Namespace,
) -> list[dict[str, Any]]:
    """A row for each engine."""
    say(f"{name}: measuring")
    engines: dict[str, Engine] = {}
    rows = {engine: {"network": name, "engine": engine} for engine in OPENERS}
    for engine in OPENERS:
        file = files[engine]
        try:
            if isinstance(file, str):
                raise RuntimeError(file)
            engines[engine] = Engine(pythons[engine], engine, file)
        except RuntimeError as error:
            rows[engine]["failed"] = str(error)
    order = list(engines)
    walls: dict[str, list] = {engine: [] for engine in order}
    cpus: dict[str, list] = {engine: [] for engine in order}
    for turn in range(options.rounds):
        for step in range(len(order)):
            engine = order[(turn + step) % len(order)]
            found = engines[engine].ask("time", options.runs)
            walls[engine].append(found["wall"])
            cpus[engine].append([found["cpu"]])
    cold = {engine: [] for engine in order}
    for turn in range(options.cold + 1):
        for engine in order:
            found = engines[engine].cold()
            if turn:  # the first reads everything from the disk
                cold[engine].append(found)
    answers = {}
    for engine in order:
        target = work / "answers.npy"
        engines[engine].ask("answer", str(work / "pictures.npy"), str(target))
        answers[engine] = np.load(target)
        engines[engine].close()
    for engine in order:
        clock, cpu = (Latency(np.array(times[engine])) for times in (walls, cpus))
        theirs = answers[REFERENCE]
        rows[engine] |= {
            "latency_ms": {"median": clock.median_ms, "p90": clock.p90_ms},
            "cpu_ms": cpu.median_ms,
            "ratio": as_list(ratio(clock, Latency(np.array(walls[REFERENCE])))),
            "cpu_ratio": as_list(ratio(cpu, Latency(np.array(cpus[REFERENCE])))),
            "cold_start_ms": {
                part: statistics.median(one[part] for one in cold[engine])
                for part in ("whole", "import", "open", "first", "cpu")
            },
            "peak_rss_bytes": statistics.median(one["peak_rss_bytes"] or 0 for one in cold[engine]),
            "agreement": float(np.mean(answers[engine].argmax(axis=1) == theirs.argmax(axis=1))),
            "largest_difference": float(np.abs(answers[engine] - theirs).max()),
            "different_answers": len(set(answers[engine].argmax(axis=1).tolist())),
        }
    return list(rows.values())


def as_list(found: Any) -> list[float]:
    return [found.median, found.low, found.high]


def told(found: dict[str, Any]) -> str:
    """The tables."""
    head = [
        "network",
        "engine",
        "ms",
        "CPU ms",
        "to LiteRT (CPU)",
        "95 %",
        "cold ms",
        "peak MB",
        "same top-1",
    ]
    body = []
    for row in found["rows"]:
        if "failed" in row:
            body.append([row["network"], row["engine"], "-", "-", row["failed"][:60], "", "", "", ""])
            continue
        middle, low, high = row["cpu_ratio"]
        body.append(
            [
                row["network"],
                row["engine"],
                f"{row['latency_ms']['median']:.2f}",
                f"{row['cpu_ms']:.2f}",
                f"{middle:.2f}",
                f"{low:.2f}-{high:.2f}",
                f"{row['cold_start_ms']['whole']:.0f}",
                f"{row['peak_rss_bytes'] / 1e6:.0f}",
                f"{row['agreement']:.1%}",
            ]
        )
    sizes = "  ".join(f"{name} {size / 1e6:.0f} MB" for name, size in found["installed_bytes"].items())
    return f"{table(head, body, right=(2, 3, 4, 5, 6, 7, 8))}\ninstalled: {sizes}"


if __name__ == "__main__":
    main()
