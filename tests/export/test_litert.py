import os

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers

from squeezekit import compress, export
from squeezekit.export.litert import _exact_range
from squeezekit.preprocess import Preprocess

from . import nets

NETS = ("fire", "separable", "dense")
FIRE = ("CONV_2D", "CONV_2D", "CONV_2D", "CONCATENATION")


def weights(tflite):
    """(operation, int8 or float32 weights in LiteRT's layout) of each step that has weights, in order."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    graph, found = model.subgraphs[0], []
    types = {schema.TensorType.INT8: np.int8, schema.TensorType.FLOAT32: np.float32}
    names = export.audit(tflite).names
    for name, step in zip(names, graph.operators, strict=True):
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            tensor = graph.tensors[step.inputs[1]]
            values = model.buffers[tensor.buffer].data.view(types[tensor.type])
            found.append((name, values.reshape(tensor.shape)))
    return found


def in_litert_layout(layer):
    kernel = layer.get_weights()[0]
    if isinstance(layer, layers.DepthwiseConv2D):
        return kernel.reshape(1, *kernel.shape[:2], -1)
    return np.moveaxis(kernel, -1, 0)


@pytest.mark.parametrize("name", NETS)
def test_float_export_computes_what_keras_computes(exported, name):
    model, tflite = exported(name)
    images = nets.pictures(16)
    assert np.abs(nets.run(tflite, images) - model(images).numpy()).max() < 1e-5
    graph = export.audit(tflite)
    assert [(t.shape, t.dtype) for t in graph.inputs] == [((1, nets.SIDE, nets.SIDE, 3), "float32")]
    assert [(t.shape, t.dtype) for t in graph.outputs] == [((1, nets.CLASSES), "float32")]


def test_batch_norm_and_scaling_are_folded(exported):
    _, tflite = exported("fire")
    assert export.audit(tflite).names == (
        "CONV_2D",
        "MAX_POOL_2D",
        *FIRE,
        *FIRE,
        "CONV_2D",
        "MEAN",
        "SOFTMAX",
    )


def test_batch_norm_is_folded_into_depthwise_and_dense(tmp_path):
    image = keras.Input((8, 8, 3))
    x = nets.block(layers.DepthwiseConv2D(3, use_bias=False, name="depthwise"), image, True)
    x = nets.block(layers.Dense(5, name="dense"), layers.Flatten()(x), True)
    x = layers.Dense(2, name="last")(x)
    model = keras.Model(image, layers.Softmax()(x))
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights(
                [np.random.default_rng(0).uniform(0.5, 2, w.shape) for w in layer.get_weights()]
            )
    export.litert(model, tmp_path / "m.tflite")
    tflite = (tmp_path / "m.tflite").read_bytes()
    names = export.audit(tflite).names
    assert names == ("DEPTHWISE_CONV_2D", "RESHAPE", "FULLY_CONNECTED", "FULLY_CONNECTED", "SOFTMAX")
    images = nets.pictures(4, side=8)
    assert np.abs(nets.run(tflite, images) - model(images).numpy()).max() < 1e-5


@pytest.mark.parametrize(
    ("name", "per_channel"),
    [("fire", False), ("separable", False), ("separable", True), ("dense", False), ("dense", True)],
)
def test_full_integer_export_is_integer_throughout_and_agrees(exported, name, per_channel):
    model, tflite = exported(name, integer=True, per_channel=per_channel)
    graph = export.audit(tflite)
    assert graph.float_operations == ()
    assert {dtype for step in graph.operations for dtype in step.dtypes} <= {"int8", "uint8", "int32"}
    (given,), (result,) = graph.inputs, graph.outputs
    assert (given.dtype, given.scales, given.zero_points) == ("uint8", (1.0,), (0,))
    assert (result.dtype, result.scales, result.zero_points) == ("uint8", (1 / 256,), (0,))

    images = nets.pictures(200, seed=3)
    expected, measured = model(images).numpy(), nets.run(tflite, images)
    # The inputs must be worth the comparison: every class wins somewhere.
    assert set(expected.argmax(axis=1)) == set(range(nets.CLASSES))
    assert (expected.argmax(axis=1) == measured.argmax(axis=1)).mean() >= 0.95
    assert np.abs(expected - measured).mean() < 0.03
    assert np.abs(measured.sum(axis=1) - 1).max() <= nets.CLASSES / 256


@pytest.mark.parametrize("name", ["separable", "dense"])
def test_weights_have_one_scale_a_tensor_or_one_a_channel(exported, name):
    for per_channel in (False, True):
        _, tflite = exported(name, integer=True, per_channel=per_channel)
        for step in export.audit(tflite).operations:
            if step.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
                kernel = step.inputs[1]
                channels = kernel.shape[-1 if step.name == "DEPTHWISE_CONV_2D" else 0]
                assert kernel.dtype == "int8"
                assert len(kernel.scales) == (channels if per_channel else 1)
                assert set(kernel.zero_points) == {0}


def test_weights_on_the_grid_become_exactly_its_numbers(tmp_path):
    random = np.random.default_rng(5)
    for model in (nets.fire_net(separable=True, batch_norm=False), nets.dense_net()):
        steps = []
        for layer in model.layers:
            if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D | layers.Dense):
                kernel, *bias = layer.get_weights()
                k = random.choice([-127, -100, -64, -3, 0, 0, 0, 1, 31, 126, 127], kernel.shape)
                k.flat[0] = 127
                largest = np.float32(random.uniform(0.05, 3))
                layer.set_weights([np.float32(k) * largest / np.float32(127), *bias])
                steps.append((layer, k))
        path = tmp_path / f"{model.name}.tflite"
        export.litert(model, path, calibration=[nets.pictures(8)])
        by_name = {layer.name: k for layer, k in steps}
        stored = sorted((w for _, w in weights(path.read_bytes())), key=lambda w: (w.shape, w.tobytes()))
        expected = []
        for layer, _ in steps:
            layer.set_weights([np.float32(by_name[layer.name]), *layer.get_weights()[1:]])
            expected.append(in_litert_layout(layer).astype(np.int8))
        expected.sort(key=lambda w: (w.shape, w.tobytes()))
        assert len(stored) == len(expected)
        for got, wanted in zip(stored, expected, strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_a_compressed_network_keeps_its_codebook_and_its_zeros(tmp_path):
    model = nets.fire_net(separable=True, batch_norm=False)
    hooked = compress.apply(
        model, compress.parse("prune(0.6, schedule='constant', smallest=1) | share(bits=4) | quantize(8)")
    )
    with pytest.raises(ValueError, match="strip it first"):
        export.litert(hooked, tmp_path / "m.tflite")
    plain = compress.strip(hooked)
    export.litert(plain, tmp_path / "m.tflite", calibration=[nets.pictures(8)])
    kernels = [
        in_litert_layout(layer)
        for layer in plain.layers
        if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D)
    ]
    stored = [values for _, values in weights((tmp_path / "m.tflite").read_bytes())]
    assert len(stored) == len(kernels)
    # The graph's order may differ from Keras's between branches: match by shape, zeros and sizes.
    for shape in {kernel.shape for kernel in kernels}:
        float_sets = sorted((int((k == 0).sum()), len(np.unique(k))) for k in kernels if k.shape == shape)
        int_sets = sorted((int((k == 0).sum()), len(np.unique(k))) for k in stored if k.shape == shape)
        for (float_zeros, float_values), (int_zeros, int_values) in zip(float_sets, int_sets, strict=True):
            assert int_zeros >= float_zeros
            assert int_values <= float_values <= 17


@pytest.mark.parametrize("integer", [False, True])
def test_exporting_twice_gives_the_same_bytes(exported, tmp_path, integer):
    model, first = exported("separable", integer=integer)
    export.litert(
        model,
        tmp_path / "again.tflite",
        # In batches of another size: only the images count.
        calibration=np.split(nets.pictures(48, seed=7), 4) if integer else None,
        labels=["ant", "bee", "çat", "犬"],
        provenance={"recipe": "prune(0.5)"},
    )
    assert (tmp_path / "again.tflite").read_bytes() == first


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float16"])
def test_half_precision_is_exported_in_float32(tmp_path, policy):
    image = keras.Input((8, 8, 3), dtype="float32")
    x = layers.Conv2D(4, 3, activation="relu", dtype=policy)(image)
    inner = keras.Sequential([keras.Input((6, 6, 4)), layers.Conv2D(2, 1, dtype=policy)])
    x = layers.GlobalAveragePooling2D(dtype=policy)(inner(x))
    model = keras.Model(image, layers.Softmax(dtype="float32")(x))
    export.litert(model, tmp_path / "m.tflite")
    tflite = (tmp_path / "m.tflite").read_bytes()
    types = {dtype for step in export.audit(tflite).operations for dtype in step.dtypes}
    assert types <= {"float32", "int32"}
    images = nets.pictures(8, side=8)
    assert np.abs(nets.run(tflite, images) - model(images).numpy()).max() < 0.02


@pytest.mark.parametrize(("low", "high"), [(0, 255), (90, 140), (128, 128)])
def test_the_range_of_the_calibration_is_made_exact(low, high):
    images = list(np.linspace(low, high, 2 * 4 * 4 * 3, dtype=np.float32).reshape(2, 4, 4, 3))
    fixed = np.stack(_exact_range(images))
    assert (fixed.min(), fixed.max()) == (0, 255)
    assert (fixed != np.stack(images)).sum() <= 2


def test_success_prints_nothing_and_failure_gives_standard_error_back(exported, tmp_path, capfd):
    model, _ = exported("dense")
    export.litert(model, tmp_path / "m.tflite", calibration=[nets.pictures(4)])
    assert capfd.readouterr() == ("", "")
    before = (tmp_path / "m.tflite").read_bytes()
    image = keras.Input((8, 8, 3))
    x = layers.Flatten()(keras.ops.fft2((image, image))[0])
    with pytest.raises(ValueError, match="network that LiteRT can express"):
        export.litert(keras.Model(image, layers.Softmax()(layers.Dense(2)(x))), tmp_path / "m.tflite")
    os.write(2, b"still here")
    assert capfd.readouterr() == ("", "still here")
    # Nothing half-written: the earlier file stays.
    assert (tmp_path / "m.tflite").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["m.tflite"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ["a", "b"]}, "4 labels"),
        ({"labels": ["a", "b", "c", "c"]}, "differ"),
        ({"labels": ["a", "b", "c", "d\ne"]}, "one line"),
        ({"labels": ["a", "b", "c", ""]}, "one line"),
        ({"preprocess": Preprocess(32, 24)}, "24x24"),
        ({"provenance": {"x": object()}}, "plain JSON"),
        ({"provenance": {"x": float("nan")}}, "plain JSON"),
        ({"per_channel": True}, "calibration"),
        ({"calibration": []}, "at least one calibration image"),
        ({"calibration": [np.zeros((24, 24, 3))]}, "batches of shape"),
        ({"calibration": [np.zeros((1, 24, 25, 3))]}, "batches of shape"),
        ({"calibration": [np.full((1, 24, 24, 3), 256)]}, r"\[0, 255\]"),
        ({"calibration": [np.full((1, 24, 24, 3), np.nan)]}, r"\[0, 255\]"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(exported, tmp_path, arguments, message):
    model, _ = exported("dense")
    with pytest.raises(ValueError, match=message):
        export.litert(model, tmp_path / "m.tflite", **arguments)
    assert list(tmp_path.iterdir()) == []


def _network(shape=(8, 8, 3), dtype="float32", activation="softmax"):
    image = keras.Input(shape, dtype=dtype)
    x = layers.GlobalAveragePooling2D()(image)
    return keras.Model(image, layers.Dense(2, activation=activation)(x))


def _diverged():
    model = _network()
    kernel, bias = model.layers[-1].get_weights()
    kernel[0, 0] = np.nan
    model.layers[-1].set_weights([kernel, bias])
    return model


def test_an_operation_without_integers_is_named(tmp_path):
    image = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(keras.ops.sin(image))
    model = keras.Model(image, layers.Dense(2, activation="softmax")(x))
    with pytest.raises(ValueError, match=r"SIN, which is float"):
        export.litert(model, tmp_path / "m.tflite", calibration=[nets.pictures(4, side=8)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: keras.Sequential([layers.Dense(2)]), "functional"),
        (lambda: _network((8, 8, 1)), "float input"),
        (lambda: _network((None, 8, 3)), "float input"),
        (lambda: _network(dtype="uint8"), "float input"),
        (lambda: keras.Sequential([keras.Input((8, 8, 3)), layers.Softmax()]), "output of shape"),
        (lambda: _network(activation="sigmoid"), "ends in softmax"),
        (_diverged, "finite weights"),
    ],
)
def test_other_networks_are_refused(tmp_path, build, message):
    with pytest.raises(ValueError, match=message):
        export.litert(build(), tmp_path / "m.tflite")
    assert list(tmp_path.iterdir()) == []


def test_a_plain_sequential_classifier_is_welcome(tmp_path):
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(2, activation="softmax")]
    )
    export.litert(model, tmp_path / "m.tflite")
    images = nets.pictures(3, side=8)
    assert np.abs(nets.run((tmp_path / "m.tflite").read_bytes(), images) - model(images).numpy()).max() < 1e-5
