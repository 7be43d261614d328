"""What apply and strip do to models, and which models they refuse."""

import compress_nets as nets
import keras
import numpy as np
import pytest
from keras import layers, ops

from squeezekit import compress
from squeezekit.compress.apply import hooked_layers
from squeezekit.compress.hooked_layers import HOOKED

ALL = "prune(0.6, schedule='constant', smallest=0) | share(3) | quantize(8)"


def test_apply_changes_neither_the_model_given_nor_its_outputs_before_anything_is_compressed():
    model = nets.fire_net()
    before = nets.outputs(model)
    copy = compress.apply(model, "prune(0.6)")
    np.testing.assert_array_equal(nets.outputs(copy), before)
    compress.finish(copy)
    assert not np.array_equal(nets.outputs(copy), before)
    np.testing.assert_array_equal(nets.outputs(model), before)
    assert [layer.name for layer in copy.layers[1:]] == [layer.name for layer in model.layers[1:]]


def test_strip_gives_stock_layers_of_the_same_names_and_is_idempotent():
    plain = compress.strip(compress.apply(nets.fire_net(batch_norm=True), ALL))
    for layer in (*plain.layers, *plain.get_layer("head").layers, *plain.get_layer("block").layers):
        assert not type(layer).__module__.startswith("squeezekit")
    np.testing.assert_array_equal(nets.outputs(compress.strip(plain)), nets.outputs(plain))


def test_strip_ends_a_ramp_in_the_copy_only():
    model = compress.apply(nets.tiny_net(), "prune(0.75)")
    kernel = nets.plain_kernels(compress.strip(model))["conv"]
    assert np.count_nonzero(kernel == 0) == 324
    assert np.count_nonzero(model.get_layer("conv").effective_kernel() == 0) == 0


def test_batch_norm_statistics_travel():
    model = nets.fire_net(batch_norm=True)
    model.get_layer("norm").moving_mean.assign(np.arange(16.0))
    copy = compress.strip(compress.apply(model, ALL))
    np.testing.assert_array_equal(
        ops.convert_to_numpy(copy.get_layer("norm").moving_mean.value), np.arange(16)
    )


def test_a_compiled_model_with_a_loss_that_cannot_be_serialized_is_no_obstacle():
    model = nets.tiny_net()
    model.compile("sgd", loss=lambda truth, guess: ops.mean(guess))
    copy = compress.apply(model, "quantize()")
    assert model.compiled
    assert not copy.compiled


def test_a_shared_layer_stays_shared():
    shared = layers.Dense(32, name="twice")
    entry = keras.Input((32,))
    model = keras.Model(entry, shared(shared(entry)))
    copy = compress.apply(model, "quantize(4)")
    assert [layer.name for layer in copy.layers].count("twice") == 1
    x = np.random.default_rng(0).normal(size=(2, 32)).astype("float32")
    plain = compress.strip(copy)
    np.testing.assert_allclose(plain(x), copy(x), atol=1e-6)


@pytest.mark.parametrize(
    ("recipe", "policy"),
    [
        ("prune(0.6, schedule='constant', smallest=0)", "mixed_bfloat16"),
        ("share(3)", "mixed_bfloat16"),
        ("quantize(4)", "mixed_bfloat16"),
        (ALL, "mixed_float16"),
    ],
)
def test_transforms_compute_in_float32_under_a_mixed_policy(recipe, policy):
    """The kernel in a mixed layer is the float32 effective kernel, cast once."""
    model = compress.apply(nets.fire_net(), recipe)
    compute = policy.removeprefix("mixed_")
    layer = model.get_layer("expand3x3")
    exact = layer.effective_kernel()
    seen = []
    layer.convolution_op = lambda inputs, kernel: (
        seen.append(kernel) or HOOKED[layers.Conv2D].convolution_op(layer, inputs, kernel)
    )
    for every in model._flatten_layers():  # the transforms too: they must not care
        every.dtype_policy = policy
    x = np.ones((1, 8, 8, 16), "float32")
    assert keras.backend.standardize_dtype(layer(x).dtype) == compute
    assert keras.backend.standardize_dtype(seen[0].dtype) == compute
    expected = ops.convert_to_numpy(ops.cast(ops.cast(exact, compute), "float32"))
    np.testing.assert_array_equal(ops.convert_to_numpy(ops.cast(seen[0], "float32")), expected)
    np.testing.assert_array_equal(layer.effective_kernel(), exact)
    for every in model._flatten_layers():
        every.dtype_policy = "float32"
    np.testing.assert_array_equal(layer.effective_kernel(), exact)


def test_training_under_bfloat16_keeps_every_invariant_in_float32():
    model = compress.apply(nets.tiny_net(), "prune(0.6, smallest=0) | share(3) | quantize(8)")
    for layer in model._flatten_layers():
        layer.dtype_policy = "mixed_bfloat16"
    before = model.get_layer("conv").effective_kernel()
    nets.fit(model, how=nets.GRAPH)
    for layer in model._flatten_layers():
        layer.dtype_policy = "float32"
    after = model.get_layer("conv").effective_kernel()
    assert not np.array_equal(before, after)
    assert compress.invariant_violations(model) == []
    np.testing.assert_allclose(nets.outputs(compress.strip(model)), nets.outputs(model), atol=1e-6)


