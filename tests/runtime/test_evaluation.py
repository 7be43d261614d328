import numpy as np
import pytest
from PIL import Image

from squeezekit import runtime
from squeezekit.errors import DataError
from tiny_classifiers import COLOURS


def paint(folder, label, shown=None, count=2, start=0):
    """Write images of a colour into a class folder; `shown` is what they really are."""
    (folder / label).mkdir(parents=True, exist_ok=True)
    for number in range(start, start + count):
        Image.new("RGB", (20 + number, 15), COLOURS[shown or label]).save(folder / label / f"{number}.png")


def test_shares_are_counted_by_class(colours, tmp_path):
    paint(tmp_path, "red", count=3)
    paint(tmp_path, "red", "blue", count=1, start=3)
    paint(tmp_path, "blue", count=2)
    result = runtime.evaluate(colours, tmp_path)
    assert result.images == 6
    assert result.top1 == 5 / 6
    assert result.top5 == 1
    assert result.per_class == {"red": 0.75, "blue": 1.0}
    assert result.worst_class == "red"
    assert result.skipped == ()
    wrong = [outcome for outcome in result.predictions if outcome.label != outcome.predicted]
    assert wrong == [runtime.Outcome(str(tmp_path / "red" / "3.png"), "red", "blue")]


def test_every_image_gets_what_predict_gives(places, photo, tmp_path):
    generator = np.random.default_rng(6)
    for label in ("1", "4", "6"):
        (tmp_path / label).mkdir()
        for number in range(8):
            noisy = photo.astype(int) + generator.integers(-120, 120, photo.shape)
            Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(tmp_path / label / f"{number}.jpg")
    result = runtime.evaluate(places, tmp_path)
    right, right_of_five = [], []
    for outcome in result.predictions:
        prediction = places.predict(outcome.path)
        assert outcome.predicted == prediction.label
        right.append(prediction.label == outcome.label)
        right_of_five.append(outcome.label in [label for label, _ in prediction.top])
    assert len(right) == result.images == 24
    assert (result.top1, result.top5) == (np.mean(right), np.mean(right_of_five))


def test_a_test_folder_is_used_where_there_is_one(colours, tmp_path):
    paint(tmp_path / "train", "red", "blue", count=4)
    paint(tmp_path / "test", "red", count=2)
    assert runtime.evaluate(colours, tmp_path).images == 2
    assert runtime.evaluate(colours, tmp_path).top1 == 1
    assert runtime.evaluate(colours, tmp_path / "train").top1 == 0


def test_a_class_named_test_is_a_class(places, tmp_path, model_file):
    (tmp_path / "data" / "test").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "data" / "test" / "0.png")
    with pytest.raises(DataError, match="does not know"):
        runtime.evaluate(places, tmp_path / "data")


def test_hidden_and_other_files_are_passed_by(colours, tmp_path):
    paint(tmp_path, "red")
    for name in (".hidden.png", "notes.txt", "Thumbs.db"):
        (tmp_path / "red" / name).write_bytes(b"x")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "red" / "deeper.png").mkdir()
    assert runtime.evaluate(colours, tmp_path).images == 2


def test_suffixes_in_capitals_count(colours, tmp_path):
    paint(tmp_path, "red", count=1)
    (tmp_path / "red" / "0.png").rename(tmp_path / "red" / "0.PNG")
    assert runtime.evaluate(colours, tmp_path).images == 1


