"""The electricity of a study: goes add up, what is assumed is said, and nothing that goes wrong ends a training."""

import json
import types

import pytest

from squeezekit.experiment import energy


class Tracker:
    """Stands for codecarbon's: each go takes a hundredth of a kWh, read twice."""

    fails = ""

    def __init__(self, **options):
        assert options["output_methods"] == []
        if self.fails == "made":
            raise OSError("no such processor")
        self.handler = options["output_handlers"][0]
        self._hardware = [types.SimpleNamespace(description=lambda: "CPU(Cpu Load)")]

    def start(self):
        self.handler.live_out(self.data(0.004), None)

    def stop(self):
        if self.fails == "stopped":
            raise RuntimeError("lost it")
        self.handler.out(self.data(0.01), None)

    @staticmethod
    def data(kwh):
        parts = {"cpu_energy": kwh / 2, "ram_energy": kwh / 2, "gpu_energy": 0.0, "energy_consumed": kwh}
        named = {"cpu_model": "A processor", "cpu_count": 2, "gpu_model": "", "gpu_count": 0}
        return types.SimpleNamespace(duration=30.0, ram_power=10.0, **parts, **named)


@pytest.fixture
def tracker(monkeypatch):
    """A codecarbon that is installed, whatever this environment has."""
    monkeypatch.setattr(energy, "OfflineEmissionsTracker", Tracker)
    monkeypatch.setattr(energy, "codecarbon_cpu", None, raising=False)
    tdp = types.SimpleNamespace(tdp=8)
    monkeypatch.setattr(energy, "get_cached_tdp", lambda _: tdp, raising=False)
    monkeypatch.setattr(energy.importlib.metadata, "version", lambda _: "3.3.2")
    monkeypatch.setattr(Tracker, "fails", "")


def test_goes_add_up_and_say_what_they_assume(tracker, tmp_path):
    kept = tmp_path / "energy.json"
    with energy.Meter(kept):
        pass
    # A go that is killed has kept its last reading.
    killed = energy.Meter(kept, resumed=True)
    killed.__enter__()
    assert [go["kwh"] for go in json.loads(kept.read_text())] == [0.01, 0.004]
    with energy.Meter(kept, resumed=True) as meter:
        pass
    record = meter.record()
    assert record["kwh"] == pytest.approx(0.024)
    assert record["cpu_kwh"] == record["ram_kwh"] == pytest.approx(0.012)
    assert (record["metered"], record["cpu"]) == (False, ["A processor, 2 threads"])
    assert "x 8 W" in record["basis"][0]
    assert "memory: 10 W" in record["basis"][0]
    assert "whole" not in record
    with energy.Meter(tmp_path / "another.json", resumed=True) as late:
        pass
    assert late.record()["whole"] is False


@pytest.mark.parametrize("fails", ["made", "stopped"])
def test_a_meter_that_fails_costs_its_figure_only(tracker, monkeypatch, fails, tmp_path):
    monkeypatch.setattr(Tracker, "fails", fails)
    with energy.Meter(tmp_path / "energy.json") as meter:
        pass
    assert meter.record()["kwh"] == (None if fails == "made" else 0.004)
    with pytest.raises(KeyError), energy.Meter():
        raise KeyError("the work's own mistake comes through")


def test_without_codecarbon_the_record_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr(energy, "OfflineEmissionsTracker", None)
    with energy.Meter(tmp_path / "energy.json") as meter:
        pass
    assert meter.record()["kwh"] is None
    assert "squeezekit[energy]" in meter.record()["reason"][0]


def test_a_study_is_the_sum_of_its_trainings_and_of_measuring():
    trainings = [
        {"reused": True, "energy": {"kwh": 1.0}},
        {"reused": False, "energy": {"kwh": 2.0, "whole": False}},
        {"reused": False, "energy": None},
    ]
    total = energy.total_energy(trainings, {"kwh": 0.5})
    assert (total["kwh"], total["trainings_kwh"], total["reused_kwh"]) == (3.5, 3.0, 1.0)
    assert total["unmetered_trainings"] == 2
    assert total["whole"] is False


def test_codecarbon_itself_measures_without_a_word_or_a_file(capfd, tmp_path, monkeypatch):
    pytest.importorskip("codecarbon")
    monkeypatch.chdir(tmp_path)
    with energy.Meter() as meter:
        assert sum(range(3_000_000))
    record = meter.record()
    assert record["kwh"] > 0
    assert record["by"][0].startswith("codecarbon 3.")
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())
