"""How often the integer file and the network that was trained with fake quantization agree.

    python benchmarks/int8_agreement.py OUT/stages/KEY/hooked.keras DATA [--json]

It takes the network as `squeezekit compress` or `squeezekit squeeze` trained it, with its hooks, and exports it with
its trained ranges. It runs both on the test images: the Keras model in float32 with its fake quantization, the file in
`squeezekit.runtime`. It prints the share of images with the same top class, the accuracy of each, and the difference
of the probabilities.
"""

import argparse
import json
import tempfile
from pathlib import Path

import keras
import numpy as np

from squeezekit import compress, experiment, export, models, runtime
from squeezekit.data import Dataset, open_dataset

BATCH = 64


def compare(hooked: keras.Model, dataset: Dataset, tflite: Path) -> dict[str, float | int]:
    """Export to `tflite` and run both.

    Args:
        hooked: what `compress.apply` returned, trained.
        dataset: calibrates on `train`, is compared on `test`.
        tflite: the file to write.
    """
    height, width = hooked.input_shape[1:3]
    if height != width:
        raise ValueError(f"Expected a network for square images. Received: {height}x{width}.")
    preprocess = experiment.choose_preprocess(dataset, height)
    ranges = compress.activation_ranges(hooked)
    export.litert(
        models.fold_batch_norm(compress.strip(hooked)),
        tflite,
        calibration=export.calibration_batches(dataset.train, preprocess),
        labels=dataset.class_names,
        preprocess=preprocess,
        ranges=ranges,
    )
    return {"trained_ranges": len(ranges)} | beside(hooked, dataset, tflite)


def beside(trained: keras.Model, dataset: Dataset, tflite: Path) -> dict[str, float | int]:
    """Run the trained network and its exported file on the test images, on the runtime's pixels."""
    network = runtime.load(tflite)
    expected, received = [], []
    for start in range(0, len(dataset.test), BATCH):
        pixels = np.stack([network.pixels(path) for path in dataset.test.paths[start : start + BATCH]])
        expected.append(keras.ops.convert_to_numpy(trained.predict_on_batch(pixels.astype(np.float32))))
        received.append(network.probabilities(pixels))
    fake, integer = np.concatenate(expected), np.concatenate(received)
    truth = dataset.test.labels
    return {
        "images": len(truth),
        "agreement": float(np.mean(fake.argmax(axis=1) == integer.argmax(axis=1))),
        "keras_top1": float(np.mean(fake.argmax(axis=1) == truth)),
        "litert_top1": float(np.mean(integer.argmax(axis=1) == truth)),
        "mean_difference": float(np.abs(fake - integer).mean()),
        "file_bytes": tflite.stat().st_size,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, metavar="MODEL.keras")
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = compare(
            models.load(arguments.model), open_dataset(arguments.data), Path(folder) / "network.tflite"
        )
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"agreement    {found['agreement']:.2%} of {found['images']:,} images")
    print(f"Keras        {found['keras_top1']:.2%} right, with fake quantization")
    print(f"LiteRT       {found['litert_top1']:.2%} right, {found['file_bytes']:,} bytes")
    print(f"difference   {found['mean_difference']:.4f} of a probability on average")
    print(f"ranges       {found['trained_ranges']} layers have trained ranges; the others are calibrated")


if __name__ == "__main__":
    main()
