import pytest

from squeezekit import runtime


def test_latency_is_a_time(colours):
    assert 0 < runtime.latency_ms(colours, runs=3) < 1000


def test_no_runs_are_the_callers_mistake(colours):
    with pytest.raises(ValueError, match="runs=0"):
        runtime.latency_ms(colours, runs=0)
