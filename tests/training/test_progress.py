"""The display of a long job."""

import io

import pytest

from squeezekit.training import Progress
from squeezekit.training import progress as module


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves only when told."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_follows_from_the_pace_so_far(clock):
    stream = io.StringIO()
    progress = Progress(stream, enabled=True)
    for clock[0], done in ((100.0, 0), (120.0, 1), (140.0, 2)):
        progress.update("packing", done, 4)
    assert stream.getvalue().splitlines()[-1] == "packing   50%    0:40 left"


def test_a_second_job_of_the_same_name_has_a_clock_of_its_own(clock):
    stream = io.StringIO()
    progress = Progress(stream, enabled=True)
    for clock[0], done in ((100.0, 0), (400.0, 4), (1000.0, 0), (1030.0, 4)):
        progress.update("packing", done, 4)
    assert [line for line in stream.getvalue().splitlines() if "done" in line] == [
        "packing  done in 5:00",
        "packing  done in 0:30",
    ]


def test_a_file_gets_no_display(clock):
    stream = io.StringIO()
    Progress(stream).update("packing", 4, 4)
    assert stream.getvalue() == ""
