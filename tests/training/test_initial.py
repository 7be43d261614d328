"""A training that starts from a file's weights: which it takes, which it freezes, and how good it starts."""

import dataclasses
import json

import keras
import numpy as np
import pytest

import net_files
from squeezekit import compress, models, training
from squeezekit.cli import main
from squeezekit.errors import FormatError
from squeezekit.training.initial import frozen_layers

SETTINGS = training.Settings(epochs=1, batch_size=8, precision=training.Precision.FLOAT32)


@pytest.fixture(scope="module")
def trained(stripes, small, tmp_path_factory):
    """The file of a network that tells the stripes apart, as `squeezekit train` leaves it."""
    folder = tmp_path_factory.mktemp("trained")
    settings = dataclasses.replace(SETTINGS, epochs=12, learning_rate=3e-3)
    model, _ = training.train_network("squeezenet-1.1", stripes, small, settings, folder=folder, width=0.25)
    model.save(folder / "model.keras")
    return folder / "model.keras"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "synthetic.net"
    path.write_bytes(net_files.write(net_files.weights(net_files.published_shapes())))
    return path


PATTERNS = ("conv1", "fire[2-4]*")


def start(stripes, small, folder, path, frozen=PATTERNS, width=0.25):
    initial = training.read_initial(path)
    return training.train_network(
        "squeezenet-1.1", stripes, small, SETTINGS, folder=folder, initial=initial, frozen=frozen, width=width
    )


@pytest.fixture(scope="module")
def started(stripes, small, trained, tmp_path_factory):
    """A network that started from the trained one, how, and where."""
    folder = tmp_path_factory.mktemp("started")
    return *start(stripes, small, folder, trained), folder


def weights_of(model, name):
    return np.concatenate([weight.ravel() for weight in model.get_layer(name).get_weights()])


def test_all_layers_of_the_published_network_but_the_classifier_are_taken(published):
    initial = training.read_initial(published)
    assert (initial.model, initial.norm) == ("squeezenet-1.0", models.Norm.NONE)
    network = models.build("squeezenet-1.0", (64, 64, 3), 6, norm=initial.norm)
    assert initial.give(network) == "25 of 26 layers from synthetic.net; new: conv10"
    for name in ("conv1", "fire9_expand3x3"):
        np.testing.assert_array_equal(weights_of(network, name), weights_of(initial.network, name))
    assert not weights_of(network, "conv10").any()
    started = initial.to_dict(network)
    assert started == json.loads(json.dumps(started))
    assert len(started["taken"]) == 25


def test_all_layers_of_a_like_network_are_taken(trained):
    initial = training.read_initial(trained)
    assert (initial.model, initial.norm) == ("squeezenet-1.1", models.Norm.SQUEEZE)
    network = models.build("squeezenet-1.1-bypass", (48, 48, 3), 2, norm=initial.norm, width=0.25)
    assert initial.give(network).endswith("layers from model.keras; new: none")
    np.testing.assert_array_equal(weights_of(network, "conv10"), weights_of(initial.network, "conv10"))


def test_the_weights_of_a_compressed_or_folded_network_are_taken(trained, tmp_path):
    source = models.load(trained)
    compress.apply(source, "prune(0.5, schedule='constant')").save(tmp_path / "hooked.keras")
    models.fold_batch_norm(source).save(tmp_path / "folded.keras")
    assert training.read_initial(tmp_path / "hooked.keras").norm is models.Norm.SQUEEZE
    initial = training.read_initial(tmp_path / "folded.keras")
    network = models.build("squeezenet-1.1", (32, 32, 3), 2, norm=initial.norm, width=0.25)
    assert initial.give(network).startswith("26 of 26")


@pytest.mark.parametrize("name", sorted(models.MODELS))
@pytest.mark.parametrize("norm", list(models.Norm))
def test_every_network_is_recognised(name, norm):
    takes_norm = "norm" in models.MODELS[name].defaults
    options = {"norm": norm} if takes_norm else {"batch_norm": norm is not models.Norm.NONE}
    network = models.build(name, (48, 48, 3), 3, width=0.1, **options)
    assert models.name_of(network) == name
    if takes_norm:
        assert training.Initial("file", "", network, name).norm is norm


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: models.squeezenet((48, 48, 3), 3, bypass="complex"), "squeezenet-1.1-bypass"),
        (lambda: models.squeezenet((48, 48, 3), 3, version="1.0", head="published"), "squeezenet-1.0"),
        (
            lambda: compress.apply(models.squeezenet((48, 48, 3), 3), "separable()"),
            "squeezenet-1.1-separable",
        ),
        # Its first modules have too few channels to be separated.
        (
            lambda: compress.apply(models.squeezenet((48, 48, 3), 3, width=0.25), "separable()"),
            "squeezenet-1.1-separable",
        ),
        (
            lambda: compress.strip(compress.apply(models.squeezenet((48, 48, 3), 3), "prune_channels(0.5)")),
            "squeezenet-1.1",
        ),
        (lambda: keras.Sequential([keras.Input((48, 48, 3)), keras.layers.Flatten()]), ""),
    ],
)
def test_a_changed_network_is_recognised_by_most_of_its_layers(make, name):
    assert models.name_of(make()) == name


def test_it_starts_with_the_accuracy_of_the_other_training(started):
    _, history, _ = started
    assert history.curves[0]["accuracy"] > 0.8


