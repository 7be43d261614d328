"""A small study, for a test's own process or for one that the test kills: over and over the same."""

import dataclasses
import sys
from pathlib import Path

import keras

from squeezekit import experiment, models, training

EPOCHS, COMPRESS_EPOCHS = 4, 3


def squeezenet(input_shape, classes, *, width=1.0, dropout=0.0, norm="none", fire="standard"):
    """Stands for SqueezeNet: three layers to trace instead of sixty."""
    pixels = keras.Input(input_shape, name="pixels")
    x = keras.layers.Rescaling(1 / 64, offset=-2.0, name="scale")(pixels)
    x = keras.layers.Conv2D(8, 3, strides=2, use_bias=False, name="conv")(x)
    x = keras.layers.ReLU(name="relu")(keras.layers.BatchNormalization(name="norm")(x))
    if fire == "separable":
        x = keras.layers.DepthwiseConv2D(3, strides=2, use_bias=False, name="wide_depthwise")(x)
    size, strides = (1, 1) if fire == "separable" else (3, 2)
    x = keras.layers.Conv2D(round(32 * width), size, strides=strides, activation="relu", name="wide")(x)
    x = keras.layers.Dropout(dropout, name="dropout")(keras.layers.GlobalAveragePooling2D(name="mean")(x))
    x = keras.layers.Dense(classes, name="classes")(x)
    return keras.Model(pixels, keras.layers.Softmax(name="softmax", dtype="float32")(x), name="small")


def alexnet(input_shape, classes, *, width=1.0):
    """Stands for AlexNet: merely larger."""
    return squeezenet(input_shape, classes, width=4 * width)


def separable(input_shape, classes, **options):
    """The same with separable modules."""
    return squeezenet(input_shape, classes, fire="separable", **options)


SMALL = {
    name: dataclasses.replace(models.MODELS[name], build=build)
    for name, build in (
        ("alexnet", alexnet),
        ("squeezenet-1.1-bypass", squeezenet),
        ("squeezenet-1.1-separable-bypass", separable),
    )
}


def plan(techniques=("prune", "quantize", "coder"), **changes):
    """Eight rows and AlexNet's, of five trainings, unless a test wants others."""
    settings = training.Settings(epochs=EPOCHS, batch_size=8, precision=training.Precision.FLOAT32)
    levels = ("none", "small") if "coder" in techniques else ()
    if "prune" in techniques:
        levels = (*levels, "prune(0.6, smallest=0)")
    usual = {"settings": settings, "compress_epochs": COMPRESS_EPOCHS, "size": 32, "probes": 1}
    lines = experiment.grid(techniques=techniques, levels=levels)
    return experiment.Experiment(lines=lines, **{**usual, **changes})


def main(images: str, out: str) -> None:
    models.MODELS.update(SMALL)
    experiment.run_study(images, Path(out), plan())


if __name__ == "__main__":
    main(*sys.argv[1:])
