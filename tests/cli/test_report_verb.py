"""`squeezekit report`: the report again from the store alone, and one line about what is wrong."""

import json

import numpy as np
import pytest
from PIL import Image

import study_store


@pytest.fixture
def store(tmp_path):
    return study_store.write(tmp_path / "out", study_store.rows()[:65])


def test_it_writes_every_file_again(store, squeezekit):
    status, out, err = squeezekit("report", store, "--no-pictures")
    assert (status, err) == (0, "")
    assert out.startswith("97.3 KB, 965 times smaller than AlexNet")
    names = {f"{name}.{kind}" for name in ("pareto", "effects") for kind in ("svg", "png", "pdf")}
    names |= {"report.html", "results.csv", "results.json"}
    assert {path.name for path in store.iterdir()} == names | {"results.jsonl", "study.json"}
    before = {name: (store / name).read_bytes() for name in names}
    for name in names:
        (store / name).unlink()
    assert squeezekit("report", store, "--no-pictures")[0] == 0
    assert {name: (store / name).read_bytes() for name in names} == before


def test_json(store, squeezekit):
    path = store / "results.jsonl"
    path.write_text(path.read_text() + '{"id": ')
    status, out, err = squeezekit("report", store, "--no-pictures", "--json")
    assert status == 0
    assert err.count("\n") == 1
    assert err.startswith("squeezekit: note: The last line of results.jsonl is cut off")
    told = json.loads(out)
    assert len(told["findings"]) == 3
    assert len(told["notes"]) == 1
    assert told["energy"]["kwh"] == 0.41
    assert [pick["pick"] for pick in told["picks"]] == ["within 1 point", "within 10 points"]
    assert told["picks"][1]["lost_over_5_points"] == ["sea"]
    network = told["effects"]["bytes"][0]
    assert network["levels"] == {"network": study_store.SEPARABLE}
    assert network["value"] == pytest.approx(np.exp(study_store.SAVED[study_store.SEPARABLE]), rel=0.001)
    assert sum(share["value"] for share in told["shares_of_the_reduction"]) == pytest.approx(1)


@pytest.mark.parametrize("options", [(), ("--json",), ("--no-pictures",)])
def test_no_study_there_is_one_line(tmp_path, squeezekit, options):
    status, out, err = squeezekit("report", tmp_path, *options)
    assert (status, out) == (2, "")
    assert err == (
        f"squeezekit: Expected a study's folder, with results.jsonl and study.json in it. Received: {tmp_path}.\n"
    )


def test_a_damaged_store_is_one_line_and_nothing_is_written(store, squeezekit):
    path = store / "results.jsonl"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": "no"', 1))
    status, out, err = squeezekit("report", store)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert "results.jsonl, line 1: seed is missing or makes no sense" in err
    assert not (store / "report.html").exists()


def test_pictures_come_from_the_images_and_can_be_left_out(store, tmp_path, squeezekit):
    status, _, err = squeezekit("report", store)
    assert status == 0
    assert err == "squeezekit: note: No pictures: the study's images are not where it had them; see --data.\n"
    assert "<img" not in (store / "report.html").read_text("utf-8")
    folder = tmp_path / "elsewhere"
    for name in study_store.common([])["data"]["test_paths"]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(path)
    assert squeezekit("report", store, "--data", folder)[::2] == (0, "")
    page = (store / "report.html").read_text("utf-8")
    assert 1 <= page.count('<img src="data:image/jpeg;base64,') <= 24
    assert squeezekit("report", store, "--data", folder, "--no-pictures")[0] == 0
    assert "<img" not in (store / "report.html").read_text("utf-8")


def test_no_picture_from_outside_the_folder(store, tmp_path, squeezekit):
    outside = tmp_path / "secret.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(outside)
    (tmp_path / "images").mkdir()
    shared = json.loads((store / "study.json").read_text())
    for name in ("../secret.png", str(outside)):
        shared["data"]["test_paths"] = [name] * study_store.IMAGES
        (store / "study.json").write_text(json.dumps(shared))
        assert squeezekit("report", store, "--data", tmp_path / "images")[0] == 0
        assert "<img" not in (store / "report.html").read_text("utf-8")
