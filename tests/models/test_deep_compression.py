"""The published Deep Compression network: its layout against a writer, its figures where the file is at hand."""

import os
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import net_files
from squeezekit import export, models, runtime
from squeezekit.errors import FormatError
from squeezekit.models import published_net

DATA = Path(os.environ.get("SQUEEZEKIT_DATA", Path(__file__).parents[3] / "shared" / "data"))
PUBLISHED = DATA / "deep-compression" / "compressed_SqueezeNet.net"
SAMPLE = DATA / "imagenet-sample"
needs_published = pytest.mark.skipif(not PUBLISHED.is_file(), reason="the published .net is not here")

SMALL = [(4, 3, 3, 3), (5, 4, 1, 1)]


def parse(data, shapes=SMALL):
    return published_net._parse(data, [(rows, columns, i, o) for o, i, rows, columns in shapes])


@pytest.fixture(scope="module")
def layers():
    return net_files.weights(net_files.published_shapes())


@pytest.fixture(scope="module")
def model(layers, tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "synthetic.net"
    path.write_bytes(net_files.write(layers))
    return models.load_net(path)


def test_what_is_written_is_read(layers):
    read = parse(net_files.write(layers), net_files.published_shapes())
    for (kernel, bias), (array, published) in zip(read, layers, strict=True):
        np.testing.assert_array_equal(kernel, array.transpose(2, 3, 1, 0))
        np.testing.assert_array_equal(bias, published)


def test_the_network_is_the_published_one(model, layers):
    assert model.count_params() == 1_248_424
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    for layer, (array, bias) in zip(convolutions[1:], layers[1:], strict=True):
        np.testing.assert_array_equal(layer.get_weights()[0], array.transpose(2, 3, 1, 0))
        np.testing.assert_array_equal(layer.get_weights()[1], bias)
    sides = {name: model.get_layer(name).output.shape[1] for name in ("conv1", "pool1", "pool4", "conv10")}
    assert sides == {"conv1": 111, "pool1": 55, "pool4": 27, "conv10": 15}


def test_the_first_layer_sees_what_it_was_trained_on(model, layers):
    pixels = np.random.default_rng(1).integers(0, 256, (1, 227, 227, 3)).astype(np.float32)
    first = keras.Model(model.input, model.get_layer("conv1").output)
    (array, bias), bgr = layers[0], pixels[0, :, :, ::-1].astype(np.float64) - (104, 117, 123)
    windows = np.lib.stride_tricks.sliding_window_view(bgr, (7, 7), axis=(0, 1))[::2, ::2]
    expected = np.einsum("hwcij,ocij->hwo", windows, array.astype(np.float64)) + bias
    np.testing.assert_allclose(first.predict(pixels, verbose=0)[0], expected, rtol=1e-4, atol=1e-2)


def test_the_border_of_the_last_layer_is_its_bias(model):
    last = keras.Model(model.input, model.get_layer("conv10_relu").output)
    scores = last.predict(np.zeros((1, 227, 227, 3), np.float32), verbose=0)[0]
    np.testing.assert_array_equal(scores[0, 7], np.maximum(model.get_layer("conv10").get_weights()[1], 0))


def float_weights(tflite):
    """Weights and bias of each convolution in a float `.tflite`, in order, as LiteRT has them."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    graph = model.subgraphs[0]
    names = export.audit(tflite).names
    for name, step in zip(names, graph.operators, strict=True):
        if name == "CONV_2D":
            tensors = [graph.tensors[index] for index in step.inputs[1:3]]
            yield [model.buffers[tensor.buffer].data.view("<f4").reshape(tensor.shape) for tensor in tensors]


def test_an_exported_file_holds_the_published_weights_bit_for_bit(model, layers, tmp_path):
    export.litert(model, tmp_path / "m.tflite", preprocess=models.NET_PREPROCESS)
    tflite = (tmp_path / "m.tflite").read_bytes()
    exported = list(float_weights(tflite))
    assert len(exported) == len(layers)
    # Branches of a fire module may be written in any order.
    held = {(kernel.shape, kernel.tobytes()) for kernel, _ in exported}
    expected = [array.transpose(0, 2, 3, 1) for array, _ in layers]
    expected[0] = expected[0][..., ::-1]
    assert held == {(kernel.shape, kernel.tobytes()) for kernel in expected}
    assert export.audit(tflite).names.count("PAD") == 1
    assert "ADD" not in export.audit(tflite).names


def test_every_truncation_is_named():
    whole = net_files.write(net_files.weights(SMALL))
    parse(whole)
    for length in range(len(whole)):
        with pytest.raises(FormatError, match="ends in"):
            parse(whole[:length])
    with pytest.raises(FormatError, match="goes on"):
        parse(whole + b"\0")


def test_every_changed_byte_is_named_or_gives_weights():
    whole = net_files.write(net_files.weights(SMALL))
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 0xFF
        try:
            weights = parse(bytes(changed))
        except FormatError:
            continue
        assert [kernel.shape for kernel, _ in weights] == [(3, 3, 3, 4), (1, 1, 4, 5)]
        assert all(np.isfinite(array).all() for pair in weights for array in pair)


@pytest.mark.parametrize(
    ("offset", "written", "message"),
    [
        (0, b"\xff\xff\xff\xff", "4,294,967,295 weights stored for a layer of 108"),
        (8, b"\0\0\x80\x3f", "does not begin with 0"),
        (12, b"\0\0\xc0\x7f", "no weights"),
        (12, b"\0\0\x80\x7f", "no weights"),
        (8 + 1024, b"\0\0\x80\xff", "no weights"),
    ],
)
def test_lies_are_named(offset, written, message):
    whole = bytearray(net_files.write(net_files.weights(SMALL)))
    whole[offset : offset + len(written)] = written
    with pytest.raises(FormatError, match=message):
        parse(bytes(whole))


def test_gaps_beyond_the_layer_are_named():
    filled = net_files.write([(np.ones(shape, np.float32), np.zeros(shape[0])) for shape in SMALL])
    changed = bytearray(filled)
    changed[8 + 1024 + 16 + 108] = 0x01
    with pytest.raises(FormatError, match="past the end"):
        parse(bytes(changed))


def test_the_longest_file_is_read_and_no_more(tmp_path):
    sizes = [np.prod(shape) for shape in net_files.published_shapes()]
    biases = sum(shape[0] for shape in net_files.published_shapes())
    assert 26 * 1028 + 4 * biases + sum(n + (n + 1) // 2 for n in sizes) == published_net._MAX_BYTES
    with open(tmp_path / "huge.net", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(FormatError, match=r"huge\.net: not a Deep Compression SqueezeNet \(goes on"):
        models.load_net(tmp_path / "huge.net")
    with pytest.raises(FileNotFoundError):
        models.load_net(tmp_path / "missing.net")


@needs_published
def test_the_published_file_has_the_published_number_of_weights():
    weights = parse(PUBLISHED.read_bytes(), net_files.published_shapes())
    assert sum(kernel.size + bias.size for kernel, bias in weights) == 1_248_424
    assert sum(np.count_nonzero(kernel) for kernel, _ in weights) == 415_921


@needs_published
@pytest.mark.slow
@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the sample of ImageNet is not here")
def test_the_published_network_knows_imagenet(tmp_path):
    labels = (SAMPLE / "labels.txt").read_text().split()
    images = sorted((SAMPLE / "images").glob("*/*"))[::5]
    export.litert(
        models.load_net(PUBLISHED),
        tmp_path / "imagenet.tflite",
        labels=labels,
        preprocess=models.NET_PREPROCESS,
    )
    model = runtime.load(tmp_path / "imagenet.tflite")
    right = sum(model.predict(path).label == path.parent.name for path in images)
    assert right / len(images) > 0.55
