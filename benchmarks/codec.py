"""Bytes and seconds of each coder of the codec, beside other compressors, on the same files in one run.

    python benchmarks/codec.py compressed_SqueezeNet.net zoo/intel.sqz MODEL.tflite --centroids 64,32,16 \\
        --applications squeezenet-1.1,MobileNetV3Small,EfficientNetB0 --alexnet --peers ENVIRONMENT/bin/python [--json]

A `.net` is the published Deep Compression SqueezeNet: its exact weights and biases are put into a `.tflite` in
the order of the layers. `--centroids` adds the same with each layer's weights moved to that many centroids by exact
k-means. A `.sqz` is unpacked first. `--applications` adds untrained float networks of squeezekit's own or of
`keras.applications`, and `--alexnet` a pruned network of AlexNet's 61 million weights, drawn at random: as int8, and
as float32 with 32 values.

Peers: zlib -9, xz -9e; and those that are installed in the environment of `--peers` (`pip install zstandard brotli
zipnn openzl nncodec torch==2.13.0`; by default this one): zstd -22, brotli 11, ZipNN (the best of its types),
OpenZL (its general graph, on bytes and on 32-bit numbers) and nncodec in its exact integer mode on what it
accepts: each tensor's ranks among its values as integers, and the values by xz.

Seconds are processor time. Compare the ratio to zlib's decoding of the same file, measured in turns with it: other
work on the machine changes both. "peak" is the most memory that decoding allocates, as a multiple of the decoded
size. The table that this printed is in docs/codec.md.
"""

import argparse
import contextlib
import importlib
import io
import json
import lzma
import os
import subprocess
import sys
import tempfile
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
from squeezekit.codec.flatbuffer import tensor_spans

PEER_SECONDS = 1200
# Tensors of fewer elements are no weights.
LEAST_WEIGHTS = 1024
ALEXNET = (
    (96, 11, 11, 3), (256, 5, 5, 48), (384, 3, 3, 256), (384, 3, 3, 192), (256, 3, 3, 192),
    (4096, 9216), (4096, 4096), (1000, 4096),
)  # fmt: skip


def net_tflite(path: Path) -> bytes:
    """The published weights and biases of a `.net`, as (out, height, width, in), in the order of the layers."""
    published = importlib.import_module("squeezekit.models.published_net").published_weights(path)
    tensors = []
    for layer, (kernel, biases) in published.items():
        name, weights = layer.replace("_", "/"), np.ascontiguousarray(kernel.transpose(3, 0, 1, 2))
        tensors.append(Tensor(name, "float32", weights.shape, weights.tobytes()))
        tensors.append(Tensor(f"{name}/bias", "float32", biases.shape, biases.tobytes()))
    return tflite(tensors)


def alexnet(dtype: str, density: float = 0.11) -> bytes:
    """Pruned weights, int8 or float32 of 32 values: Laplace-distributed, as pruning and retraining leave them."""
    generator = np.random.default_rng(0)
    tensors = []
    for number, shape in enumerate(ALEXNET):
        weights = generator.laplace(0, 18, shape).round().clip(-127, 127).astype(np.int8)
        weights[generator.random(shape, np.float32) >= density] = 0
        if dtype == "float32":
            weights = (weights >> 3).astype(np.float32) * np.float32(0.001)
        tensors.append(Tensor(f"layer{number}", dtype, shape, weights.tobytes()))
    return tflite(tensors)


def shared(data: bytes, centroids: int) -> bytes:
    """The same network with each float layer's weights, but its zeros, moved to so many centroids."""
    kmeans = importlib.import_module("squeezekit.compress.techniques.kmeans")
    file = bytearray(data)
    for span in tensor_spans(data):
        weights = np.frombuffer(file, np.uint8)[span.start : span.stop]
        if span.dtype == "float32" and span.size_bytes >= 4 * LEAST_WEIGHTS and len(span.shape) > 1:
            values = weights.view("<f4").copy()
            kept = values != 0
            centres = kmeans.kmeans_1d(values[kept], centroids)
            values[kept] = centres[kmeans.assign(values[kept], centres)]
            weights[...] = values.view(np.uint8)
    return bytes(file)


def application(name: str) -> bytes:
    keras, tensorflow = importlib.import_module("keras"), importlib.import_module("tensorflow")
    keras.utils.set_random_seed(0)
    if name in (own := importlib.import_module("squeezekit.models")).MODELS:
        model = own.build(name, (227, 227, 3), 1000)
    else:
        model = getattr(keras.applications, name)(weights=None)
    with contextlib.redirect_stdout(io.StringIO()):
        return bytes(tensorflow.lite.TFLiteConverter.from_keras_model(model).convert())


# --- peers, each in a process of its own ---------------------------------------------------------------------------


def zstd(data: bytes) -> int:
    return len(importlib.import_module("zstandard").ZstdCompressor(level=22).compress(data))


def brotli(data: bytes) -> int:
    return len(importlib.import_module("brotli").compress(data, quality=11, lgwin=24))


def zipnn(data: bytes) -> int:
    make = importlib.import_module("zipnn").ZipNN
    data += bytes(-len(data) % 4)  # it refuses half a number
    return min(
        len(make(bytearray_dtype=kind, input_format="byte").compress(bytearray(data)))
        for kind in ("float32", "bfloat16", "float16")
    )


