"""Writes files in the layout of the published Deep Compression network, from arrays: the reader's counterpart."""

import struct

import numpy as np

FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))


def published_shapes():
    """(out, in, row, column) of the 26 convolutions of SqueezeNet 1.0."""
    shapes, channels = [(96, 3, 7, 7)], 96
    for squeeze, expand in FIRES:
        shapes += [(squeeze, channels, 1, 1), (expand, squeeze, 1, 1), (expand, squeeze, 3, 3)]
        channels = 2 * expand
    return [*shapes, (1000, channels, 1, 1)]


def weights(shapes, seed=0, most=80):
    """For each shape a sparse array of few different values and a bias; about `most` weights are stored."""
    random = np.random.default_rng(seed)
    made = []
    for shape in shapes:
        flat = np.zeros(np.prod(shape), np.float32)
        positions = np.cumsum(random.integers(1, 40, most))
        positions = positions[positions < flat.size]
        flat[positions] = random.choice(random.normal(0, 0.5, 12).astype(np.float32), positions.size)
        made.append((flat.reshape(shape), random.normal(0, 0.5, shape[0]).astype(np.float32)))
    return made


def write(layers):
    """The bytes of a file that holds (array of (out, in, row, column), bias) for each layer."""
    counts, parts = [], []
    for array, bias in layers:
        values = np.unique(array[array != 0])
        codebook = np.zeros(256, np.float32)
        codebook[1 : 1 + values.size] = values
        stored, last = [], -1
        for position in np.flatnonzero(array):
            while position - last - 1 > 15:
                stored.append((15, 0))
                last += 16
            stored.append((position - last - 1, int(np.searchsorted(values, array.flat[position])) + 1))
            last = position
        gaps = [gap for gap, _ in stored] + [0] * (len(stored) % 2)
        counts.append(len(stored))
        pairs = bytes(low | high << 4 for low, high in zip(gaps[::2], gaps[1::2], strict=True))
        indices = bytes(index for _, index in stored)
        parts.append(codebook.astype("<f4").tobytes() + bias.astype("<f4").tobytes() + indices + pairs)
    return struct.pack(f"<{len(counts)}I", *counts) + b"".join(parts)
