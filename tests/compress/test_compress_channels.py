"""Pruned channels: what is left is a smaller network with the outputs of the masked one."""

import collections

import compress_nets as nets
import keras
import numpy as np
import pytest
from compress_nets import logits, residual_net, shaken, widths
from keras import layers, ops

from squeezekit import compress, models
from squeezekit.compress.graph.dependencies import ChannelDependencies
from squeezekit.compress.techniques.magnitude import ramp_sparsity
from squeezekit.compress.techniques.prune_channels import _expand, _runs

AT_ONCE = {"start": 0.0, "end": 0.0}


def small(network, **options):
    return network((40, 40, 3), nets.CLASSES, **options)


NETS = {
    "complex bypass": lambda: small(models.squeezenet, bypass="complex", norm="all", width=0.25),
    "separable": lambda: small(
        models.squeezenet, fire="separable", bypass="simple", norm="squeeze", width=0.25
    ),
    "alexnet": lambda: small(models.alexnet, width=0.1, batch_norm=True),
    "residual": residual_net,
    "nested": lambda: nets.fire_net(batch_norm=True),
    "sequential": nets.tiny_net,
}


def branches_together(counts):
    """`counts` with the sum of both expand branches as one."""
    together = collections.Counter()
    for name, count in counts.items():
        together[name.replace("expand1x1", "expand").replace("expand3x3", "expand")] += count
    return dict(together)


@pytest.mark.parametrize("name", NETS)
def test_the_smaller_network_has_the_outputs_of_the_masked_one(name):
    """Every layer loses exactly round(share * channels), but the last; outputs, names and order stay."""
    model = shaken(NETS[name]())
    masked = compress.apply(model, compress.PruneChannels(0.4, **AT_ONCE))
    assert compress.invariant_violations(masked) == []
    plain = compress.strip(masked)

    expected = logits(masked)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(logits(plain), expected, atol=1e-5 * scale, rtol=0)
    assert np.abs(logits(model) - expected).max() > 1e-2 * scale, "nothing was masked"

    before, after = widths(model), widths(plain)
    last = next(reversed(before))
    assert after.pop(last) == before.pop(last)
    if name == "complex bypass":  # both branches of a fire module are tied to one convolution around it
        before, after = branches_together(before), branches_together(after)
    assert after == {layer: count - int(np.floor(0.4 * count + 0.5)) for layer, count in before.items()}
    assert [layer.name for layer in plain.layers[1:]] == [layer.name for layer in model.layers[1:]]
    for layer in plain._flatten_layers():
        assert not type(layer).__module__.startswith("squeezekit")
    assert compress.measure(plain).macs < 0.75 * compress.measure(model).macs
    assert compress.measure(plain).parameters < 0.75 * compress.measure(model).parameters


def test_a_fire_module_is_rewired_through_its_concatenation():
    """Counted by hand: 16 -> 11 in conv1, 2 * 16 -> 2 * 11 behind the concat, in the block and the head."""
    plain = compress.strip(compress.apply(nets.fire_net(batch_norm=True), "prune_channels(0.3, end=0.0)"))
    assert plain.get_layer("conv1").kernel.shape == (3, 3, 3, 11)
    assert plain.get_layer("norm").gamma.shape == (11,)
    assert plain.get_layer("expand3x3").kernel.shape == (3, 3, 11, 11)
    assert plain.get_layer("block").get_layer("depthwise").kernel.shape == (3, 3, 22, 1)
    assert plain.get_layer("head").get_layer("fc").kernel.shape == (22, nets.CLASSES)
    assert compress.measure(plain).macs == 64 * (27 * 11 + 11 * 11 + 99 * 11) + 36 * 9 * 22 + 22 * 5


def test_what_is_kept_are_the_weights_of_the_channels_that_score_best():
    """The score worked out again, layer by layer, for a chain in which it is simple."""
    keras.utils.set_random_seed(3)
    entry = keras.Input((6, 6, 2))
    x = layers.Conv2D(10, 3, activation="relu", name="made")(entry)
    x = layers.DepthwiseConv2D(3, name="passed")(x)
    model = keras.Model(entry, layers.Conv2D(3, 1, name="read")(x))
    made, passed, read = (
        ops.convert_to_numpy(model.get_layer(name).kernel.value) for name in ("made", "passed", "read")
    )
    score = np.abs(made).sum((0, 1, 2)) * np.abs(passed).sum((0, 1, 3)) * np.abs(read).sum((0, 1, 3))
    kept = np.sort(np.argsort(score)[4:])
    plain = compress.strip(compress.apply(model, "prune_channels(0.4, end=0.0)"))
    np.testing.assert_array_equal(plain.get_layer("made").kernel.value, made[..., kept])
    np.testing.assert_array_equal(plain.get_layer("passed").kernel.value, passed[:, :, kept])
    np.testing.assert_array_equal(plain.get_layer("read").kernel.value, read[:, :, kept])