def openzl(data: bytes) -> int:
    zl = importlib.import_module("openzl.ext")
    sizes = []
    padded = np.frombuffer(data + bytes(-len(data) % 4), "<u4")
    for given in (zl.Input(zl.Type.Serial, data), zl.Input(zl.Type.Numeric, padded)):
        compressor = zl.Compressor()
        compressor.set_parameter(zl.CParam.FormatVersion, zl.MAX_FORMAT_VERSION)
        compressor.select_starting_graph(zl.graphs.Compress()(compressor))
        context = zl.CCtx()
        context.ref_compressor(compressor)
        sizes.append(len(context.compress([given])))
    return min(sizes)


def nncodec(data: bytes) -> int:
    nnc = importlib.import_module("nncodec.tensor")
    total = 0
    rest = bytearray(data)
    for span in sorted(tensor_spans(data), key=lambda span: span.start):
        values = np.frombuffer(data[span.start : span.stop], {1: "i1", 4: "<f4"}.get(span.item_bytes, "u1"))
        if len(values) < LEAST_WEIGHTS or not np.isfinite(values).all():
            continue
        known, ranks = np.unique(values, return_inverse=True)
        if len(known) > 4096:
            continue
        common = np.bincount(ranks).argmax()
        integers = (ranks - common).astype(np.int32).reshape(span.shape)
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            coded = nnc.encode(integers, {"results": folder, "use_dq": False})
            if not np.array_equal(np.asarray(nnc.decode(coded)).reshape(-1), integers.reshape(-1)):
                raise SystemExit("nncodec is not exact here")
        total += len(coded) + len(lzma.compress(known.tobytes(), lzma.FORMAT_ALONE, preset=9))
        rest[span.start : span.stop] = bytes(span.size_bytes)
    return total + len(lzma.compress(bytes(rest), preset=9 | lzma.PRESET_EXTREME))


PEERS: dict[str, Callable[[bytes], int]] = {
    "zstd": zstd, "brotli": brotli, "zipnn": zipnn, "openzl": openzl, "nncodec": nncodec
}  # fmt: skip


def peer_sizes(data: bytes, python: str, names: list[str]) -> Iterator[tuple[str, int]]:
    yield "zlib", len(zlib.compress(data, 9))
    if "xz" in names:
        yield "xz", len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1] / "src")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(data)
        for name in filter(PEERS.__contains__, names):
            words = [python, __file__, "--only", name, str(path)]
            try:
                done = subprocess.run(
                    words, capture_output=True, timeout=PEER_SECONDS, env=environment, check=True
                )
                yield name, int(done.stdout.split()[-1])
            except (subprocess.SubprocessError, IndexError, ValueError):
                print(f"{name}: not installed, or it cannot compress this file", file=sys.stderr)


def measure(name: str, data: bytes, coders: list[str], repeats: int, sizes: dict[str, int]) -> dict[str, Any]:
    """Every figure of one file."""
    row: dict[str, Any] = {"file": name, "bytes": len(data), "peers": sizes, "coders": {}}
    deflated = zlib.compress(data, 9)
    for coder in coders:
        start = time.process_time()
        packed = codec.pack(data, coder=coder)
        encode_s = time.process_time() - start
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


def table(rows: list[dict[str, Any]]) -> str:
    """All sizes as Markdown; each coder of ours with its decode ratio."""
    peers = list(dict.fromkeys(name for row in rows for name in row["peers"]))
    coders = list(rows[0]["coders"])
    lines = [
        "| " + " | ".join(["file", "bytes", *peers, *coders]) + " |",
        "|---|" + "---:|" * (1 + len(peers + coders)),
    ]
    for row in rows:
        sizes = [f"{row['peers'][name]:,}" if name in row["peers"] else "" for name in peers]
        ours = [f"{one['bytes']:,} ({one['times_zlib']:.1f})" for one in row["coders"].values()]
        lines.append("| " + " | ".join([row["file"], f"{row['bytes']:,}", *sizes, *ours]) + " |")
    return "\n".join(lines)


def inputs(options: argparse.Namespace) -> Iterator[tuple[str, bytes, bool]]:
    """Name and bytes of each file, and whether peers are to try it."""
    for path in options.files:
        data = path.read_bytes()
        if path.suffix == ".net":
            data = net_tflite(path)
            yield path.name, data, True
            for count in filter(None, options.centroids.split(",")):
                yield f"{path.name}, {count} centroids", shared(data, int(count)), True
        else:
            yield path.name, codec.unpack(data) if codec.is_sqz(data) else data, True
    for name in filter(None, options.applications.split(",")):
        yield f"{name}, float", application(name), True
    if options.alexnet:
        for dtype in ("int8", "float32"):
            yield f"AlexNet, pruned, {dtype}", alexnet(dtype), False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument(
        "--centroids", default="", help="Requantize a .net to so many values a layer, e.g. 64,32,16."
    )
    parser.add_argument("--applications", default="", help="Names in keras.applications.")
    parser.add_argument("--alexnet", action="store_true")
    parser.add_argument("--coders", default="huffman,rans,small,auto")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument(
        "--peers", metavar="PYTHON", default=sys.executable, help="Python of an environment with peers."
    )
    parser.add_argument("--against", default="xz,zstd,brotli,zipnn,openzl,nncodec")
    parser.add_argument("--json", action="store_true", dest="as_json")
    parser.add_argument("--only", choices=PEERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(PEERS[options.only](options.files[0].read_bytes()))
        return
    rows = []
    for name, data, with_peers in inputs(options):
        names = options.against.split(",") if with_peers else []
        sizes = dict(peer_sizes(data, options.peers, names))
        rows.append(measure(name, data, options.coders.split(","), options.repeats, sizes))
        if not options.as_json:
            show(rows[-1])
    print(json.dumps(rows, indent=2) if options.as_json else table(rows))


if __name__ == "__main__":
    main()
