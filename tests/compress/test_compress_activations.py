"""Grids between layers: their formula, their places, what they learn, and that `strip` removes them."""

import compress_nets as nets
import keras
import numpy as np
import pytest
from keras import layers, ops

from squeezekit import compress
from squeezekit.compress.techniques.activations import ActivationGrid, Phase
from squeezekit.compress.transform import TrainingProgress

GRIDS = "quantize(8, activations=8)"


def fresh(**settings):
    """A grid that has seen nothing."""
    made = ActivationGrid(["x"], **settings)
    made.build((None, 3))
    return made


def grid(low, high, **settings):
    """A grid that has seen one batch from `low` to `high`, and is fixed."""
    made = fresh(**settings)
    made(np.array([[low, high]], "float32"), training=True)
    made.advance(TrainingProgress(1, 1))
    return made


def reference(x, low, high):
    """LiteRT's scale and zero point, and its quantization there and back, in float64."""
    low, high = min(low, 0), max(high, 0)
    scale = (high - low) / 255
    zero = np.floor(-low / scale + 0.5)
    steps = np.clip(np.floor(x.astype(np.float64) / scale + 0.5) + zero, 0, 255)
    return (steps - zero) * scale, scale, zero


@pytest.mark.parametrize(("low", "high"), [(-1.3, 2.1), (0.4, 6.0), (-7.0, -0.5), (0.0, 0.01), (-100.0, 3.0)])
def test_the_grid_is_the_affine_one_that_holds_zero(low, high):
    x = np.random.default_rng(0).uniform(1.5 * low - 1, 1.5 * high + 1, (64, 64)).astype("float32")
    x[0, 0] = 0
    made = grid(low, high)
    received = ops.convert_to_numpy(made(x))
    expected, scale, zero = reference(x, np.float32(low), np.float32(high))
    off = np.abs(received - expected) / scale
    # A value half-way between two steps may go either way in float32.
    assert (off > 1e-3).mean() < 1e-3
    assert off.max() < 1.001
    assert received[0, 0] == 0
    assert np.unique(received).size <= 256
    assert made.range == pytest.approx((-zero * scale, (255 - zero) * scale))


def test_ranges_are_averages_of_the_batches_extremes_until_they_are_fixed():
    made = fresh(observe=0.5)
    made.advance(TrainingProgress(0, 10))
    random = np.random.default_rng(0)
    batches = [random.normal(size=(4, 3)).astype("float32") for _ in range(6)]
    low = high = 0.0
    for count, batch in zip((0, 1, 2, 98, 500, 501), batches, strict=True):
        made.batches.assign(count)
        made(batch, training=True)
        rate = max(1 / (count + 1), 0.01)
        low, high = low + rate * (batch.min() - low), high + rate * (batch.max() - high)
    assert float(ops.convert_to_numpy(made.low.value)) == pytest.approx(low, rel=1e-4)
    assert float(ops.convert_to_numpy(made.high.value)) == pytest.approx(high, rel=1e-4)
    made(100 * batches[0])  # not in training
    made.advance(TrainingProgress(4, 10))
    assert made.pending
    made.advance(TrainingProgress(5, 10))
    assert not made.pending
    before = made.range
    made(100 * batches[0], training=True)
    assert made.range == before


def test_nothing_is_rounded_before_it_begins_or_before_anything_was_seen():
    x = np.array([[0.1234, -0.777, 1.0]], "float32")
    made = fresh(begin=0.5)
    assert made.range is None
    made.advance(TrainingProgress(0, 10))
    np.testing.assert_array_equal(ops.convert_to_numpy(made(x)), x)
    np.testing.assert_array_equal(ops.convert_to_numpy(made(x, training=True)), x)
    made.advance(TrainingProgress(5, 10))
    assert int(made.phase.value) == Phase.ROUNDING
    assert not np.array_equal(ops.convert_to_numpy(made(x)), x)
    never_seen = fresh()
    never_seen.advance(TrainingProgress(1, 1))
    np.testing.assert_array_equal(ops.convert_to_numpy(never_seen(x)), x)


@pytest.mark.parametrize(
    ("low", "high", "exact"),
    [(0, 255, True), (3, 251.5, True), (0, 1, False), (-1, 200, False), (0, 256, False)],
)
def test_an_input_of_pixels_has_exactly_their_range(low, high, exact):
    made = grid(low, high, pixels=True)
    assert (made.range == (0, 255)) == exact
    if exact:
        pixels = np.arange(256, dtype="float32")
        np.testing.assert_array_equal(ops.convert_to_numpy(made(pixels)), pixels)


