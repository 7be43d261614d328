"""One table of techniques through one battery: each alone, every ordered pair, every order of all three."""

import itertools

import compress_nets as nets
import keras
import numpy as np
import pytest

from squeezekit import compress

SPARSITY, SHARE_BITS, GRID_BITS = 0.8, 3, 8

TECHNIQUES = {
    "prune": compress.Prune(SPARSITY, end=0.7, smallest=0),
    "share": compress.ShareWeights(SHARE_BITS),
    "quantize": compress.Quantize(GRID_BITS),
}


def is_pruned(kernel):
    return np.count_nonzero(kernel == 0) == np.floor(SPARSITY * kernel.size + 0.5)


def is_shared(kernel):
    return np.unique(kernel).size <= 2**SHARE_BITS


def is_on_grid(kernel):
    steps = kernel.astype(np.float64) / np.abs(kernel).max() * (2 ** (GRID_BITS - 1) - 1)
    return np.abs(steps - np.round(steps)).max() < 1e-4


INVARIANTS = {"prune": is_pruned, "share": is_shared, "quantize": is_on_grid}

ORDERS = [order for count in (1, 2, 3) for order in itertools.permutations(TECHNIQUES, count)]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_order_trains_saves_strips_and_keeps_its_promises(order, tmp_path):
    """The promises hold after training, one stage after another, and survive a reload and stripping."""
    model = nets.fire_net()
    for name in order:
        model = compress.apply(model, TECHNIQUES[name])
    before = nets.outputs(model)
    nets.fit(model, how=nets.GRAPH if len(order) == 1 else nets.EAGER)
    assert not np.array_equal(before, nets.outputs(model)), "nothing was trained"
    check(model, order, tmp_path)


def test_stages_trained_one_after_another_keep_earlier_promises(tmp_path):
    order = ("quantize", "prune", "share")
    model = nets.fire_net()
    for name in order:
        model = nets.fit(compress.apply(model, TECHNIQUES[name]))
    check(model, order, tmp_path)


def check(model, order, folder):
    assert compress.broken_promises(model) == []
    trained = nets.outputs(model)

    model.save(folder / "model.keras")
    reloaded = keras.saving.load_model(folder / "model.keras")
    np.testing.assert_array_equal(nets.outputs(reloaded), trained)
    assert compress.broken_promises(reloaded) == []

    plain = compress.strip(reloaded)
    np.testing.assert_allclose(nets.outputs(plain), trained, atol=1e-6, rtol=0)
    kernels = nets.plain_kernels(plain)
    assert sorted(kernels) == sorted(nets.KERNELS)
    for kernel_name, kernel in kernels.items():
        for name in order:
            assert INVARIANTS[name](kernel), (kernel_name, name)
        assert not np.signbit(kernel[kernel == 0]).any(), "a negative zero is a second zero to a coder"
    plain.save(folder / "plain.keras")
    assert b"squeezekit" not in (folder / "plain.keras").read_bytes()


def test_all_three_train_under_xla():
    model = compress.apply(nets.tiny_net(), " | ".join(map(str, TECHNIQUES.values())))
    nets.fit(model, how=nets.JIT)
    for kernel in nets.plain_kernels(compress.strip(model)).values():
        assert is_pruned(kernel)
        assert is_shared(kernel)
        assert is_on_grid(kernel)


def test_masks_and_codebooks_stay_as_they_are_in_later_stages():
    model = nets.fit(compress.apply(nets.fire_net(), TECHNIQUES["prune"]))
    zeros = {name: kernel == 0 for name, kernel in nets.plain_kernels(compress.strip(model)).items()}
    model = nets.fit(compress.apply(model, TECHNIQUES["share"]))
    assigned = {
        name: np.unique(kernel, return_inverse=True)[1]
        for name, kernel in nets.plain_kernels(compress.strip(model)).items()
    }
    model = nets.fit(compress.apply(model, TECHNIQUES["quantize"]))
    for name, kernel in nets.plain_kernels(compress.strip(model)).items():
        np.testing.assert_array_equal(kernel == 0, zeros[name])
        groups = np.unique(kernel, return_inverse=True)[1]
        # Entries may cross in training, so compare the grouping, not its numbering.
        assert len({*zip(assigned[name].ravel(), groups.ravel(), strict=True)}) == np.unique(groups).size


@pytest.mark.parametrize("recipe", ["prune(0.6)", "prune(0.6) | share(4) | quantize(8)"])
def test_a_killed_training_goes_on_to_the_same_result(recipe, tmp_path):
    def start():
        return compress.apply(nets.tiny_net(), recipe)

    def steps(model, first, last):
        x, y = nets.batch(12)
        schedule = compress.Schedule(model, total_steps=12, initial_step=first)
        model.fit(x[first:last], y[first:last], batch_size=1, shuffle=False, verbose=0, callbacks=[schedule])

    unbroken = nets.compiled(start())
    steps(unbroken, 0, 12)

    broken = nets.compiled(start())
    for first, last in ((0, 4), (4, 5), (5, 12)):
        steps(broken, first, last)
        broken.save(tmp_path / "checkpoint.keras")
        broken = keras.saving.load_model(tmp_path / "checkpoint.keras")

    for expected, received in zip(unbroken.weights, broken.weights, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(expected.value), keras.ops.convert_to_numpy(received.value)
        )
