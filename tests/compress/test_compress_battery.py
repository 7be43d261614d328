"""Every technique of the registry through one battery: alone, in every ordered pair, and in every order of three.

It runs on every backend: `KERAS_BACKEND=jax pytest tests/compress/test_compress_battery.py`.
"""

import importlib.util
import itertools
import os
import subprocess
import sys
from pathlib import Path

import compress_nets as nets
import keras
import numpy as np
import pytest

from squeezekit import compress
from squeezekit.compress.apply import hooked_layers

SPARSITY, SHARE_BITS, GRID_BITS = 0.8, 3, 8


def has_fewer_channels(kernels):
    """Of 16 filters 6 go, and more where pruning emptied a channel."""
    return 1 <= kernels["conv"].shape[-1] <= 10


def is_separable(kernels):
    return kernels["conv_depthwise"].shape[-1] == 1 and kernels["conv"].shape[:2] == (1, 1)


def is_pruned(kernels):
    return all(
        np.count_nonzero(kernel == 0) == np.floor(SPARSITY * kernel.size + 0.5) for kernel in kernels.values()
    )


def is_pruned_together(kernels):
    weights = np.concatenate([kernel.ravel() for kernel in kernels.values()])
    return is_pruned({"all": weights})


def is_two_of_four(kernels):
    """Two zeros among every four input channels, where there are multiples of four (not in a depthwise kernel)."""
    fitting = {name: kernel for name, kernel in kernels.items() if "depthwise" not in name}
    fitting = [kernel for kernel in fitting.values() if kernel.shape[-2] % 4 == 0]
    groups = [np.moveaxis(kernel, -2, -1).reshape(-1, 4) for kernel in fitting]
    return fitting != [] and all(((group == 0).sum(axis=1) == 2).all() for group in groups)


def is_shared(kernels):
    return all(np.unique(kernel).size <= 2**SHARE_BITS for kernel in kernels.values())


def is_half(kernels):
    return is_shared(kernels) and all((kernel == np.float16(kernel)).all() for kernel in kernels.values())


def is_whole_steps(kernels):
    steps = [kernel / np.abs(kernel[kernel != 0]).min() for kernel in kernels.values()]
    return is_shared(kernels) and all(np.abs(step - np.round(step)).max() < 1e-4 for step in steps)


def is_on_grid(kernels, bits=GRID_BITS):
    steps = [
        kernel.astype(np.float64) / np.abs(kernel).max() * (2 ** (bits - 1) - 1)
        for kernel in kernels.values()
    ]
    return all(np.abs(step - np.round(step)).max() < 1e-4 for step in steps)


def is_on_four_bits(kernels):
    return is_on_grid(kernels, 4) and all(np.unique(kernel).size <= 15 for kernel in kernels.values())


BASIC = {
    "prune_channels": (compress.PruneChannels(0.4), has_fewer_channels),
    "separable": (compress.Separable(channels=2), is_separable),
    "prune": (compress.Prune(SPARSITY, end=0.7, smallest=0), is_pruned),
    "share": (compress.ShareWeights(SHARE_BITS), is_shared),
    "quantize": (compress.Quantize(GRID_BITS), is_on_grid),
}

VARIANTS = {
    "prune-at-once": (compress.Prune(SPARSITY, "constant", start=0.4, smallest=0), is_pruned),
    "prune-globally": (compress.Prune(SPARSITY, scope="global", smallest=0), is_pruned_together),
    "prune-by-lamp": (compress.Prune(SPARSITY, scope="lamp", smallest=0), is_pruned_together),
    "prune-2:4": (compress.Prune(0.5, pattern="2:4", smallest=0), is_two_of_four),
    "prune-in-rounds": (
        compress.Prune(SPARSITY, "iterative", end=0.7, rounds=2, regrow=False, smallest=0),
        is_pruned,
    ),
    "share-half": (compress.ShareWeights(SHARE_BITS, half=True), is_half),
    "share-grid": (compress.ShareWeights(SHARE_BITS, grid=True), is_whole_steps),
    "share-later": (compress.ShareWeights(SHARE_BITS, "density", begin=0.5), is_shared),
    "quantize-4": (compress.Quantize(4), is_on_four_bits),
}

TABLE = BASIC | VARIANTS
WEIGHTS_ONLY = [name for name in BASIC if not TABLE[name][0].reshapes and TABLE[name][0].without_schedule()]
"""Those that keep every layer and its shape."""