def test_what_is_clipped_moves_a_learned_range_and_nothing_else_does():
    """The gradient of PACT for both bounds, times what multiplies them, times LSQ's scale."""
    low, high = -1.0, 2.0
    made = grid(low, high, learned=True)
    x = np.array([[-3.0, -0.5, 0.0, 1.5, 2.5, 4.0]], "float32")
    upstream = np.array([[1.0, 10.0, 100.0, 1000.0, 0.5, 0.25]], "float32")
    model = keras.Sequential([keras.Input((6,)), layers.Dense(6, use_bias=False, name="fc"), made])
    model.get_layer("fc").kernel.assign(np.eye(6))
    weigh = ops.convert_to_tensor(upstream)
    model.compile(
        keras.optimizers.SGD(1.0), loss=lambda truth, guess: ops.sum(weigh * guess), jit_compile=False
    )
    model.train_on_batch(x, np.zeros((1, 6), "float32"))
    slow = 1 / np.sqrt(x.size * 255)
    nudged, _, _ = reference(np.array([low, high], "float32"), low, high)
    factors = [float(ops.convert_to_numpy(factor.value)) for factor in made.factors]
    np.testing.assert_allclose(factors, [-1.0 * low * slow, -0.75 * high * slow], rtol=1e-5)
    # Straight through inside, nothing outside.
    kernel = ops.convert_to_numpy(model.get_layer("fc").kernel.value)
    passed = np.where((x > nudged[0]) & (x < nudged[1]), upstream, 0)
    np.testing.assert_allclose(np.eye(6) - kernel, x.T @ passed, rtol=1e-5)


def grids_of(model):
    """{the layer that a grid is behind: the others whose outputs are on it}, nested models included."""
    found = {}
    for layer in model._flatten_layers():
        if isinstance(layer, ActivationGrid):
            found[layer.of[0]] = set(layer.of[1:])
    return found


def everything():
    entry = keras.Input((16, 16, 3), name="image")
    x = layers.Rescaling(1 / 64, -2.0, name="scale")(entry)
    x = layers.Conv2D(8, 3, name="conv", use_bias=False)(x)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    x = layers.MaxPooling2D(name="pool")(x)
    one = layers.Conv2D(8, 1, activation="relu", name="one")(x)
    three = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    three = layers.ReLU(max_value=6, name="three_relu")(layers.Conv2D(8, 1, name="three")(three))
    inner = layers.Concatenate(name="inner")([one, layers.Dropout(0.1, name="drop")(three)])
    other = layers.Conv2D(4, 1, name="other")(x)
    x = layers.Concatenate(name="concat")([inner, layers.MaxPooling2D(1, name="same")(other)])
    y = layers.Conv2D(20, 1, name="linear")(x)
    x = layers.Activation("relu", name="add_relu")(layers.Add(name="sum")([x, y]))
    x = keras.ops.add(x, y)  # copies rename an operation, so it is known by what it reads
    x = layers.Conv2D(20, 1, activation="silu", name="smooth")(x)
    x = layers.Flatten(name="flat")(layers.GlobalAveragePooling2D(name="mean")(x))
    return keras.Model(entry, layers.Dense(4, activation="softmax", name="fc")(x), name="everything")


def test_grids_are_where_integer_kernels_quantize_again():
    assert grids_of(compress.apply(everything(), GRIDS)) == {
        "image": set(),
        "relu": set(),
        "depthwise": set(),
        # One scale for all that a concatenation holds, also through pools, dropout and another one.
        "concat": {"one", "three_relu", "inner", "other"},
        "linear": set(),
        "add_relu": set(),
        "add(add_relu, linear)": set(),
        "smooth": set(),
        "smooth_activation": set(),
        "mean": set(),
        "fc": set(),
    }


def test_a_branch_that_goes_elsewhere_too_keeps_a_grid_of_its_own():
    entry = keras.Input((8, 8, 3), name="entry")
    x = layers.Conv2D(4, 1, name="both")(entry)
    y = layers.Conv2D(4, 1, name="branch")(x)
    model = keras.Model(entry, layers.Concatenate(name="concat")([x, y, entry]))
    assert grids_of(compress.apply(model, GRIDS)) == {"entry": set(), "both": set(), "concat": {"branch"}}


def test_nested_and_sequential_models_get_theirs():
    hooked = compress.apply(nets.fire_net(), GRIDS)
    assert set(grids_of(hooked)) >= {"conv1", "concat", "block/depthwise", "head/fc"}
    assert [layer.name for layer in hooked.get_layer("head").layers] == ["fc", "fc_grid"]
    tiny = compress.apply(nets.tiny_net(), GRIDS)
    assert isinstance(tiny, keras.Sequential)
    names = [layer.name for layer in tiny.layers if not layer.name.endswith("_grid")]
    assert names == ["conv", tiny.layers[3].name, "fc", "fc_activation"]


