"""Two studies at once: one a folder, one a stage, and a killed one holds nothing."""

import json
import subprocess
import sys
import threading
import types

import numpy as np
import pytest

from squeezekit import experiment
from squeezekit.cli import main
from squeezekit.data import Split
from squeezekit.errors import DataError
from squeezekit.experiment import stage_cache
from squeezekit.experiment.plan import Site, Stage
from squeezekit.training import Progress, Settings

# The name matters: a lock that nobody holds on to is let go.
HOLD = """
import filelock, sys
lock = filelock.FileLock(sys.argv[1])
lock.acquire()
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder():
    """Starts a process that holds a lock file until it is killed."""
    started = []

    def hold(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-c", HOLD, str(path)]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline()
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def work(tmp_path):
    """Where a study works, and a stage of it."""
    image = tmp_path / "image.png"
    image.touch()
    dataset = types.SimpleNamespace(train=Split([str(image)], np.zeros(1, np.int32)))
    site = Site(dataset, None, "", tmp_path / "out", tmp_path / "cache", "mine")
    stage = Stage("alexnet", "", 0, Settings(), ("key",), {})
    site.folder(stage.key).mkdir(parents=True)
    return site, stage


class Heard(Progress):
    """Keeps what was said, and lets one wait for it."""

    def __init__(self):
        super().__init__(enabled=False)
        self.lines, self.spoke = [], threading.Event()

    def say(self, text):
        self.lines.append(text)
        self.spoke.set()


def test_a_second_study_in_a_folder_is_refused_until_the_first_is_gone(
    holder, stripes_folder, tmp_path, capsys
):
    out = tmp_path / "out"
    first = holder(out / "study.lock")
    assert main(["study", str(stripes_folder), "-o", str(out)]) == 2
    said = capsys.readouterr().err.strip()
    assert "another study is writing there" in said
    assert len(said.splitlines()) == 1
    assert [path.name for path in out.iterdir()] == ["study.lock"]
    first.kill()
    first.wait()
    with pytest.raises(DataError, match="nowhere"):
        experiment.run_study(tmp_path / "nowhere", out)


def test_a_stage_is_trained_by_one_and_taken_by_the_other(work, monkeypatch):
    site, stage = work
    trained, first, second = [], Heard(), Heard()

    def train(site, stage, progress):
        trained.append(stage.key)
        # Until the other one says that it waits.
        assert second.spoke.wait(60)
        (site.folder(stage.key) / "model.keras").touch()
        (site.folder(stage.key) / "stage.json").write_text(json.dumps({"study": "first"}))
        return {"study": "first"}

    monkeypatch.setattr(stage_cache, "_train", train)
    thread = threading.Thread(target=stage_cache.train_stage, args=(site, stage), kwargs={"progress": first})
    thread.start()
    while not trained:
        assert thread.is_alive()
    assert stage_cache.train_stage(site, stage, progress=second) == {"study": "first"}
    thread.join()
    assert trained == ["key"]
    assert first.lines == []
    assert second.lines == [
        "alexnet, from scratch, seed 0: another study is training it, waiting for its end"
    ]


def test_a_killed_study_leaves_its_stage_to_the_next(work, holder, monkeypatch):
    site, stage = work
    killed = holder(site.folder(stage.key) / "stage.lock")
    heard = Heard()
    monkeypatch.setattr(stage_cache, "_train", lambda site, stage, progress: {"study": site.id})
    threading.Thread(target=lambda: heard.spoke.wait(60) and killed.kill()).start()
    assert stage_cache.train_stage(site, stage, progress=heard) == {"study": "mine"}
    assert len(heard.lines) == 1


@pytest.mark.parametrize("what", ["cache", "images"])
def test_a_machine_that_does_not_see_the_files_says_so(work, what):
    site, stage = work
    gone = site.folder(stage.key) if what == "cache" else site.dataset.train.paths[0]
    gone.rmdir() if what == "cache" else (site.cache.parent / "image.png").unlink()
    with pytest.raises(DataError, match="every machine") as raised:
        stage_cache.train_stage(site, stage)
    assert str(gone) in str(raised.value)