def test_the_score_does_not_change_when_scale_moves_from_a_layer_to_the_next():
    model = nets.tiny_net()
    plain = compress.strip(compress.apply(model, "prune_channels(0.5, end=0.0)"))
    scales = np.random.default_rng(0).uniform(0.01, 100, 16).astype("float32")
    conv, fc = model.get_layer("conv"), model.get_layer("fc")
    conv.kernel.assign(conv.kernel * scales)
    fc.kernel.assign(fc.kernel / scales[:, None])
    moved = compress.strip(compress.apply(model, "prune_channels(0.5, end=0.0)"))
    np.testing.assert_allclose(nets.outputs(moved), nets.outputs(plain), rtol=1e-4, atol=1e-6)


def test_tied_channels_are_one_group():
    """Both projections and the stem feed one trunk: 16 tied channels, and 24 behind each expansion."""
    graph = ChannelDependencies(residual_net())
    sites = {site.name: site for site in graph.sites}
    trunk = sites["stem"].outputs
    for name in ("project1", "project2"):
        np.testing.assert_array_equal(sites[name].outputs, trunk)
    np.testing.assert_array_equal(sites["gate1"].outputs, sites["expand1"].outputs)
    np.testing.assert_array_equal(sites["twice"].inputs, np.tile(trunk, 2))
    np.testing.assert_array_equal(sites["everywhere"].inputs, np.repeat(np.tile(trunk, 2), 2))
    assert graph.unknown == []
    assert graph.fixed[sites["fc"].outputs].all()
    assert not graph.fixed[trunk].any()


def test_the_global_scope_removes_the_exact_share_of_all_channels():
    model = nets.fire_net()
    plain = compress.strip(compress.apply(model, "prune_channels(0.5, end=0.0, scope='global')"))
    counts = widths(plain)
    assert sum(counts.values()) - nets.CLASSES == 48 // 2
    assert len({counts[name] for name in ("conv1", "expand1x1", "expand3x3")}) > 1
    assert min(counts.values()) >= 1


def test_a_layer_keeps_a_channel_whatever_the_share():
    model = nets.fire_net()
    model.get_layer("expand1x1").kernel.assign(model.get_layer("expand1x1").kernel * 0)
    for scope in ("layer", "global"):
        technique = compress.PruneChannels(0.99, scope=scope, **AT_ONCE)
        counts = widths(compress.strip(compress.apply(model, technique)))
        assert min(counts.values()) == 1


@pytest.mark.parametrize(("multiple", "left"), [(1, 11), (4, 12), (8, 16)])
def test_what_stays_is_a_multiple(multiple, left):
    plain = compress.strip(
        compress.apply(nets.tiny_net(), f"prune_channels(0.3, 0.0, 0.0, 'layer', {multiple})")
    )
    assert widths(plain)["conv"] == left


def test_where_and_layers_and_skip_say_which_layers_lose_filters():
    model = nets.fire_net()

    def left(technique, **options):
        counts = widths(compress.strip(compress.apply(model, technique, **options)))
        return [counts[name] for name in ("conv1", "expand1x1", "expand3x3")]

    assert left(compress.PruneChannels(0.5, where="expand*", **AT_ONCE)) == [16, 8, 8]
    settings = {"conv1": 0.25, "expand1x1": None, "*3x3": {"multiple_of": 16}}
    assert left(compress.PruneChannels(0.5, layers=settings, **AT_ONCE)) == [12, 16, 16]
    # A layer that is left as it is keeps its filters and all that it reads.
    assert left(compress.PruneChannels(0.5, **AT_ONCE), skip=("head/fc",)) == [8, 16, 16]
    assert left(compress.PruneChannels(0.5, **AT_ONCE), skip=("expand1x1",)) == [16, 16, 8]


