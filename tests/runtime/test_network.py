import json
import subprocess
import sys

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from squeezekit.errors import FormatError
from squeezekit.runtime import Network
from tiny_classifiers import HEIGHT, WIDTH, tflite


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(2).integers(0, 256, (5, HEIGHT, WIDTH, 3), np.uint8)


def litert(data: bytes, batch: np.ndarray) -> np.ndarray:
    """What LiteRT gives for inputs already in its own type: the raw output, image by image."""
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for image in batch:
        interpreter.set_tensor(source["index"], image[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(result["index"])[0].copy())
    return np.array(rows)


@pytest.mark.parametrize("name", ["colours", "places", "any batch"])
def test_float_networks_give_what_litert_gives(name, pixels):
    network = Network(tflite(name))
    assert network.input_shape == (1, HEIGHT, WIDTH, 3)
    found = network.probabilities(pixels)
    assert found.dtype == np.float32
    assert found.shape == (5, network.classes)
    np.testing.assert_array_equal(found, litert(tflite(name), pixels.astype(np.float32)))


@pytest.mark.parametrize("name", ["colours", "places"])
def test_uint8_networks_take_the_bytes_as_they_are(name, pixels):
    found = Network(tflite(name, "uint8")).probabilities(pixels)
    raw = litert(tflite(name, "uint8"), pixels)
    assert raw.dtype == np.uint8
    np.testing.assert_array_equal(found, raw / np.float32(256))
    np.testing.assert_allclose(found, Network(tflite(name)).probabilities(pixels), atol=0.05)


@pytest.mark.parametrize("name", ["colours", "places"])
def test_int8_networks_take_the_bytes_shifted(name, pixels):
    found = Network(tflite(name, "int8")).probabilities(pixels)
    raw = litert(tflite(name, "int8"), (pixels.astype(np.int16) - 128).astype(np.int8))
    assert raw.dtype == np.int8
    np.testing.assert_array_equal(found, (raw.astype(np.float32) + 128) / 256)
    np.testing.assert_allclose(found, Network(tflite(name)).probabilities(pixels), atol=0.05)


@pytest.mark.parametrize(("integers", "tolerance"), [("", 1e-6), ("uint8", 0.1), ("int8", 0.1)])
def test_logits_go_through_a_softmax(integers, tolerance, pixels):
    found = Network(tflite("logits", integers)).probabilities(pixels)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(found, Network(tflite("colours")).probabilities(pixels), atol=tolerance)


def test_a_network_of_any_size_takes_the_size_that_it_is_given():
    network = Network(tflite("any size"), size=(9, 20))
    assert network.input_shape == (1, 9, 20, 3)
    green = np.zeros((1, 9, 20, 3), np.uint8)
    green[..., 1] = 200
    assert network.probabilities(green).argmax() == 1


def test_no_images_give_no_rows():
    assert Network(tflite("colours")).probabilities(np.empty((0, HEIGHT, WIDTH, 3), np.uint8)).shape == (0, 3)


def test_two_threads_give_the_same(pixels):
    two, one = Network(tflite("places"), threads=2), Network(tflite("places"))
    np.testing.assert_allclose(two.probabilities(pixels), one.probabilities(pixels), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("two inputs", "2 inputs"),
        ("grey", r"\(1, 16, 12, 1\)"),
        ("batch of 2", r"\(2, 16, 12, 3\)"),
        ("picture to picture", r"\(1, 14, 10, 2\)"),
        ("any size", "fixed height and width"),
    ],
)
def test_what_is_no_image_classifier_is_the_callers_mistake(name, words):
    with pytest.raises(ValueError, match=rf"^Expected .*Received: .*{words}|^Expected .*{words}.*Received: "):
        Network(tflite(name))


def test_settings_for_another_size_are_a_broken_file():
    with pytest.raises(FormatError, match="96x96"):
        Network(tflite("colours"), size=(96, 96))


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, 10_000])
def test_threads_out_of_range(threads):
    with pytest.raises(ValueError, match="threads"):
        Network(tflite("colours"), threads=threads)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((HEIGHT, WIDTH, 3), np.uint8),
        np.zeros((1, WIDTH, HEIGHT, 3), np.uint8),
        np.zeros((1, HEIGHT, WIDTH, 3), np.float32),
    ],
)
def test_pixels_of_another_shape_or_type(wrong):
    with pytest.raises(ValueError, match=r"Expected uint8 pixels of shape \(images, 16, 12, 3\)"):
        Network(tflite("colours")).probabilities(wrong)


@pytest.mark.parametrize("data", [b"", b"\0" * 64, b"\x1c\0\0\0TFL3" + b"\0" * 64])
def test_what_litert_cannot_open_is_a_broken_file(data):
    with pytest.raises(FormatError, match="LiteRT"):
        Network(data)


def test_weights_that_are_not_numbers_are_a_broken_file():
    data = tflite("colours")
    weight = np.float32(8).tobytes()
    assert data.count(weight) >= 3
    with pytest.raises(FormatError, match="not a number"):
        Network(data.replace(weight, np.float32(np.nan).tobytes()))


# Run apart: should LiteRT crash on one of these files, one test fails by name and not the whole run.
DAMAGE = """
import json, sys
import numpy as np
from squeezekit.errors import FormatError
from squeezekit.runtime import Network

counts = {"refused": 0, "ran": 0}
def attempt(data):
    try:
        Network(bytes(data))
        counts["ran"] += 1
    except (FormatError, ValueError):
        counts["refused"] += 1

data = open(sys.argv[1], "rb").read()
for length in range(0, len(data), 23):
    attempt(data[:length])
scale, zero = np.float32(1 / 256).tobytes(), np.int64(-128).tobytes()
for pattern, bad in [(scale, np.float32(-1 / 256)), (scale, np.float32(np.nan)), (zero, np.int64(-640))]:
    damaged = data.replace(pattern, bad.tobytes())
    assert damaged != data
    attempt(damaged)
print(json.dumps(counts))
"""


def test_damage_never_crashes_the_process(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite("colours", "uint8"))
    done = subprocess.run(
        [sys.executable, "-c", DAMAGE, str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    # A file cut within the padding after its last table is still whole.
    assert counts["refused"] > 10 * counts["ran"]