def test_the_table_holds_the_registry():
    assert set(BASIC) == set(compress.TECHNIQUES)
    assert all(technique.name == name for name, (technique, _) in BASIC.items())


def battery(model, names, folder, how):
    """Apply, train, save, reload, strip; the invariants hold at every point."""
    for name in names:
        model = compress.apply(model, TABLE[name][0])
    before = nets.outputs(model)
    check_in_numpy(model)
    nets.fit(model, how=how)
    assert not np.array_equal(before, nets.outputs(model)), "nothing was trained"
    check(model, names, folder)


def check_in_numpy(model):
    """What schedules and invariants see of a kernel is what steps multiply by."""
    for _, layer in hooked_layers(model):
        for transform in layer.transforms:
            weight = layer.input_of(transform)
            used = keras.ops.convert_to_numpy(transform(keras.ops.convert_to_tensor(weight)))
            np.testing.assert_array_equal(transform.in_numpy(weight), used)


def check(model, names, folder):
    assert compress.invariant_violations(model) == []
    check_in_numpy(model)
    trained = nets.outputs(model)

    model.save(folder / "model.keras")
    reloaded = keras.saving.load_model(folder / "model.keras")
    np.testing.assert_array_equal(nets.outputs(reloaded), trained)
    assert compress.invariant_violations(reloaded) == []

    plain = compress.strip(reloaded)
    np.testing.assert_allclose(nets.outputs(plain), trained, atol=1e-6, rtol=0)
    kernels = nets.plain_kernels(plain)
    for name in names:
        # Zeros that were counted in the whole network may be in channels that went.
        assert (name == "prune" and "prune_channels" in names) or TABLE[name][1](kernels), name
    for name, kernel in kernels.items():
        assert not np.signbit(kernel[kernel == 0]).any(), (
            f"{name}: a negative zero is a second zero to a coder"
        )
    plain.save(folder / "plain.keras")
    assert b"squeezekit" not in (folder / "plain.keras").read_bytes()


@pytest.mark.parametrize("name", TABLE)
def test_each_technique_alone(name, tmp_path):
    battery(nets.tiny_net(), [name], tmp_path, nets.COMPILED)


@pytest.mark.parametrize("names", list(itertools.permutations(BASIC, 2)), ids="-".join)
def test_every_ordered_pair(names, tmp_path):
    first, second = (TABLE[name][0] for name in names)
    if names[1] == "separable":  # transforms are made for the kernel that it would take away
        with pytest.raises(ValueError, match=r"put separable first\. Received: transforms in conv"):
            compress.apply(compress.apply(nets.tiny_net(), first), second)
        return
    battery(nets.tiny_net(), names, tmp_path, nets.COMPILED if set(names) <= {*WEIGHTS_ONLY} else nets.EAGER)


def test_all_three_in_one_order(tmp_path):
    battery(nets.tiny_net(), WEIGHTS_ONLY, tmp_path, nets.COMPILED)


@pytest.mark.parametrize("names", list(itertools.permutations(WEIGHTS_ONLY))[1:], ids="-".join)
def test_all_three_in_every_other_order(names, tmp_path):
    battery(nets.tiny_net(), names, tmp_path, nets.EAGER)


def test_all_three_on_fire_modules(tmp_path):
    battery(nets.fire_net(), WEIGHTS_ONLY[::-1], tmp_path, nets.EAGER)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the converter needs TensorFlow")
