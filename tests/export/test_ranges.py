"""Trained ranges are in the file exactly; the others are calibrated."""

import warnings

import keras
import pytest
from keras import layers

from squeezekit import export
from squeezekit.export.ranges import set_ranges

from . import nets

RANGES = {
    "conv1_relu": (0.0, 3.0),
    "fire2_squeeze_relu": (0.0, 2.5),
    "fire2_concat": (0.0, 2.0),
    "fire2_one_relu": (0.0, 2.0),
    "fire2_three_relu": (0.0, 2.0),
    "last": (-30.0, 33.75),
}


def outputs(tflite, kind):
    """(scale, zero point) of the output of each operation of a kind, in order."""
    steps = [step for step in export.audit(tflite).operations if step.name == kind]
    return [(step.outputs[0].scales[0], step.outputs[0].zero_points[0]) for step in steps]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same network calibrated, and with some ranges given."""
    model, folder = nets.fire_net(batch_norm=False), tmp_path_factory.mktemp("files")
    files = []
    for name, ranges in (("calibrated", None), ("given", RANGES)):
        path = folder / f"{name}.tflite"
        export.litert(model, path, calibration=[nets.pictures(16, seed=7)], ranges=ranges)
        files.append(path.read_bytes())
    return model, *files


def test_given_ranges_are_exact_and_others_are_calibrated(both):
    _, calibrated, given = both
    steps = outputs(given, "CONV_2D")
    convolutions = ("conv1_relu", "fire2_squeeze_relu", "fire2_one_relu", "fire2_three_relu")
    for (scale, zero), name in zip(steps, convolutions, strict=False):
        assert scale == pytest.approx(RANGES[name][1] / 255, rel=1e-6), name
        assert zero == -128
    # The pool keeps the range of its input, and all of a concatenation have one.
    assert outputs(given, "MAX_POOL_2D") == steps[:1]
    assert outputs(given, "CONCATENATION")[0] == steps[2] == steps[3]
    assert outputs(given, "CONCATENATION")[1] == outputs(calibrated, "CONCATENATION")[1]
    assert steps[-1] == (pytest.approx(63.75 / 255, rel=1e-6), round(30 / 0.25) - 128)
    assert outputs(given, "MEAN") == outputs(calibrated, "MEAN")


def test_the_file_is_as_good_a_file_as_a_calibrated_one(both):
    model, calibrated, given = both
    graph = export.audit(given)
    assert graph.float_operations == ()
    assert graph.names == export.audit(calibrated).names
    assert (graph.inputs[0].scales, graph.outputs[0].scales) == ((1.0,), (1 / 256,))
    for step in graph.operations:
        if step.name == "CONV_2D":
            assert len(step.inputs[1].scales) == 1
    images = nets.pictures(100, seed=3)
    agreement = model(images).numpy().argmax(axis=1) == nets.run(given, images).argmax(axis=1)
    assert agreement.mean() >= 0.95


def test_ranges_and_scales_a_channel_go_together(both, tmp_path):
    export.litert(
        both[0],
        tmp_path / "m.tflite",
        calibration=[nets.pictures(16, seed=7)],
        ranges=RANGES,
        per_channel=True,
    )
    tflite = (tmp_path / "m.tflite").read_bytes()
    assert outputs(tflite, "CONV_2D")[:1] == outputs(both[2], "CONV_2D")[:1]
    assert all(
        len(step.inputs[1].scales) > 1 for step in export.audit(tflite).operations if step.name == "CONV_2D"
    )


def test_layers_in_nested_models_and_called_twice_are_found(tmp_path):
    """Shared and nested layers have several calls, and names with those of the models around them."""
    keras.utils.set_random_seed(0)
    inside = keras.Input((22, 22, 4))
    block = keras.Model(inside, layers.Conv2D(4, 3, padding="same", name="conv")(inside), name="block")
    image = keras.Input((24, 24, 3))
    x = block(block(layers.Conv2D(4, 3, name="first")(image)))
    head = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="fc"), layers.Softmax()], name="head")
    model = keras.Model(image, head(layers.GlobalAveragePooling2D()(x)))
    ranges = {"block/conv": (-200.0, 310.0), "head/fc": (-51.0, 76.5)}
    export.litert(model, tmp_path / "m.tflite", calibration=[nets.pictures(4)], ranges=ranges)
    tflite = (tmp_path / "m.tflite").read_bytes()
    assert outputs(tflite, "CONV_2D")[1:] == [(2.0, -28)] * 2
    assert outputs(tflite, "FULLY_CONNECTED") == [(0.5, 102 - 128)]


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"fire9": (0.0, 1.0)}, "'fire9'"),
        ({"last": (0.5, 1.0)}, "low <= 0 <= high"),
        ({"last": (0.0, 0.0)}, "low <= 0 <= high"),
        ({"last": (float("nan"), 1.0)}, "low <= 0 <= high"),
    ],
)
def test_ranges_that_cannot_be_are_refused(both, tmp_path, ranges, message):
    with pytest.raises(ValueError, match=message):
        export.litert(both[0], tmp_path / "m.tflite", calibration=[nets.pictures(2)], ranges=ranges)
    assert list(tmp_path.iterdir()) == []


def test_ranges_without_calibration_are_refused(both, tmp_path):
    with pytest.raises(ValueError, match="calibration images with ranges"):
        export.litert(both[0], tmp_path / "m.tflite", ranges=RANGES)


def test_a_range_of_an_output_that_the_file_does_not_have_warns(both, tmp_path):
    model = both[0]
    export.litert(model, tmp_path / "float.tflite")
    image = nets.pictures(1)[0].astype("float32")
    with pytest.warns(UserWarning, match="no output of conv1"):
        # What enters the ReLU that is fused into the convolution.
        set_ranges((tmp_path / "float.tflite").read_bytes(), model, {"conv1": (-1.0, 1.0)}, [image])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        set_ranges((tmp_path / "float.tflite").read_bytes(), model, {"conv1_relu": (0.0, 1.0)}, [image])


def test_the_same_ranges_give_the_same_bytes(both, tmp_path):
    export.litert(
        both[0], tmp_path / "again.tflite", calibration=[nets.pictures(16, seed=7)], ranges=dict(RANGES)
    )
    assert (tmp_path / "again.tflite").read_bytes() == both[2]