def test_a_few_unreadable_images_are_skipped_counted_and_named(colours, tmp_path):
    paint(tmp_path, "red", count=19)
    (tmp_path / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    result = runtime.evaluate(colours, tmp_path)
    assert result.images == 19
    assert result.top1 == 1
    assert len(result.skipped) == 1
    assert "broken.jpg: unreadable image" in result.skipped[0]


def test_more_than_one_in_twenty_is_refused(colours, tmp_path):
    paint(tmp_path, "red", count=18)
    (tmp_path / "red" / "broken.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of 19 images are unreadable; the first: .*broken\.jpg"):
        runtime.evaluate(colours, tmp_path)


def test_an_image_that_vanishes_is_skipped(colours, tmp_path):
    paint(tmp_path, "red", count=20)
    paths = [str(tmp_path / "red" / f"{number}.png") for number in range(20)]
    (tmp_path / "red" / "7.png").unlink()
    result = runtime.evaluate_files(colours, paths, ["red"] * 20)
    assert result.skipped == (f"{paths[7]}: No such file or directory",)


def test_a_class_without_readable_images_is_refused(colours, tmp_path):
    paint(tmp_path, "red", count=30)
    (tmp_path / "blue").mkdir()
    with pytest.raises(DataError, match="blue: no images"):
        runtime.evaluate(colours, tmp_path)
    (tmp_path / "blue" / "0.png").write_bytes(b"x")
    with pytest.raises(DataError, match="blue: no readable image"):
        runtime.evaluate(colours, tmp_path)


def test_an_unknown_class_is_named_with_those_that_are_known(colours, tmp_path):
    paint(tmp_path, "red")
    (tmp_path / "red").rename(tmp_path / "violet")
    with pytest.raises(DataError, match=r"violet: .*does not know; its classes are red, green, blue"):
        runtime.evaluate(colours, tmp_path)
    with pytest.raises(DataError, match="violet"):
        runtime.evaluate_files(colours, ["x.png"], ["violet"])


def test_an_ambiguous_class_is_refused(colours, tmp_path):
    twice = runtime.Model(colours.path, ("red", "red", "blue"), colours.preprocess, {}, colours.network)
    with pytest.raises(DataError, match="more than once"):
        runtime.evaluate_files(twice, ["x.png"], ["red"])


def test_folders_that_hold_nothing(colours, tmp_path):
    with pytest.raises(DataError, match="No such folder"):
        runtime.evaluate(colours, tmp_path / "none")
    with pytest.raises(DataError, match="found none"):
        runtime.evaluate(colours, tmp_path)
    (tmp_path / "file.txt").write_bytes(b"x")
    with pytest.raises(DataError, match="received a file"):
        runtime.evaluate(colours, tmp_path / "file.txt")


def test_lists_that_do_not_match(colours):
    with pytest.raises(ValueError, match="1 paths, 2 labels"):
        runtime.evaluate_files(colours, ["x.png"], ["red", "blue"])
    with pytest.raises(DataError, match="no images"):
        runtime.evaluate_files(colours, [], [])


def test_a_name_is_looked_up_where_squeezekit_data_says(colours, tmp_path, monkeypatch):
    paint(tmp_path / "catalogue" / "paints" / "test", "red")
    monkeypatch.setenv("SQUEEZEKIT_DATA", str(tmp_path / "catalogue"))
    monkeypatch.chdir(tmp_path)
    assert runtime.evaluate(colours, "paints").images == 2


def test_progress_counts_to_the_end(colours, tmp_path):
    paint(tmp_path, "red", count=3)
    seen = []
    runtime.evaluate(colours, tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_arrays_are_evaluated_on_their_test_part(colours, tmp_path):
    shown = ["red", "green", "blue", "blue", "green"]
    x = np.array([np.full((15, 20, 3), COLOURS[name], np.uint8) for name in shown])
    right = np.array([0, 1, 2, 2, 2])
    np.savez(tmp_path / "a.npz", x_train=x, y_train=right[::-1], x_test=x, y_test=right)
    result = runtime.evaluate(colours, tmp_path / "a.npz")
    assert result.per_class == {"red": 1.0, "green": 1.0, "blue": 2 / 3}
    assert result.counts == {"red": 1, "green": 1, "blue": 3}
    assert (result.images, result.top1, result.macro_accuracy) == (5, 0.8, pytest.approx(8 / 9))
    assert result.predictions[4] == runtime.Outcome("a.npz/x_test/4", "blue", "green")
    np.savez(tmp_path / "b.npz", x=x, y=right, class_names=np.array(["blue", "red", "green"]))
    named = runtime.evaluate(colours, tmp_path / "b.npz")
    assert (named.top1, named.per_class["green"]) == (0.2, pytest.approx(1 / 3))
    np.savez(tmp_path / "c.npz", x=x, y=np.arange(5))
    with pytest.raises(DataError, match="does not know"):
        runtime.evaluate(colours, tmp_path / "c.npz")
