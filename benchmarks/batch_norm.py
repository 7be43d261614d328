"""What BatchNorm in one kernel saves of a training step, against Keras's dozen operations for it.

    python benchmarks/batch_norm.py
    python benchmarks/batch_norm.py --model squeezenet-1.0-bypass --size 32 --rounds 20

Two networks of the same weights take a step in turn, so that whatever slows the machine slows both; the ratio is the
median of the rounds'. bfloat16 where the processor has it.
"""

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable

import keras
import numpy as np

from squeezekit import models, training
from squeezekit.training.batch_norm import fused_batch_norm
from squeezekit.training.precision import precision

CLASSES, WARM = 10, 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="squeezenet-1.1-bypass", choices=sorted(models.MODELS))
    parser.add_argument("--size", type=int, default=32, help="Side of the input in pixels.")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    print(f"{'norm':10}{'Keras, ms':>12}{'one kernel, ms':>16}{'ratio (quartiles)':>24}")
    for norm in ("squeeze", "all"):
        with contextlib.ExitStack() as stack:
            steps = [stack.enter_context(stepping(options, norm, fused)) for fused in (False, True)]
            times = [[clocked(step) for step in steps] for _ in range(options.rounds)]
        usual, fused = (statistics.median(column) for column in zip(*times, strict=True))
        low, middle, high = statistics.quantiles([one / other for one, other in times], n=4)
        print(
            f"{norm:10}{usual:12.1f}{fused:16.1f}{f'{middle:.2f} ({low:.2f} to {high:.2f})':>24}", flush=True
        )


@contextlib.contextmanager
def stepping(options: argparse.Namespace, norm: str, fused: bool):
    """A function that trains a network for a step on noise."""
    shape = (options.size, options.size, 3)
    keras.utils.set_random_seed(0)
    model = models.build(options.model, shape, CLASSES, norm=norm)
    random = np.random.default_rng(0)
    pixels = random.uniform(0, 255, (options.batch_size, *shape)).astype("float32")
    labels = random.integers(0, CLASSES, options.batch_size)
    with precision(model, training.Precision.AUTO), contextlib.ExitStack() as stack:
        if fused:
            stack.enter_context(fused_batch_norm(model))
        optimizer = training.Settings().build_optimizer(1000)
        model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
        for _ in range(WARM):
            model.train_on_batch(pixels, labels)
        yield lambda: model.train_on_batch(pixels, labels)


def clocked(step: Callable[[], object]) -> float:
    """Milliseconds that a step takes."""
    started = time.perf_counter()
    step()
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    main()