def test_freezing_and_thawing_leaves_the_kernel_under_a_codebook_frozen():
    model = compress.apply(nets.tiny_net(), "share(3)")
    model.trainable = False
    assert model.trainable_weights == []
    model.trainable = True
    names = [weight.path for weight in model.trainable_weights]
    assert "conv/kernel" not in names
    assert sum("codebook" in name for name in names) == 2


KINDS = {
    "conv1d": (lambda: layers.Conv1D(6, 3), (7, 4)),
    "conv2d": (lambda: layers.Conv2D(6, 3, groups=2), (5, 6, 4)),
    "conv3d": (lambda: layers.Conv3D(6, 2), (3, 4, 5, 2)),
    "conv1d_transpose": (lambda: layers.Conv1DTranspose(6, 3, strides=2), (5, 4)),
    "conv2d_transpose": (lambda: layers.Conv2DTranspose(6, 3, use_bias=False), (4, 3, 4)),
    "conv3d_transpose": (lambda: layers.Conv3DTranspose(3, 2), (2, 3, 2, 4)),
    "depthwise1d": (lambda: layers.DepthwiseConv1D(3, depth_multiplier=2), (7, 4)),
    "depthwise2d": (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), (5, 6, 4)),
    "dense": (lambda: layers.Dense(6), (8,)),
    "einsum": (lambda: layers.EinsumDense("abc,cde->abde", (None, 3, 2), bias_axes="de"), (4, 5)),
    "einsum_dots": (lambda: layers.EinsumDense("...x,xy->...y", 6), (3, 4, 5)),
    "einsum_batched": (lambda: layers.EinsumDense("abc,bcd->abd", (3, 2)), (3, 5)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_kernel_is_hooked_with_its_output_channels(kind, tmp_path):
    make, shape = KINDS[kind]
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(shape), make()])
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    copy = compress.apply(
        model, "prune(0.5, schedule='constant', smallest=0) | quantize(4, per_channel=True)"
    )
    (hooked,) = copy.layers
    kernel = hooked.effective_kernel()
    assert np.count_nonzero(kernel == 0) >= kernel.size // 2
    check_channels(model.layers[0], type(hooked).axes_of(hooked), kernel, x)

    copy.compile(keras.optimizers.SGD(0.1), "mse", **nets.EAGER)
    copy.fit(x, np.ones(copy(x).shape, "float32"), verbose=0)
    assert not np.array_equal(hooked.effective_kernel(), kernel), "nothing was trained"
    assert compress.invariant_violations(copy) == []
    copy.save(tmp_path / "model.keras")
    reloaded, plain = keras.saving.load_model(tmp_path / "model.keras"), compress.strip(copy)
    trained = ops.convert_to_numpy(copy(x))
    np.testing.assert_array_equal(ops.convert_to_numpy(reloaded(x)), trained)
    assert type(plain.layers[0]) is type(model.layers[0])
    np.testing.assert_allclose(ops.convert_to_numpy(plain(x)), trained, atol=1e-6)


def check_channels(plain, axes, kernel, x):
    """Each channel of the kernel is on a grid of its own, and reaches one channel of the output only."""
    rank = kernel.ndim
    axes = [axis % rank for axis in axes]
    rows = np.moveaxis(kernel, axes, range(len(axes)))
    channels = rows.reshape(np.prod(rows.shape[: len(axes)]), -1)
    peaks = np.abs(channels).max(axis=1, keepdims=True)
    steps = channels / np.where(peaks > 0, peaks, 1) * 7
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-4)
    original = ops.convert_to_numpy(ops.convert_to_tensor(plain.kernel))
    before = ops.convert_to_numpy(plain(x))
    only = np.zeros_like(np.moveaxis(original, axes, range(len(axes))))
    first = (0,) * len(axes)
    only[first] = 1
    plain.kernel.assign(original + np.moveaxis(only, range(len(axes)), axes))
    moved = np.abs(ops.convert_to_numpy(plain(x)) - before).max(axis=0) > 1e-5
    plain.kernel.assign(original)
    reached = moved.reshape(-1, len(channels)).any(axis=0)
    assert reached.tolist() == [True] + [False] * (len(channels) - 1)


def test_a_layer_of_a_kind_that_is_not_hooked_is_no_obstacle_where_the_technique_is_not_wanted():
    entry = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 1, name="conv")(layers.SeparableConv2D(4, 1, name="apart")(entry))
    model = keras.Model(entry, layers.Dense(3, name="fc")(x))
    for line in ("quantize(where='conv')", "quantize(layers={'apart': None, 'fc': None})"):
        assert [name for name, _ in hooked_layers(compress.apply(model, line))] == ["conv"]
    for line in ("quantize", "quantize(where='*a*')", "quantize(layers={'fc': None})"):
        with pytest.raises(
            ValueError, match="apart of the kind SeparableConv2D; write it as DepthwiseConv2D then"
        ):
            compress.apply(model, line)
    with pytest.raises(ValueError, match="apart of the kind"):  # a predicate is asked about kernels only
        compress.apply(model, compress.Quantize(where=lambda kernel: kernel.layer == "conv"))