def test_frozen_layers_keep_their_weights_and_are_trainable_again_afterwards(started, trained):
    model, _, _ = started
    source = models.load(trained)
    for name in ("conv1", "fire2_squeeze1x1", "fire2_squeeze1x1_norm", "fire4_expand3x3"):
        np.testing.assert_array_equal(weights_of(model, name), weights_of(source, name))
    for name in ("fire5_squeeze1x1", "fire5_squeeze1x1_norm", "conv10"):
        assert not np.array_equal(weights_of(model, name), weights_of(source, name))
    assert all(layer.trainable for layer in model.layers)


def test_a_finished_training_is_loaded(started, stripes, small, trained, monkeypatch):
    model, _, folder = started
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("trained again"))
    again, history = start(stripes, small, folder, trained)
    assert history.resumed_at == SETTINGS.epochs
    np.testing.assert_equal(model.get_weights(), again.get_weights())


def test_another_start_is_another_training(started, stripes, small, trained, tmp_path):
    _, _, folder = started
    source = models.load(trained)
    source.get_layer("conv10").set_weights([w + 1 for w in source.get_layer("conv10").get_weights()])
    source.save(tmp_path / "other.keras")
    with pytest.raises(ValueError, match="other init"):
        start(stripes, small, folder, tmp_path / "other.keras")
    with pytest.raises(ValueError, match="other frozen"):
        start(stripes, small, folder, trained, frozen=["conv1"])


def test_weights_that_do_not_fit_are_refused(stripes, small, trained, published, tmp_path):
    with pytest.raises(ValueError, match=r"whose first layer model\.keras fits"):
        start(stripes, small, tmp_path, trained, width=0.5)
    with pytest.raises(
        ValueError, match=r"that synthetic\.net fits: squeezenet-1\.0\. Received: squeezenet-1\.1"
    ):
        start(stripes, small, tmp_path, published)


@pytest.mark.parametrize(
    ("patterns", "says"), [(["fire99*"], "fire99"), (["*"], "left to train"), (["conv1", "pool1"], "pool1")]
)
def test_patterns_that_freeze_nothing_or_all_are_refused(patterns, says):
    network = models.squeezenet((64, 64, 3), 4, width=0.25)
    with pytest.raises(ValueError, match=says), frozen_layers(network, patterns):
        pass
    assert all(layer.trainable for layer in network.layers)


def test_networks_outside_the_catalogue_are_refused(tmp_path):
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(64, 3, name="conv1")(keras.layers.Rescaling(1 / 255, name="scale")(image))
    x = keras.layers.Conv2D(16, 1, name="fire2_squeeze1x1")(x)
    keras.Model(image, x).save(tmp_path / "foreign.keras")
    with pytest.raises(ValueError, match="scaling of pixels"):
        training.read_initial(tmp_path / "foreign.keras")
    (tmp_path / "cut.keras").write_bytes((tmp_path / "foreign.keras").read_bytes()[:1000])
    with pytest.raises(FormatError):
        training.read_initial(tmp_path / "cut.keras")


def test_train_and_squeeze_start_from_a_file(stripes_folder, published, tmp_path, capsys, monkeypatch):
    patterns = "conv1, fire[2-8]*"
    options = ["--init", str(published), "--freeze", patterns, "--size", "48", "--batch-size", "32", "--json"]
    net, out = tmp_path / "net", tmp_path / "out"
    assert main(["train", str(stripes_folder), "-o", str(net), "--epochs", "1", *options]) == 0
    run = json.loads(capsys.readouterr().out)
    assert run["model"] == "squeezenet-1.0"
    assert run["settings"]["learning_rate"] == training.FINE_TUNING_RATE
    assert run["init"]["new"] == ["conv10"]
    assert run["init"]["frozen"] == ["conv1", "fire[2-8]*"]
    # Recipes have their own tests.
    monkeypatch.setattr(
        "squeezekit.experiment.stage_cache.compress_in_stages",
        lambda model, *_, **__: training.Compressed(models.fold_batch_norm(model), {}, model, ()),
    )
    words = ["squeeze", str(stripes_folder), "-o", str(out), "--epochs", "1", "--no-baseline", *options]
    assert main(words) == 0
    run = json.loads(capsys.readouterr().out)
    assert (run["model"], run["init"]["file"]) == ("squeezenet-1.0", "synthetic.net")
    assert [row["model"] for row in run["rows"]] == ["squeezenet-1.0"] * 2


@pytest.mark.parametrize("verb", ["train", "squeeze"])
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--init", "{net}", "--model", "squeezenet-1.1"], "fits: squeezenet-1.0"),
        (["--init", "{net}x"], ".keras or .net"),
        (["--init", "missing.net"], "No such file"),
        (["--init", "{cut}"], "cut.net: not a Deep Compression"),
        (["--freeze", "conv1"], "--init with --freeze"),
    ],
)
def test_mistakes_are_one_line_and_status_2(stripes_folder, published, tmp_path, capsys, verb, words, says):
    (tmp_path / "cut.net").write_bytes(published.read_bytes()[:-1])
    words = [word.format(net=published, cut=tmp_path / "cut.net") for word in words]
    assert main([verb, str(stripes_folder), "-o", str(tmp_path / "out"), *words]) == 2
    shown = capsys.readouterr().err
    assert len(shown.strip().splitlines()) == 1
    assert says in shown
    assert not (tmp_path / "out").exists()


def test_epochs_that_were_left_open_are_fewer_than_from_scratch():
    assert training.Settings().for_fine_tuning(7867).epochs == 6
    assert training.Settings(epochs=9).for_fine_tuning(7867).epochs == 9
