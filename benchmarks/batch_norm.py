"""The time of a training step with BatchNorm in one kernel, against Keras's dozen operations for it.

    python benchmarks/batch_norm.py
    python benchmarks/batch_norm.py --model squeezenet-1.0-bypass --size 32 --blocks 20

Two networks of the same weights take steps in turn, as in `step_overhead.py`, so that other load slows both alike; the
ratio is taken block by block. bfloat16 where the processor has it.
"""

import argparse
import contextlib

import keras
import numpy as np
from step_overhead import FIGURES, Step, alternate

from squeezekit import models, training
from squeezekit.training.fused_batch_norm import fused_batch_norm
from squeezekit.training.precision import precision

CLASSES = 10


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="squeezenet-1.1-bypass", choices=sorted(models.MODELS))
    parser.add_argument("--size", type=int, default=32, help="Side of the input in pixels.")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--blocks", type=int, default=12, help="Measured blocks of each kind.")
    parser.add_argument("--steps", type=int, default=3, help="Steps a block.")
    options = parser.parse_args()
    print(f"{'norm':10}{'one kernel, ms':>16}{'Keras, ms':>12}{'ratio (quartiles)':>24}")
    for norm in ("squeeze", "all"):
        with contextlib.ExitStack() as stack:
            steps = step(options, norm, stack, fused=True), step(options, norm, stack, fused=False)
            found = alternate(steps, options.blocks, options.steps)
        fused, usual, middle, low, high = (found[figure] for figure in FIGURES)
        spread = f"{middle:.2f} ({low:.2f} to {high:.2f})"
        print(f"{norm:10}{fused:16.1f}{usual:12.1f}{spread:>24}", flush=True)


def step(options: argparse.Namespace, norm: str, stack: contextlib.ExitStack, *, fused: bool) -> Step:
    """A function that trains a network for a step on noise, while the stack is open."""
    shape = (options.size, options.size, 3)
    keras.utils.set_random_seed(0)
    model = models.build(options.model, shape, CLASSES, norm=norm)
    random = np.random.default_rng(0)
    pixels = random.uniform(0, 255, (options.batch_size, *shape)).astype("float32")
    labels = random.integers(0, CLASSES, options.batch_size)
    stack.enter_context(precision(model, training.Precision.AUTO))
    if fused:
        stack.enter_context(fused_batch_norm(model))
    optimizer = training.Settings().build_optimizer(1000)
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    return lambda: model.train_on_batch(pixels, labels)


if __name__ == "__main__":
    main()
