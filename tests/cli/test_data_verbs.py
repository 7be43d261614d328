"""`squeezekit data check`: what it prints, where it exits, and that --fix and --undo are each other's opposite."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    generator = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True)
        for number in range(3):
            pixels = generator.integers(0, 256, (24, 24, 3), np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number}.png")
    return root


def test_nothing_wrong_is_0(folder, squeezekit):
    status, out, err = squeezekit("data", "check", folder)
    assert (status, err) == (0, "")
    assert "Nothing is wrong" in out


def test_findings_are_1_and_fix_and_undo_put_them_right(folder, squeezekit):
    twice = (folder / "cat" / "0.png").read_bytes()
    (folder / "dog" / "9.png").write_bytes(twice)
    (folder / "cat" / "cut.png").write_bytes(twice[:300])
    status, out, err = squeezekit("data", "check", folder, "--page", folder.parent / "page.html")
    assert (status, err) == (1, "")
    assert "cat/0.png, dog/9.png" in out
    assert "cat/cut.png: " in out
    assert "One picture, two labels" in (folder.parent / "page.html").read_text("utf-8")
    status, out, _ = squeezekit("data", "check", folder, "--fix", "--json")
    result = json.loads(out)
    assert status == 0
    assert [move["image"] for move in result["moves"]] == ["cat/0.png", "cat/cut.png", "dog/9.png"]
    assert result["counts"]["files"] == {"truncated": 1}
    assert result["groups"] == [
        {"images": ["cat/0.png", "dog/9.png"], "exact": True, "two_labels": True, "train_and_test": False}
    ]
    assert squeezekit("data", "check", folder)[0] == 0
    status, out, err = squeezekit("data", "check", folder, "--undo")
    assert (status, out, err) == (0, f"3 files put back into {folder}\n", "")
    assert squeezekit("data", "check", folder, "--json")[0] == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["check", "nowhere"], "No such folder: nowhere"),
        (["check", "."], ".: no images in class folders"),
        (["check", ".", "--undo"], "nothing is in quarantine there"),
        (["check", ".", "--undo", "--fix"], "Expected --undo or --fix, not both."),
        (["chek"], "No such command 'chek'"),
    ],
)
def test_mistakes_are_one_line_and_2(words, line, tmp_path, monkeypatch, squeezekit):
    monkeypatch.delenv("SQUEEZEKIT_DATA", raising=False)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    status, out, err = squeezekit("data", *words)
    assert (status, out) == (2, "")
    assert line in err
    assert err.count("\n") == 1


def test_list_and_fetch(tmp_path, monkeypatch, squeezekit):
    monkeypatch.setenv("SQUEEZEKIT_DATA", str(tmp_path))
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        for part in ("train", "test"):
            for label in ("sea", "street"):
                archive.writestr(f"seg_{part}/seg_{part}/{label}/1.jpg", b"no picture")
    status, out, err = squeezekit("data", "fetch", "intel", "--file", tmp_path / "archive.zip", "--json")
    assert (status, json.loads(out), err) == (0, {"name": "intel", "folder": str(tmp_path / "intel")}, "")
    assert (tmp_path / "intel" / "test" / "sea" / "1.jpg").read_bytes() == b"no picture"
    status, out, _ = squeezekit("data", "list", "--json")
    assert [name for name, facts in json.loads(out).items() if facts["fetched"]] == ["intel"]
    lines = squeezekit("data", "list")[1].splitlines()
    assert next(line for line in lines if line.startswith("intel")).split()[1:4] == ["6", "17,034", "there"]
    for words, line in ((["imagenet"], "nobody but you can download it"), (["intl"], "No set named 'intl'")):
        status, out, err = squeezekit("data", "fetch", *words)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert line in err


def test_unpack(tmp_path, squeezekit):
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 8, 8), np.uint8), y=np.arange(4) % 2 + 1)
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    words = ["unpack", tmp_path / "a.npz", "-o", tmp_path / "pets", "--names", tmp_path / "names.txt"]
    status, out, err = squeezekit("data", *words, "--json")
    assert (status, json.loads(out), err) == (0, {"images": 4, "folder": str(tmp_path / "pets")}, "")
    assert len(list((tmp_path / "pets" / "dog").iterdir())) == 2
    status, out, err = squeezekit("data", *words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "there is something already" in err