def test_channels_go_along_zhu_and_guptas_curve_and_may_come_back_until_the_end():
    model = compress.apply(nets.tiny_net(), "prune_channels(0.5, end=0.8)")
    conv, fc = model.get_layer("conv"), model.get_layer("fc")
    for step in range(1, 8):
        compress.advance(model, compress.TrainingProgress(step, 10))
        gone = np.flatnonzero(~fc.effective_kernel().any(axis=1))
        assert gone.size == np.floor(16 * ramp_sparsity(step / 10, 0.5, 0.0, 0.8) + 0.5)
        assert np.all(conv.effective_kernel().any(axis=(0, 1, 2))), (
            "the filters of a masked channel go on learning"
        )
    fc.stored_kernel.assign(
        ops.convert_to_numpy(fc.stored_kernel.value) * np.where(np.isin(range(16), gone), 99, 1)[:, None]
    )
    compress.advance(model, compress.TrainingProgress(8, 10))
    final = np.flatnonzero(~fc.effective_kernel().any(axis=1))
    assert final.size == 8
    assert not np.isin(final, gone).any()
    np.testing.assert_array_equal(final, np.flatnonzero(~conv.effective_kernel().any(axis=(0, 1, 2))))
    assert not any(transform.pending for transform in (*conv.transforms, *fc.transforms))


def test_points_of_the_schedule_may_be_steps():
    model = compress.apply(nets.tiny_net(), compress.PruneChannels(0.5, start=4, end=6))
    gone = []
    for step in range(8):
        compress.advance(model, compress.TrainingProgress(step, 8))
        gone.append(16 - np.count_nonzero(model.get_layer("fc").effective_kernel().any(axis=1)))
    assert gone[:5] == [0] * 5
    assert 0 < gone[5] < 8
    assert gone[6:] == [8, 8]


def test_it_trains_under_xla():
    model = nets.fit(compress.apply(nets.tiny_net(), "prune_channels(0.5)"), how=nets.JIT)
    assert widths(compress.strip(model)) == {"conv": 8, "fc": nets.CLASSES}


def test_a_layer_that_is_called_twice_and_a_nested_model_that_is_called_twice():
    keras.utils.set_random_seed(0)
    inside = keras.Input((8,))
    block = keras.Model(inside, layers.Dense(8, activation="relu", name="inner")(inside), name="block")
    twice = layers.Dense(8, activation="relu", name="twice")
    entry = keras.Input((4,))
    x = layers.Dense(8, activation="relu", name="first")(entry)
    x = block(twice(twice(x)))
    model = shaken(keras.Model(entry, layers.Dense(3, name="fc")(layers.Add()([block(x), x]))))
    masked = compress.apply(model, compress.PruneChannels(0.5, **AT_ONCE))
    plain = compress.strip(masked)
    np.testing.assert_allclose(logits(plain), logits(masked), atol=1e-6)
    assert widths(plain) == {"first": 4, "twice": 4, "inner": 4, "fc": 3}


class Mixed(layers.Layer):
    def call(self, x):
        return ops.flip(x, axis=-1)


@pytest.mark.parametrize(
    "make",
    [
        Mixed,
        lambda: layers.Conv2D(8, 1, groups=2),
        lambda: layers.LayerNormalization(),
        lambda: layers.Softmax(),
        lambda: layers.Activation("softmax"),
        lambda: layers.Conv2DTranspose(8, 2),
        lambda: layers.Permute((3, 2, 1)),
        lambda: layers.BatchNormalization(axis=1),
        lambda: layers.Rescaling(np.arange(8.0)),
        lambda: lambda x: x * np.arange(8.0, dtype="float32"),
        lambda: lambda x: ops.roll(x, 1, axis=-1),
    ],
)
def test_what_is_not_understood_keeps_its_channels(make):
    """Only `free`, which does not touch it, loses channels."""
    keras.utils.set_random_seed(0)
    entry = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 1, name="held")(entry)
    x = make()(x)
    x = layers.Conv2D(8, 1, name="free")(x)
    model = keras.Model(entry, layers.Conv2D(2, 1, name="last")(x))
    graph = ChannelDependencies(model)
    assert len(graph.unknown) == 1
    for name in ("held", "last"):
        assert graph.fixed[next(site for site in graph.sites if site.name == name).outputs].all()
    # Kernels of kinds that no technique can transform are refused unless they are named.
    names = [layer.name for layer in model.layers if isinstance(layer, layers.Conv2DTranspose)]
    masked = compress.apply(model, compress.PruneChannels(0.5, **AT_ONCE), skip=names)
    plain = compress.strip(masked)
    counts = widths(plain)
    assert (counts["held"], counts["free"], counts["last"]) == (8, 4, 2)
    np.testing.assert_allclose(logits(plain), logits(masked), atol=1e-5)


