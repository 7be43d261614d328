"""Which recipe makes SqueezeNet 1.1 quick: latency of recipes on random weights, in turns with the networks to beat.

    python benchmarks/speed.py --size 100 --classes 6 [--recipe RECIPE]... [--json]

Weights are random: they decide nothing about time, except zeros in sparse tensors (`kernels.py`). Everything runs
in `squeezekit.runtime`, from uint8 pixels to probabilities. An ending ` | quantize(8)` stands for a full-integer file,
anything else for float arithmetic. `x` is how many times as fast as float SqueezeNet 1.1, round by round, with a 95 %
interval, by the clock and by processor time: the second holds on a busy machine too.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from squeezekit import compress, export, models, runtime
from squeezekit.cli.output import table
from squeezekit.runtime.latency import Latency, noise, ratio

PEERS = ("squeezenet-1.1", "alexnet", "MobileNetV3Small")
START = "squeezenet-1.1-bypass"
RECIPES = (
    "quantize(8)",
    "separable",
    "separable | quantize(8)",
    "separable | prune_channels(0.25, end=0, multiple_of=8)",
    "separable | prune_channels(0.25, end=0, multiple_of=8) | quantize(8)",
    "separable | prune_channels(0.5, end=0, multiple_of=8)",
    "separable | prune_channels(0.5, end=0, multiple_of=8) | quantize(8)",
    "prune_channels(0.5, end=0, multiple_of=8)",
    "prune_channels(0.5, end=0, multiple_of=8) | quantize(8)",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--classes", type=int, default=6)
    parser.add_argument("--model", default=START, help="What the recipes are given.")
    parser.add_argument("--recipe", action="append", help="Instead of the usual ones; may be given again.")
    parser.add_argument("--file", type=Path, action="append", default=[], help="A .sqz or .tflite beside.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--runs", type=int, default=8, help="Of a network in a round.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    shape = (options.size, options.size, 3)
    rows: list[dict[str, Any]] = []
    networks = []
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "network.tflite")
        for name in PEERS:
            rows.append({"network": name} | exported(peer(name, shape, options.classes), target, int8=False))
            networks.append(runtime.load(target, threads=options.threads))
        for line in options.recipe or RECIPES:
            recipe = compress.parse(line)
            int8 = any(technique.name == "quantize" for technique in recipe)
            model = models.build(options.model, shape, options.classes)
            for technique in recipe:
                if technique.name != "quantize":
                    model = compress.strip(compress.apply(model, technique))
            rows.append({"network": str(recipe)} | exported(model, target, int8=int8))
            networks.append(runtime.load(target, threads=options.threads))
    for path in options.file:
        rows.append({"network": path.name, "macs": None, "parameters": None})
        networks.append(runtime.load(path, threads=options.threads))
    clocks, cpus = in_turns(networks, options.rounds, options.runs)
    for row, clock, cpu in zip(rows, clocks, cpus, strict=True):
        row |= {"latency_ms": clock.median_ms, "cpu_ms": cpu.median_ms}
        row |= {"times_as_fast": as_list(ratio(clocks[0], clock))}
        row |= {"times_as_fast_cpu": as_list(ratio(cpus[0], cpu))}
    if options.json:
        print(json.dumps({"threads": options.threads, "size": options.size, "rows": rows}, indent=2))
        return
    print(
        table(
            ("network", "million MACs", "ms", "CPU ms", "x", "x by CPU", "95 %"),
            cells(rows),
            right=(1, 2, 3, 4, 5, 6),
        )
    )


def peer(name: str, shape: tuple[int, int, int], classes: int) -> keras.Model:
    if name in models.MODELS:
        return models.build(name, shape, classes)
    return getattr(keras.applications, name)(shape, weights=None, classes=classes)


def exported(model: keras.Model, path: Path, *, int8: bool) -> dict[str, Any]:
    """Write the file and say how large the network is."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, *model.input_shape[1:]))
    export.litert(model, path, calibration=[pixels.astype(np.float32)] if int8 else None)
    found = compress.measure(model)
    return {"macs": found.macs, "parameters": model.count_params()}


def in_turns(networks: list[runtime.Model], rounds: int, runs: int) -> tuple[list[Latency], list[Latency]]:
    """Milliseconds by the clock and of the processor, all networks in each round, another first each time."""
    pictures = [noise(network.input_shape) for network in networks]
    clocks = np.empty((len(networks), rounds, runs))
    cpus = np.empty((len(networks), rounds, 1))
    for turn in range(rounds):
        for step in range(len(networks)):
            place = (turn + step) % len(networks)
            network, pixels = networks[place], pictures[place]
            network.probabilities(pixels)  # the caches are another's
            before = time.process_time()
            for run in range(runs):
                start = time.perf_counter()
                network.probabilities(pixels)
                clocks[place, turn, run] = 1000 * (time.perf_counter() - start)
            cpus[place, turn] = 1000 * (time.process_time() - before) / runs
    return [Latency(times) for times in clocks], [Latency(times) for times in cpus]


def as_list(found: Any) -> list[float]:
    return [found.median, found.low, found.high]


def cells(rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The rows of the table."""
    return [
        (
            row["network"],
            f"{row['macs'] / 1e6:.1f}" if row["macs"] else "",
            f"{row['latency_ms']:.2f}",
            f"{row['cpu_ms']:.2f}",
            f"{row['times_as_fast'][0]:.2f}",
            f"{row['times_as_fast_cpu'][0]:.2f}",
            "{1:.2f}-{2:.2f}".format(*row["times_as_fast_cpu"]),
        )
        for row in rows
    ]


if __name__ == "__main__":
    main()
