"""How sensitive each layer is: every figure is that of the technique on that layer alone, and a kill loses little."""

import importlib
import json

import keras
import numpy as np
import pytest
from keras import layers

from squeezekit import compress, data, experiment, models, training
from squeezekit.cli import main
from squeezekit.data import Split
from squeezekit.errors import FormatError
from squeezekit.preprocess import Preprocess

# The package gives this name to the function.
MODULE = importlib.import_module("squeezekit.experiment.sensitivity")
SEEN = Preprocess(32, 32, 37, 37)
GRID = {"prune": (0.5, 0.95), "share": (4, 2), "quantize": (4, 2)}


@pytest.fixture(scope="module")
def stripes(stripes_folder):
    return data.open_dataset(stripes_folder, validation=0.5)


@pytest.fixture(scope="module")
def net(stripes):
    """Trained a little, with a BatchNorm and a layer inside a nested model."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 64, offset=-2.0)(pixels)
    x = layers.Conv2D(16, 3, strides=2, use_bias=False, name="conv")(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.ReLU()(layers.Conv2D(24, 3, strides=2, name="wide")(x))
    head = keras.Sequential([keras.Input((24,)), layers.Dense(2, name="fc")], name="head")
    x = head(layers.GlobalAveragePooling2D()(x))
    net = keras.Model(pixels, layers.Softmax(dtype="float32")(x), name="small")
    images = data.batches(stripes.train, SEEN, batch_size=8, training=True, epochs=12)
    net.compile(keras.optimizers.AdamW(3e-3), "sparse_categorical_crossentropy")
    net.fit(images, steps_per_epoch=12 * (len(stripes.train) // 8), shuffle=False, verbose=0)
    return net


@pytest.fixture(scope="module")
def whole(net, stripes, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "figures.json"
    weights = net.get_weights()
    result = experiment.sensitivity(net, stripes, SEEN, path=path, grid=GRID)
    for before, after in zip(weights, net.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    return result, path


def test_every_figure_is_the_techniques_on_that_layer_alone(net, stripes, whole):
    result, path = whole
    assert json.loads(path.read_text()) == result
    assert result["images"] == len(stripes.validation) >= 30
    assert result["accuracy"] == training.evaluate(net, stripes.validation, SEEN) > 0.8
    assert result["layers"] == {"conv": 432, "wide": 3456, "head/fc": 48}
    folded = models.fold_batch_norm(net)
    for line in result["results"]:
        kind = compress.TECHNIQUES[line["technique"]]
        start = net if kind is compress.Prune else folded
        technique = kind(
            line["setting"],
            where=line["layer"],
            **({"schedule": "constant"} if kind is compress.Prune else {}),
        )
        alone = compress.strip(compress.apply(start, technique))
        expected = training.evaluate(alone, stripes.validation, SEEN)
        assert line["accuracy"] == pytest.approx(expected, abs=1.01 / result["images"]), line
    # The dense layer is under what Prune takes; all else is there once.
    measured = {(line["technique"], line["setting"], line["layer"]) for line in result["results"]}
    assert len(measured) == len(result["results"]) == 3 * 2 * 3 - 2
    assert len({line["accuracy"] for line in result["results"]}) > 1, "nothing was sensitive to anything"


def test_the_test_images_are_never_looked_at(net, stripes):
    hidden = data.Dataset(
        stripes.class_names,
        stripes.train,
        stripes.validation,
        Split(["nowhere.png"], np.zeros(1, np.int32)),
        (),
        "f",
    )
    grid = {"quantize": (8,)}
    result = experiment.sensitivity(net, hidden, SEEN, grid=grid, images=10)
    assert result["images"] == 10
    assert result["complete"]


def test_a_run_that_was_killed_is_gone_on_with(net, stripes, whole, tmp_path, monkeypatch):
    path = tmp_path / "figures.json"
    monkeypatch.setattr(MODULE, "_SAVE_SECONDS", 0.0)

    class Killed(Exception):
        pass

    class Deadly(training.Progress):
        def update(self, what, done, total, note=""):
            assert total == 18
            if done == 7:
                raise Killed

    with pytest.raises(Killed):
        experiment.sensitivity(net, stripes, SEEN, path=path, grid=GRID, progress=Deadly(enabled=False))
    partial = json.loads(path.read_text())
    assert not partial["complete"]
    with pytest.raises(ValueError, match="has not ended"):
        experiment.recipe_from(partial)
    measure, figures = MODULE._Network.accuracy, []

    def counted(self, *exchanged):
        figures.append(exchanged)
        return measure(self, *exchanged)

    monkeypatch.setattr(MODULE._Network, "accuracy", counted)
    result = experiment.sensitivity(net, stripes, SEEN, path=path, grid=GRID)
    assert result == whole[0]
    assert len(figures) == 1 + len(result["results"]) - len(partial["results"])
    # And one that has ended is only read.
    figures.clear()
    assert experiment.sensitivity(net, stripes, SEEN, path=path, grid=GRID) == result
    assert figures == []


def test_a_file_of_something_else_is_refused(net, stripes, whole, tmp_path):
    with pytest.raises(ValueError, match="other images, techniques"):
        experiment.sensitivity(net, stripes, SEEN, path=whole[1], images=5)
    for content in ("{}", "nonsense", '{"results": [1]}'):
        path = tmp_path / "other.json"
        path.write_text(content)
        with pytest.raises(FormatError, match="not a result"):
            experiment.sensitivity(net, stripes, SEEN, path=path)
        with pytest.raises(FormatError, match="not a result"):
            experiment.read_sensitivity(path)


def test_the_recipe_is_the_strongest_that_each_layer_bears():
    def lines(technique, layer, **accuracies):
        return [
            {"technique": technique, "setting": int(bits[1:]), "layer": layer, "accuracy": accuracy}
            for bits, accuracy in accuracies.items()
        ]

    result = {
        "accuracy": 0.9,
        "techniques": {"share": [5, 4, 3]},
        "results": [
            *lines("share", "a", b5=0.9, b4=0.9, b3=0.2),
            *lines("share", "b", b5=0.9, b4=0.895, b3=0.88),
            *lines("share", "c[1]", b5=0.9, b4=0.9, b3=0.9),
            # Luck at 3 bits does not count.
            *lines("share", "d", b5=0.9, b4=0.5, b3=0.9),
            *lines("share", "e", b5=0.5, b4=0.5, b3=0.5),
        ],
    }
    best = experiment.strongest(result, 0.01)["share"]
    assert best == {"a": 4, "b": 4, "c[1]": 3, "d": 5, "e": None}
    recipe = experiment.recipe_from(result, 0.01, techniques=["share"])
    assert compress.parse(str(recipe)) == recipe
    share, quantize = recipe
    assert str(quantize) == "quantize(bits=8)"
    for layer, bits in best.items():
        there = share.for_kernel(compress.Kernel(layer, (8, 8), (-1,)))
        assert (None if there is None else there.bits) == bits
    assert len(experiment.recipe_from({**result, "accuracy": 2.0}, techniques=["share"])) == 1
    with pytest.raises(ValueError, match="'melt'"):
        experiment.recipe_from(result, techniques=["melt"])
    with pytest.raises(ValueError, match=r"drop=1\.5"):
        experiment.recipe_from(result, 1.5)


def test_the_verbs_hand_the_recipe_on(net, stripes_folder, tmp_path, capsys):
    net.save(tmp_path / "net.keras")
    words = ["sensitivity", str(tmp_path / "net.keras"), str(stripes_folder), "--drop", "0.2"]
    words += [f"--try={name}={','.join(map(str, values))}" for name, values in GRID.items()]
    assert main([*words, "-o", str(tmp_path / "figures.json"), "--images", "6"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert "wide" in shown[2]
    assert (tmp_path / "figures.html").read_text().startswith("<!DOCTYPE html>")
    assert main([*words, "-o", str(tmp_path / "figures.json"), "--images", "6", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["recipe"] == shown[-1]
    recipe = experiment.recipe_from(experiment.read_sensitivity(tmp_path / "figures.json"), 0.2)
    assert str(recipe) == result["recipe"]
    assert compress.invariant_violations(compress.apply(models.fold_batch_norm(net), recipe)) == []


def test_a_run_that_may_last_so_long_stops_and_goes_on(net, stripes, tmp_path):
    path, grid = tmp_path / "figures.json", {"prune": (0.5,)}
    stopped = experiment.sensitivity(net, stripes, SEEN, path=path, grid=grid, minutes=1e-9)
    assert not stopped["complete"]
    assert stopped["results"] == []
    with pytest.raises(ValueError, match="call it again"):
        experiment.recipe_from(experiment.read_sensitivity(path))
    whole = experiment.sensitivity(net, stripes, SEEN, path=path, grid=grid)
    assert whole["complete"]
    # What was not measured gives the recipe nothing, and is no mistake.
    assert [step.name for step in experiment.recipe_from(whole, 1.0)] == ["prune", "quantize"]


@pytest.mark.parametrize(
    ("words", "told"),
    [(["--try", "prune=half"], "prune=0.5,0.8"), (["--minutes", "1"], "Expected -o with --minutes")],
)
def test_the_verb_names_mistakes(net, stripes_folder, tmp_path, capsys, words, told):
    net.save(tmp_path / "net.keras")
    assert main(["sensitivity", str(tmp_path / "net.keras"), str(stripes_folder), *words]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [{"images": 0}, {"grid": {"melt": (1,)}}, {"grid": {"prune": (1.5,)}}])
def test_mistakes_are_named_before_any_work(net, stripes, wrong):
    with pytest.raises(ValueError, match="Expected"):
        experiment.sensitivity(net, stripes, SEEN, **wrong)