@pytest.mark.slow
def test_a_network_that_was_not_written_here():
    """Inverted residuals with squeeze and excite: MobileNetV3Small with random weights."""
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV3Small(
        (64, 64, 3), weights=None, classes=5, classifier_activation=None
    )
    masked = compress.apply(shaken(model), compress.PruneChannels(0.3, **AT_ONCE))
    plain = compress.strip(masked)
    assert ChannelDependencies(model).unknown == []
    expected = logits(masked)
    np.testing.assert_allclose(logits(plain), expected, atol=1e-5 * np.abs(expected).max())
    assert compress.measure(plain).macs < 0.6 * compress.measure(model).macs


def test_nothing_to_remove_is_refused():
    with pytest.raises(ValueError, match=r"prune_channels\(0.5\) applies"):
        compress.apply(keras.Sequential([keras.Input((8,)), layers.Dense(3)]), "prune_channels(0.5)")
    with pytest.raises(ValueError, match="strip it first"):
        compress.shrink(compress.apply(nets.tiny_net(), "quantize()"))


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("prune_channels(1.0)", "share=1.0"),
        ("prune_channels(0.5, scope='all')", "scope='all'"),
        ("prune_channels(0.5, multiple_of=3)", "multiple_of=3"),
        ("prune_channels(0.5, end=1.5)", "end=1.5"),
        ("prune_channels(0.5, start=-1)", "start=-1"),
    ],
)
def test_settings_out_of_range_are_refused(line, word):
    with pytest.raises(ValueError, match=word):
        compress.parse(line)


def test_numbers_survive_being_written_as_runs():
    for numbers in ([], [-1, -1, 0, 1, 2, 7, 8, -1], [3, 3, 4], [0], [-1, 0, -1]):
        np.testing.assert_array_equal(_expand(_runs(np.array(numbers, int))), numbers)
    assert _runs(np.tile(np.arange(256), 36)) == [[0, 256]] * 36


# shrink


def test_shrink_takes_what_feeds_dead_channels_only():
    """`first`'s channel 2 is read by `second`'s channel 1 alone, which nothing reads."""
    entry = keras.Input((3,))
    x = layers.Dense(4, name="first", activation="relu")(entry)
    x = layers.Dense(4, name="second", activation="sigmoid")(x)
    model = keras.Model(entry, layers.Dense(2, name="third")(x))
    second, third = np.ones((4, 4), "float32"), np.ones((4, 2), "float32")
    second[2] = [0, 5, 0, 0]
    third[1] = 0
    model.get_layer("second").set_weights([second, np.ones(4)])
    model.get_layer("third").set_weights([third, np.ones(2)])
    smaller = compress.shrink(model)
    assert widths(smaller) == {"first": 3, "second": 3, "third": 2}
    np.testing.assert_allclose(logits(smaller), logits(model), atol=1e-6)
    assert widths(compress.shrink(smaller)) == widths(smaller)


def test_shrink_copies_what_a_layer_computes_from_its_weights():
    """Normalization uses tensors that it makes of its variables when it loads them."""
    entry = keras.Input((8, 8, 3))
    scaled = layers.Normalization(mean=None, name="scaled")
    scaled.build(entry.shape)
    scaled.adapt(np.random.default_rng(0).normal(5, 3, (16, 8, 8, 3)).astype("float32"))
    x = layers.Conv2D(4, 3, name="made")(scaled(entry))
    model = keras.Model(entry, layers.Conv2D(2, 3, name="read")(x))
    kernel = model.get_layer("read").kernel
    kernel.assign(ops.convert_to_numpy(kernel) * np.array([1, 0, 1, 1], "float32")[:, None])
    smaller = compress.shrink(model)
    assert smaller.get_layer("made").kernel.shape == (3, 3, 3, 3)
    x = np.random.default_rng(1).normal(5, 3, (2, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(ops.convert_to_numpy(smaller(x)), ops.convert_to_numpy(model(x)), atol=1e-5)


def test_shrink_keeps_a_channel_of_a_layer_that_nothing_reads():
    entry = keras.Input((3,))
    model = keras.Model(entry, layers.Dense(2, name="read")(layers.Dense(4, name="made")(entry)))
    model.get_layer("read").set_weights([np.zeros((4, 2)), np.ones(2)])
    smaller = compress.shrink(model)
    assert widths(smaller) == {"made": 1, "read": 2}
    np.testing.assert_allclose(logits(smaller), 1)