@pytest.mark.parametrize("name", BASIC)
def test_the_file_of_each_technique_computes_what_its_network_does(name, tmp_path):
    export = pytest.importorskip("squeezekit.export")
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter
    plain = compress.strip(compress.apply(nets.tiny_net(), TABLE[name][0]))
    export.litert(plain, tmp_path / "net.tflite")
    network = interpreter(str(tmp_path / "net.tflite"))
    network.allocate_tensors()
    (entry,), (result,) = network.get_input_details(), network.get_output_details()
    for image, expected in zip(nets.batch()[0], nets.outputs(plain), strict=True):
        network.set_tensor(entry["index"], image[np.newaxis])
        network.invoke()
        np.testing.assert_allclose(network.get_tensor(result["index"])[0], expected, atol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_on_fire_modules(name):
    plain = compress.strip(compress.apply(nets.fire_net(), TABLE[name][0]))
    kernels = nets.plain_kernels(plain)
    assert sorted(kernels) == sorted(nets.KERNELS)
    assert TABLE[name][1](kernels)


def test_stages_trained_one_after_another_keep_earlier_invariants(tmp_path):
    names = ("quantize", "prune", "share")
    model = nets.fire_net()
    for name in names:
        model = nets.fit(compress.apply(model, TABLE[name][0]))
    check(model, names, tmp_path)


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch.compile is not XLA")
def test_all_three_train_under_xla():
    techniques = [TABLE[name][0] for name in WEIGHTS_ONLY]
    model = compress.apply(nets.tiny_net(), compress.Recipe(*techniques))
    nets.fit(model, how=nets.JIT)
    kernels = nets.plain_kernels(compress.strip(model))
    assert is_pruned(kernels)
    assert is_shared(kernels)
    assert is_on_grid(kernels)


def test_masks_and_codebooks_stay_as_they_are_in_later_stages():
    model = nets.fit(compress.apply(nets.fire_net(), TABLE["prune"][0]))
    zeros = {name: kernel == 0 for name, kernel in nets.plain_kernels(compress.strip(model)).items()}
    model = nets.fit(compress.apply(model, TABLE["share"][0]))
    assigned = {
        name: np.unique(kernel, return_inverse=True)[1]
        for name, kernel in nets.plain_kernels(compress.strip(model)).items()
    }
    model = nets.fit(compress.apply(model, TABLE["quantize"][0]))
    for name, kernel in nets.plain_kernels(compress.strip(model)).items():
        np.testing.assert_array_equal(kernel == 0, zeros[name])
        groups = np.unique(kernel, return_inverse=True)[1]
        # Entries may cross in training, so compare the grouping, not its numbering.
        assert len({*zip(assigned[name].ravel(), groups.ravel(), strict=True)}) == np.unique(groups).size


@pytest.mark.parametrize("name", ["prune", "prune-globally", "prune-2:4", "share-later", "share-grid"])
def test_without_its_schedule_a_technique_changes_no_kernel_that_has_its_invariant(name):
    technique = TABLE[name][0]
    plain = compress.strip(compress.apply(nets.fire_net(), technique))
    again = compress.apply(plain, technique.without_schedule())
    assert not any(transform.pending for _, layer in hooked_layers(again) for transform in layer.transforms)
    before, after = nets.plain_kernels(plain), nets.plain_kernels(compress.strip(again))
    for kernel in before:
        np.testing.assert_allclose(after[kernel], before[kernel], rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "recipe",
    [
        "prune(0.6, every=2) | share(4, begin=6, half=True, where='conv') | quantize(8, where='fc')",
        "prune(0.6, 'iterative', rounds=3, scope='global', smallest=0, regrow=False) | share(grid=True)",
        "prune_channels(0.5)",
        "prune(0.6) | quantize(8, activations=8, ranges='learned', begin=0.2, observe=0.5)",
    ],
)
def test_a_killed_training_goes_on_to_the_same_result(recipe, tmp_path):
    def start():
        return compress.apply(nets.tiny_net(), recipe)

    def steps(model, first, last):
        x, y = nets.batch(9)
        schedule = compress.Schedule(model, total_steps=9, initial_step=first)
        model.fit(x[first:last], y[first:last], batch_size=1, shuffle=False, verbose=0, callbacks=[schedule])

    unbroken = nets.compiled(start())
    steps(unbroken, 0, 9)

    broken = nets.compiled(start())
    for first, last in ((0, 3), (3, 9)):
        if first:
            broken.save(tmp_path / "checkpoint.keras")
            broken = keras.saving.load_model(tmp_path / "checkpoint.keras")
        steps(broken, first, last)

    for expected, received in zip(unbroken.weights, broken.weights, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(expected.value), keras.ops.convert_to_numpy(received.value)
        )


ON_EVERY_BACKEND = ("test_each_technique_alone", "test_every_ordered_pair", "test_all_three_in_one_order")

# Compiling well costs more than these few steps: so JAX compiles fast.
QUICK = {"XLA_FLAGS": "--xla_backend_optimization_level=0", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "extra"), [("jax", QUICK), ("torch", {})])
def test_the_battery_on_other_backends(backend, extra):
    """In a process of its own: Keras has one backend for life."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: pip install 'squeezekit[{backend}]'")
    # No conftest: it is TensorFlow's, and needs what the battery does not.
    command = [sys.executable, "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *(f"{__file__}::{name}" for name in ON_EVERY_BACKEND)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1"} | extra,
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "35 passed" in done.stdout
