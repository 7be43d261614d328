"""A new network takes one line: all that knows networks by name then knows it."""

import json

import numpy as np
import pytest
from tiny_mobile import ENTRY

from squeezekit import compress, data, export, models, training
from squeezekit.cli import main
from squeezekit.preprocess import Preprocess

SMALL = Preprocess(32, 32)
SETTINGS = training.Settings(
    epochs=12, batch_size=8, learning_rate=3e-3, precision=training.Precision.FLOAT32
)


@pytest.fixture(scope="module", autouse=True)
def registered():
    models.MODELS["tiny-mobile"] = ENTRY
    yield
    del models.MODELS["tiny-mobile"]


@pytest.fixture(scope="module")
def images(stripes_folder):
    return data.open_dataset(stripes_folder)


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    model, history = training.train_network("tiny-mobile", images, SMALL, SETTINGS, folder=folder, width=0.5)
    model.save(folder / "model.keras")
    return model, history, folder / "model.keras"


def test_it_learns_and_is_found_by_its_layers(trained, images):
    model, history, _ = trained
    assert history.curves[-1]["accuracy"] > 0.8
    assert models.title("tiny-mobile") == "TinyMobile"
    for network in (model, models.fold_batch_norm(model), models.build("tiny-mobile", (48, 64, 3), 7)):
        assert models.name_of(network) == "tiny-mobile"


def test_it_ships_as_integers_after_pruning(trained, images, tmp_path):
    pruned = compress.apply(models.fold_batch_norm(trained[0]), "prune(0.5, schedule='constant')")
    calibration = export.calibration_batches(images.train, SMALL, images=20)
    export.litert(compress.strip(pruned), tmp_path / "m.tflite", calibration=calibration)
    graph = export.audit((tmp_path / "m.tflite").read_bytes())
    assert graph.float_operations == ()
    assert graph.inputs[0].shape == (1, 32, 32, 3)


def test_a_training_starts_from_its_weights(trained, stripes_folder, tmp_path, capsys):
    words = [
        "train",
        stripes_folder,
        "-o",
        tmp_path / "out",
        "--init",
        trained[2],
        "--freeze",
        "stem",
        "--json",
    ]
    words += ["--width", "0.5", "--size", "32", "--epochs", "1", "--batch-size", "16"]
    assert main([str(word) for word in words]) == 0
    run = json.loads(capsys.readouterr().out)
    assert (run["model"], run["init"]["model"], run["init"]["new"]) == ("tiny-mobile", "tiny-mobile", [])
    kept = models.load(tmp_path / "out" / "model.keras").get_layer("stem").get_weights()[0]
    np.testing.assert_array_equal(kept, trained[0].get_layer("stem").get_weights()[0])


def test_weights_of_another_family_are_refused(trained):
    with pytest.raises(ValueError, match="fits: tiny-mobile"):
        training.read_initial(trained[2]).require("squeezenet-1.1")
