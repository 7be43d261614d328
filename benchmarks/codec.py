"""Bytes and seconds of each coder of the codec, beside general compressors, on the same files in one run.

    python benchmarks/codec.py MODEL.tflite compressed_SqueezeNet.net zoo/intel.sqz --alexnet [--json]

A `.net` is the published Deep Compression SqueezeNet: its exact weights and biases are put into a `.tflite` in
the order of the layers. A `.sqz` is unpacked first. `--alexnet` adds a pruned and quantized network of
AlexNet's 61 million weights, drawn at random. Peers are zlib -9, xz -9e, and zstd -22 and brotli 11 where the
packages `zstandard` and `brotli` are installed.

Seconds are of one process on whatever else the machine was doing, so what to compare is the ratio to zlib's
decoding of the same file, measured in turns with it; "peak" is the most that decoding allocates, as a multiple
of the decoded size.
"""

import argparse
import importlib
import json
import lzma
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "codec"))
from synthetic_tflite import Tensor, tflite

from squeezekit import codec

# Outputs of the squeeze and of each expand layer of fire2 to fire9.
FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
ALEXNET = (
    (96, 11, 11, 3), (256, 5, 5, 48), (384, 3, 3, 256), (384, 3, 3, 192), (256, 3, 3, 192),
    (4096, 9216), (4096, 4096), (1000, 4096),
)  # fmt: skip


def net_layers(data: bytes) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, weights (out, height, width, in) and biases of each layer of a Deep Compression `.net`."""
    shapes, inputs = [("conv1", 96, 3, 7)], 96
    for number, (squeeze, expand) in enumerate(FIRES, 2):
        shapes += [(f"fire{number}/squeeze1x1", squeeze, inputs, 1)]
        shapes += [(f"fire{number}/expand{size}x{size}", expand, squeeze, size) for size in (1, 3)]
        inputs = 2 * expand
    shapes.append(("conv10", 1000, inputs, 1))
    counts, at = np.frombuffer(data, "<u4", len(shapes)), 4 * len(shapes)

    def take(dtype: str, count: int) -> np.ndarray:
        nonlocal at
        part = np.frombuffer(data, dtype, count, at)
        at += part.nbytes
        return part

    for (name, outputs, depth, size), count in zip(shapes, counts.tolist(), strict=True):
        codebook, biases, indices = take("<f4", 256), take("<f4", outputs), take("u1", count)
        packed = take("u1", (count + 1) // 2)
        gaps = np.stack((packed & 15, packed >> 4), axis=1).reshape(-1)[:count].astype(np.int64)
        dense = np.zeros(outputs * depth * size * size, np.uint8)
        dense[np.cumsum(gaps + 1) - 1] = indices
        weights = codebook[dense].reshape(outputs, depth, size, size).transpose(0, 2, 3, 1)
        yield name, np.ascontiguousarray(weights) + np.float32(0), biases


def net_tflite(data: bytes) -> bytes:
    tensors = []
    for name, weights, biases in net_layers(data):
        tensors.append(Tensor(name, "float32", weights.shape, weights.tobytes()))
        tensors.append(Tensor(f"{name}/bias", "float32", biases.shape, biases.tobytes()))
    return tflite(tensors)


def alexnet(density: float = 0.11) -> bytes:
    """Pruned int8 weights: Laplace-distributed, as pruning and retraining leave them."""
    generator = np.random.default_rng(0)
    tensors = []
    for number, shape in enumerate(ALEXNET):
        weights = generator.laplace(0, 18, shape).round().clip(-127, 127).astype(np.int8)
        weights[generator.random(shape, np.float32) >= density] = 0
        tensors.append(Tensor(f"layer{number}", "int8", shape, weights.tobytes()))
    return tflite(tensors)


def peers() -> Iterator[tuple[str, Callable[[bytes], bytes]]]:
    yield "zlib", lambda data: zlib.compress(data, 9)
    yield "xz", lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)
    try:
        zstandard = importlib.import_module("zstandard")
        yield "zstd", lambda data: zstandard.ZstdCompressor(level=22).compress(data)
    except ImportError:
        pass
    try:
        brotli = importlib.import_module("brotli")
        yield "brotli", lambda data: brotli.compress(data, quality=11, lgwin=24)
    except ImportError:
        pass


def measure(name: str, data: bytes, coders: list[str], repeats: int, with_peers: bool) -> dict[str, Any]:
    """Every figure of one file."""
    row: dict[str, Any] = {"file": name, "bytes": len(data), "peers": {}, "coders": {}}
    for peer, compress in peers():
        if with_peers or peer == "zlib":
            row["peers"][peer] = len(compress(data))
    deflated = zlib.compress(data, 9)
    for coder in coders:
        start = time.perf_counter()
        packed = codec.pack(data, coder=coder)
        encode_s = time.perf_counter() - start
        ours, zlibs = [], []
        for _ in range(repeats):
            start = time.process_time()
            zlib.decompress(deflated)
            middle = time.process_time()
            unpacked = codec.unpack(packed)
            ours.append(time.process_time() - middle)
            zlibs.append(middle - start)
            if unpacked != data:
                raise SystemExit(f"{name}: {coder} is not lossless")
        del unpacked
        tracemalloc.start()
        codec.unpack(packed)
        peak = tracemalloc.get_traced_memory()[1] / len(data)
        tracemalloc.stop()
        row["coders"][coder] = {
            "bytes": len(packed), "encode_s": encode_s, "decode_s": min(ours), "zlib_decode_s": min(zlibs),
            "times_zlib": min(ours) / min(zlibs), "peak": peak,
        }  # fmt: skip
    return row


def show(row: dict[str, Any]) -> None:
    print(f"{row['file']}: {row['bytes']:,} bytes")
    for peer, size in row["peers"].items():
        print(f"  {peer:8} {size:12,}")
    for coder, figures in row["coders"].items():
        print(
            f"  {coder:8} {figures['bytes']:12,}   encode {figures['encode_s']:6.2f} s"
            f"   decode {figures['decode_s']:6.3f} s = {figures['times_zlib']:5.1f} x zlib's"
            f" {figures['zlib_decode_s']:.3f} s   peak {figures['peak']:.1f} x"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--alexnet", action="store_true")
    parser.add_argument("--coders", default="huffman,rans,small")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", action="store_true", dest="as_json")
    options = parser.parse_args()
    inputs = []
    for path in options.files:
        data = path.read_bytes()
        if path.suffix == ".net":
            data = net_tflite(data)
        inputs.append((path.name, codec.unpack(data) if codec.is_sqz(data) else data, True))
    if options.alexnet:
        inputs.append(("alexnet, pruned and quantized", alexnet(), False))
    rows = []
    for name, data, with_peers in inputs:
        rows.append(measure(name, data, options.coders.split(","), options.repeats, with_peers))
        if not options.as_json:
            show(rows[-1])
    if options.as_json:
        print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