def test_what_a_layer_works_out_from_its_weights_travels():
    x = np.random.default_rng(0).normal(5, 3, size=(20, 4)).astype("float32")
    norm = layers.Normalization(name="norm")
    norm.adapt(x)
    model = keras.Sequential([keras.Input((4,)), norm, layers.Dense(3, name="fc")])
    expected = ops.convert_to_numpy(model(x))
    copy = compress.apply(model, "")
    np.testing.assert_array_equal(ops.convert_to_numpy(copy(x)), expected)
    assert np.abs(ops.convert_to_numpy(copy.get_layer("norm")(x)).mean()) < 1e-5


class Own(layers.Layer):
    def __init__(self):
        super().__init__(name="mine")

    def build(self, input_shape):
        self.matrix = self.add_weight(name="matrix", shape=(input_shape[-1], 2))

    def call(self, x):
        return ops.matmul(x, self.matrix)


class Loud(keras.Sequential):
    def call(self, x):
        return 2 * super().call(x)


class Free(keras.Model):
    def call(self, x):
        return x


def wrapped(layer, shape=(6, 6, 3)):
    entry = keras.Input(shape)
    return keras.Model(entry, layer(entry), name="outer")


def lora():
    model = wrapped(layers.Dense(4, name="rank2"))
    model.get_layer("rank2").enable_lora(2)
    return model


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: wrapped(Own()), "mine of the kind Own"),
        (lambda: wrapped(layers.SeparableConv2D(4, 1, name="apart")), "apart of the kind SeparableConv2D"),
        (
            lambda: wrapped(layers.TimeDistributed(layers.Dense(2), name="each")),
            "each of the kind TimeDistributed",
        ),
        (
            lambda: wrapped(Loud([keras.Input((6, 6, 3)), layers.Dense(2)], name="loud")),
            "loud, which is of the class Loud",
        ),
        (lambda: Free(name="free"), "free, which is of the class Free"),
        (lambda: keras.Sequential([layers.Dense(2)], name="early"), "early, not built"),
        (lambda: wrapped(layers.ReLU()), "outer with none"),
        (lora, "rank2 with LoRA"),
    ],
)
def test_what_cannot_be_transformed_is_refused_by_name(make, word):
    with pytest.raises(ValueError, match=word):
        compress.apply(make(), "quantize()")


def test_skip_leaves_layers_as_they_are():
    model = nets.fire_net()
    kernels = nets.plain_kernels(model)
    after = nets.plain_kernels(compress.strip(compress.apply(model, ALL, skip=("conv1", "head/*"))))
    for name, kernel in after.items():
        assert np.array_equal(kernel, kernels[name]) == (name in ("conv1", "head/fc")), name
    unknown = wrapped(layers.SeparableConv2D(4, 1, name="apart"))
    with pytest.raises(ValueError, match="outer with none"):
        compress.apply(unknown, "quantize()", skip=("apart",))
    with pytest.raises(ValueError, match="'conv7'"):
        compress.apply(model, ALL, skip=("conv7",))
    with pytest.raises(ValueError, match="several names"):
        compress.apply(model, ALL, skip="conv1")


def test_hooked_layers_refuse_what_would_bypass_their_transforms():
    model = compress.apply(nets.tiny_net(), "quantize()")
    with pytest.raises(ValueError, match="strip first"):
        model.get_layer("fc").quantize("int8")
    with pytest.raises(ValueError, match="strip first"):
        model.get_layer("fc").enable_lora(2)


@pytest.mark.parametrize(
    ("recipe", "word"),
    [
        ("share(3) | quantize(8, per_channel=True)", "distinct values instead of 8"),
        ("quantize(8) | quantize(5)", "off the grid of 255 values"),
    ],
)
def test_a_technique_that_would_undo_an_earlier_one_is_refused(recipe, word):
    with pytest.raises(ValueError, match=word):
        compress.apply(nets.fire_net(), recipe)


@pytest.mark.parametrize(
    "name",
    [
        *(f"Hooked{kind}{size}D" for kind in ("Conv", "DepthwiseConv") for size in (1, 2)),
        *("HookedConv3D", "HookedConv1DTranspose", "HookedConv2DTranspose", "HookedConv3DTranspose"),
        *("HookedDense", "HookedEinsumDense", "HookedBlock"),
        *("Mask", "ChannelMask", "Codebook", "Grid", "ActivationGrid"),
    ],
)
def test_saved_models_know_the_classes_by_these_names(name):
    assert keras.saving.get_registered_object(f"squeezekit>{name}").__name__ == name


def test_the_empty_recipe_copies():
    model = nets.tiny_net()
    copy = compress.apply(model, "")
    np.testing.assert_array_equal(nets.outputs(copy), nets.outputs(model))
    assert copy is not model