def test_apply_alone_changes_nothing_and_strip_leaves_stock_layers_only(tmp_path):
    model = nets.fire_net(batch_norm=True)
    weights_only = compress.apply(model, "prune(0.5, schedule='constant', smallest=0) | quantize(8)")
    hooked = compress.apply(model, "prune(0.5, schedule='constant', smallest=0) | " + GRIDS)
    np.testing.assert_array_equal(nets.outputs(hooked), nets.outputs(weights_only))
    again = compress.apply(hooked, GRIDS)
    assert grids_of(again) == grids_of(hooked)
    assert not compress.activation_ranges(hooked)
    nets.fit(hooked)
    assert compress.invariant_violations(hooked) == []
    plain = compress.strip(hooked)
    for layer in plain._flatten_layers():
        assert not type(layer).__module__.startswith("squeezekit")
    assert [layer.name for layer in plain.layers[1:]] == [layer.name for layer in model.layers[1:]]
    plain.save(tmp_path / "plain.keras")
    assert b"squeezekit" not in (tmp_path / "plain.keras").read_bytes()
    assert compress.measure(hooked) == compress.measure(plain)
    for name, kernel in nets.plain_kernels(plain).items():
        assert np.count_nonzero(kernel == 0) >= kernel.size // 2, name
        steps = kernel / np.abs(kernel).max() * 127
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)


@pytest.mark.parametrize("how", [nets.GRAPH, nets.JIT], ids=["graph", "jit"])
@pytest.mark.parametrize("ranges", ["observed", "learned"])
def test_training_fixes_ranges_that_are_saved(how, ranges, tmp_path):
    hooked = compress.apply(nets.tiny_net(), f"quantize(8, activations=8, ranges={ranges!r}, observe=0.5)")
    nets.fit(hooked, steps=4, how=how)
    found = compress.activation_ranges(hooked)
    assert set(found) >= {"conv", "fc"}
    assert all(low <= 0 < high for low, high in found.values())
    assert not any(layer.pending for layer in hooked.layers if isinstance(layer, ActivationGrid))
    # What the grid gives really is on it.
    tap = keras.Model(hooked.inputs[0], hooked.get_layer("conv_grid").output)
    low, high = found["conv"]
    steps = ops.convert_to_numpy(tap(nets.batch()[0])) / ((high - low) / 255)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    hooked.save(tmp_path / "hooked.keras")
    again = keras.saving.load_model(tmp_path / "hooked.keras")
    np.testing.assert_array_equal(nets.outputs(again), nets.outputs(hooked))
    assert compress.activation_ranges(again) == found
    with pytest.raises(TypeError):
        found["conv"] = (0.0, 1.0)


def test_ranges_learn_only_once_they_are_fixed():
    hooked = compress.apply(nets.tiny_net(), "quantize(8, activations=8, ranges='learned', observe=1)")
    nets.fit(hooked, steps=3)
    factors = [layer.factors for layer in hooked.layers if isinstance(layer, ActivationGrid)]
    assert [len(pair) for pair in factors] == [0, 2, 2, 2]  # not that of the input
    assert all(float(ops.convert_to_numpy(one.value)) == 0 for pair in factors for one in pair)
    nets.fit(hooked, steps=3)
    assert any(float(ops.convert_to_numpy(one.value)) != 0 for pair in factors for one in pair)


def test_grids_compute_in_float32_under_a_mixed_policy():
    made = grid(0.0, 3.0)
    made.dtype_policy = "mixed_bfloat16"
    x = ops.cast(np.linspace(0, 3, 200), "bfloat16")
    received = made(x)
    assert keras.backend.standardize_dtype(received.dtype) == "bfloat16"
    exact = made(ops.cast(x, "float32"))
    np.testing.assert_array_equal(
        ops.convert_to_numpy(ops.cast(received, "float32")),
        ops.convert_to_numpy(ops.cast(ops.cast(exact, "bfloat16"), "float32")),
    )


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"activations": 4}, "activations=4"),
        ({"activations": True}, "activations=True"),
        ({"ranges": "guessed"}, "ranges='guessed'"),
        ({"observe": 0}, "observe=0"),
        ({"observe": 1.5}, "observe=1.5"),
        ({"begin": -0.1}, "begin=-0.1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, word):
    with pytest.raises(ValueError, match=word):
        compress.Quantize(8, **settings)


def test_the_recipe_line_says_what_was_changed_only():
    assert str(compress.Quantize(8, activations=8)) == "quantize(bits=8, activations=8)"
    line = "quantize(bits=6, per_channel=True, activations=8, ranges='learned', observe=0.5, begin=0.1)"
    assert str(compress.parse(line)) == line
