import json
import sys
import time

import numpy as np
import pytest

import tiny_classifiers
from squeezekit import codec, runtime
from squeezekit.errors import FormatError
from squeezekit.runtime import energy, latency, machine


@pytest.fixture(autouse=True)
def in_no_time(monkeypatch):
    module = sys.modules["squeezekit.runtime.bench"]
    monkeypatch.setattr(module, "_THROUGHPUT_S", 0.05)
    monkeypatch.setattr(module, "_ENERGY_S", 0.1)


def test_models_take_turns_and_every_figure_of_the_contract_is_there(model_file):
    network = tiny_classifiers.tflite("colours")
    paths = [model_file(codec.pack(network), "colours.sqz"), model_file(network, "colours.tflite")]
    steps = []
    found = runtime.bench(paths, runs=40, processes=1, progress=lambda *step: steps.append(step))
    json.dumps(found, allow_nan=False)
    first, second = found["models"]
    assert (first["ratio"], second["ratio"]["to"]) == (None, str(paths[0]))
    assert second["ratio"]["low"] <= second["ratio"]["median"] <= second["ratio"]["high"]
    for model, path in zip(found["models"], paths, strict=True):
        times, cold = model["latency_ms"], model["cold_start_ms"]
        assert 0 < times["median"] <= times["p90"] <= times["p99"]
        assert cold["total"] == pytest.approx(
            sum(cold[part] for part in ("import", "decode", "allocate", "first")), rel=0.5
        )
        assert model["bytes"] == path.stat().st_size
        assert model["runs"] == 40
        assert model["throughput"][0]["threads"] == 1
        assert model["energy"]["measured"] == (model["energy"]["idle_watts"] is not None)
    assert steps[-1][0] == steps[-1][1]
    assert steps == sorted(steps)


def test_percentiles_are_of_all_runs():
    taken = latency.Latency(np.arange(1.0, 101.0).reshape(20, 5))
    assert taken.median_ms == 50.5
    assert taken.p90_ms == pytest.approx(90.1)
    assert taken.p99_ms == pytest.approx(99.01)


def test_a_ratio_holds_while_the_machine_slows_down():
    # The machine becomes a hundred times slower: milliseconds say nothing, the ratio of each round does.
    pace = np.geomspace(1, 100, 20)[:, None]
    draws = np.random.default_rng(1)
    one, other = (latency.Latency(pace * base * draws.uniform(0.9, 1.1, (20, 9))) for base in (3.0, 1.5))
    found = runtime.ratio(one, other)
    assert 1.9 < found.low < found.median < found.high < 2.1


@pytest.mark.parametrize("options", [{"runs": 19}, {"processes": 0}, {"threads": 0}])
def test_bad_numbers_are_refused(model_file, options):
    path = model_file(tiny_classifiers.tflite("colours"), "colours.tflite")
    with pytest.raises(ValueError, match=next(iter(options))):
        runtime.bench([path], **{"runs": 20, **options})
    with pytest.raises(ValueError, match="at least one model"):
        runtime.bench([])


def test_rapl_counts_packages_and_survives_a_full_counter(tmp_path):
    def write(zone, micro):
        folder = tmp_path / zone
        folder.mkdir(exist_ok=True)
        (folder / "energy_uj").write_text(f"{micro}\n")
        (folder / "max_energy_range_uj").write_text("9999999\n")

    write("intel-rapl:0", 9_000_000)
    write("intel-rapl:1", 0)
    write("intel-rapl:0:0", 5)
    meter = energy.Rapl.find(tmp_path)
    write("intel-rapl:0", 1_000_000)
    write("intel-rapl:1", 500_000)
    write("intel-rapl:0:0", 7_000_000)
    assert meter.joules() == pytest.approx(2.5)
    assert energy.Rapl.find(tmp_path / "none") is None


def test_the_power_chip_is_read_all_the_while():
    watts = iter([2.0] * 3 + [4.0] * 1000)
    meter = energy.PowerChip(lambda: f"VDD_CORE_A current(7)={next(watts)}A\nVDD_CORE_V volt(15)=1.0V")
    start = time.monotonic()
    time.sleep(1.0)
    joules, seconds = meter.joules(), time.monotonic() - start
    meter.close()
    assert 2.0 * seconds < joules <= 4.0 * seconds


def test_a_usb_meters_log_is_integrated(tmp_path):
    log = tmp_path / "meter.csv"
    now = time.time()
    log.write_text(f"time,volts,watts\n{now - 10},5,2.0\n{now - 4},5,3.5\n")
    assert energy.UsbMeter(log).joules() == pytest.approx(6 * 2.0 + 4 * 3.5, abs=1)
    log.write_text("nothing\n")
    with pytest.raises(FormatError, match="seconds,watts"):
        energy.UsbMeter(log)


def test_what_the_idle_machine_takes_does_not_count():
    class Steady(energy.Meter):
        method = "steady"

        def joules(self):
            return 5.0 * time.monotonic()

    found = energy.energy(lambda: time.sleep(0.001), Steady(), seconds=0.2)
    assert found.idle_watts == pytest.approx(5.0, rel=0.05)
    assert found.millijoules < 0.5
    assert found.measured


def test_a_pi_is_known_by_its_tree(tmp_path):
    tree = tmp_path / "proc/device-tree"
    tree.mkdir(parents=True)
    (tree / "model").write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "temp").write_text("61234\n")
    assert machine.describe_machine(tmp_path)["model"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert machine.temperature_c(tmp_path) == 61.234
    assert machine.temperature_c(tmp_path / "none") is None
    assert machine.throttled("throttled=0x0") == []
    assert machine.throttled("VCHI initialization failed") is None
