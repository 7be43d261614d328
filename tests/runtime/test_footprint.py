import json

import pytest
from PIL import Image

import tiny_classifiers
from squeezekit import codec, runtime
from squeezekit.errors import FormatError


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "red.png"
    Image.new("RGB", (30, 20), "red").save(path)
    return path


def test_a_fresh_process_tells_time_and_memory(model_file, picture):
    path = model_file(codec.pack(tiny_classifiers.tflite("colours")), "colours.sqz")
    found = runtime.footprint(path, picture, processes=1)
    assert found.cold_start_ms > 0
    # The process as a whole, NumPy and LiteRT with it, but nothing of the one that asks: that has TensorFlow.
    assert found.peak_memory_bytes is None or 2e7 < found.peak_memory_bytes < 2.5e8


def test_the_figures_are_medians(monkeypatch, model_file, picture):
    figures = iter([(7.0, 100), (2.0, 300), (5.0, 200)])

    class Done:
        returncode = 0

        @property
        def stdout(self):
            milliseconds, peak = next(figures)
            parts = {"import_ms": 50.0, "decode_ms": milliseconds, "allocate_ms": 1.0, "first_ms": 2.0}
            return json.dumps({**parts, "peak_memory_bytes": peak})

    monkeypatch.setattr(runtime.footprint.__globals__["subprocess"], "run", lambda *_, **__: Done())
    found = runtime.footprint("any.sqz", picture)
    assert found == runtime.Footprint(50.0, 5.0, 1.0, 2.0, 200)
    assert (found.cold_start_ms, found.total_ms) == (8.0, 58.0)


def test_without_an_image_noise_is_labelled(model_file):
    path = model_file(tiny_classifiers.tflite("colours"), "colours.tflite")
    assert runtime.footprint(path, processes=1).first_ms > 0


def test_a_file_that_does_not_run_is_one_line(model_file, picture):
    path = model_file(b"GIF89a", "no.sqz")
    with pytest.raises(FormatError, match="neither") as caught:
        runtime.footprint(path, picture, processes=1)
    assert "\n" not in str(caught.value)


def test_no_processes_are_the_callers_mistake(picture):
    with pytest.raises(ValueError, match="processes=0"):
        runtime.footprint("any.sqz", picture, processes=0)
