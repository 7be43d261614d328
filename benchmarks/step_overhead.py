"""What the techniques cost a training step: prune, share and quantize together against the plain step.

Plain and compressed steps alternate in blocks in one process, so that whatever slows the machine slows both; the
ratio is taken block by block, of the clock and of the processor's time: the second tells what is left of the first when
others use the machine. With --tfmot PYTHON the same network in tf_keras under tfmot's PCQAT (prune, cluster and
quantize together; an environment of its own: `pip install tensorflow-cpu==2.21.0 tf_keras
tensorflow-model-optimization`) is measured in rounds that alternate with ours.

    KERAS_BACKEND=tensorflow python benchmarks/step_overhead.py --tfmot ENVIRONMENT/bin/python
    KERAS_BACKEND=jax python benchmarks/step_overhead.py

SqueezeNet 1.1, 100x100 pixels, 6 classes, batch 32, float32, SGD.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SIDE, CLASSES, BATCH = 100, 6, 32
FIGURES = ("plain_ms", "compressed_ms", "ratio", "ratio_low", "ratio_high")
RECIPE = "prune(0.8) | share(bits=5) | quantize(8)"

Step = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", type=int, default=12, help="Measured blocks of each kind.")
    parser.add_argument("--steps", type=int, default=5, help="Steps a block.")
    parser.add_argument("--rounds", type=int, default=2, help="Rounds when there is a peer.")
    parser.add_argument("--tfmot", metavar="PYTHON", help="Python of an environment with tfmot.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=("ours", "tfmot"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        steps = {"ours": ours, "tfmot": tfmot}[options.only]()
        print(json.dumps(alternate(steps, options.blocks, options.steps)))
        return
    who = {"ours": sys.executable} | ({"tfmot": options.tfmot} if options.tfmot else {})
    found: dict[str, list[dict[str, float]]] = {name: [] for name in who}
    for _ in range(options.rounds if options.tfmot else 1):
        for name, python in who.items():
            words = [python, __file__, "--only", name]
            words += ["--blocks", str(options.blocks), "--steps", str(options.steps)]
            path = os.pathsep.join(
                filter(None, [str(Path(__file__).parents[1] / "src"), os.environ.get("PYTHONPATH")])
            )
            environment = os.environ | ({"PYTHONPATH": path} if name == "ours" else {})
            done = subprocess.run(words, check=True, stdout=subprocess.PIPE, env=environment)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    rows = {
        name: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        for name, rows in found.items()
    }
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'':14}{'plain ms':>10}{'compressed ms':>15}{'ratio (quartiles)':>26}")
    for name, row in rows.items():
        for prefix, kind in (("", "clock"), ("cpu_", "CPU")):
            plain, compressed, middle, low, high = (row[prefix + key] for key in FIGURES)
            spread = f"{middle:.3f} ({low:.3f} to {high:.3f})"
            print(f"{name:8}{kind:6}{plain:10.1f}{compressed:15.1f}{spread:>26}")


def alternate(steps: tuple[Step, Step], blocks: int, count: int) -> dict[str, float]:
    """Milliseconds a step of both kinds and the quartiles of their ratio, block by block."""
    for step in steps:  # compile, and let the memory settle
        for _ in range(3):
            step()
    clocks = {"": time.perf_counter, "cpu_": time.process_time}
    times: dict[str, list[list[float]]] = {prefix: [[], []] for prefix in clocks}
    for _ in range(blocks):
        for kind, step in enumerate(steps):
            started = {prefix: clock() for prefix, clock in clocks.items()}
            for _ in range(count):
                step()
            for prefix, clock in clocks.items():
                times[prefix][kind].append((clock() - started[prefix]) / count * 1000)
    found = {}
    for prefix, (plain, compressed) in times.items():
        ratios = [after / before for before, after in zip(plain, compressed, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        values = (statistics.median(plain), statistics.median(compressed), middle, low, high)
        found |= {prefix + key: value for key, value in zip(FIGURES, values, strict=True)}
    return found


def images() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.uniform(0, 255, (BATCH, SIDE, SIDE, 3)).astype("float32"), random.integers(
        0, CLASSES, BATCH
    )


def ours() -> tuple[Step, Step]:
    """The network with its ramp running, masks chosen again on schedule."""
    import keras

    from squeezekit import compress, models

    x, y = images()
    plain = models.build("squeezenet-1.1", (SIDE, SIDE, 3), CLASSES)
    squeezed = compress.apply(plain, RECIPE)
    for model in (plain, squeezed):
        jit = keras.backend.backend() == "jax"
        model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy", jit_compile=jit)
    done = 0

    def compressed_step() -> object:
        nonlocal done
        result = squeezed.train_on_batch(x, y)
        done += 1
        # As the callback does: some hundred updates a stage, here a stage of a thousand steps.
        if done % 10 == 0:
            compress.advance(squeezed, compress.TrainingProgress(min(done, 499), 1000))
        return result

    return lambda: plain.train_on_batch(x, y), compressed_step


def tfmot() -> tuple[Step, Step]:
    """PCQAT: pruned, clustered with its zeros kept, then trained quantized with both kept."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tensorflow_model_optimization as mot
    import tf_keras
    from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster

    x, y = images()
    plain = squeezenet(tf_keras)
    pruned = mot.sparsity.keras.prune_low_magnitude(plain, mot.sparsity.keras.ConstantSparsity(0.8, 0))
    pruned.compile("sgd", "sparse_categorical_crossentropy")
    pruned.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[mot.sparsity.keras.UpdatePruningStep()])
    sparse = mot.sparsity.keras.strip_pruning(pruned)
    clustered = cluster.cluster_weights(
        sparse,
        number_of_clusters=32,
        cluster_centroids_init=mot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS,
        preserve_sparsity=True,
    )
    shared = mot.clustering.keras.strip_clustering(clustered)
    annotated = mot.quantization.keras.quantize_annotate_model(shared)
    scheme = mot.experimental.combine.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=True)
    squeezed = mot.quantization.keras.quantize_apply(annotated, scheme)
    plain = squeezenet(tf_keras)
    for model in (plain, squeezed):
        model.compile(tf_keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
    return lambda: plain.train_on_batch(x, y), lambda: squeezed.train_on_batch(x, y)


def squeezenet(keras: object) -> object:
    """SqueezeNet 1.1 in another Keras, layer for layer."""
    layers = keras.layers
    pixels = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(64, 3, strides=2, activation="relu")(pixels)
    x = layers.MaxPooling2D(3, 2)(x)
    for index, (squeeze, expand) in enumerate(
        [(16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)]
    ):
        if index in (2, 4):
            x = layers.MaxPooling2D(3, 2)(x)
        x = layers.Conv2D(squeeze, 1, activation="relu")(x)
        ones = layers.Conv2D(expand, 1, activation="relu")(x)
        threes = layers.Conv2D(expand, 3, padding="same", activation="relu")(x)
        x = layers.Concatenate()([ones, threes])
    x = layers.Conv2D(CLASSES, 1, activation="relu")(layers.Dropout(0.5)(x))
    return keras.Model(pixels, layers.Softmax()(layers.GlobalAveragePooling2D()(x)))


if __name__ == "__main__":
    main()
