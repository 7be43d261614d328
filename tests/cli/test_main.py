import os
import signal
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from squeezekit import __version__
from squeezekit.cli import cli, main
from squeezekit.cli.device import predict
from squeezekit.errors import DataError, FormatError

TRAIN_VERBS = ["demo", "data", "squeeze", "study", "train", "compress", "sensitivity", "report", "export"]
LIGHT_VERBS = ["pack", "unpack", "info", "predict", "evaluate", "bench", "bundle"]
VERBS = TRAIN_VERBS + LIGHT_VERBS


def python(code: str, *words: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


@pytest.fixture
def failing(monkeypatch):
    """Let `squeezekit info` raise what a test chooses: failing(error)."""

    def let(error):
        @click.command("info")
        def command():
            raise error

        monkeypatch.setattr("squeezekit.cli.device.info.command", command)

    return let


def test_help_lists_every_verb():
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.output.partition("Verbs:\n")[2].splitlines()] == VERBS


@pytest.mark.parametrize("verb", LIGHT_VERBS)
def test_every_light_verb_has_help_and_json(verb, squeezekit):
    status, out, err = squeezekit(verb, "--help")
    assert (status, err) == (0, "")
    assert f"Usage: squeezekit {verb} " in out
    assert "--json" in out


def test_version(squeezekit):
    assert squeezekit("--version") == (0, f"squeezekit, version {__version__}\n", "")


def test_no_verb_shows_the_verbs(squeezekit):
    status, out, err = squeezekit()
    assert (status, out) == (2, "")
    assert "predict" in err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["shrink"], "No such command 'shrink'. (see 'squeezekit --help')"),
        (["pack", "x.tflite"], "Missing option '-o' / '--output'. (see 'squeezekit pack --help')"),
        (["predict", "m", "i", "--top", "0"], "Invalid value for '--top': 0 is not in the range x>=1."),
    ],
)
def test_a_wrong_command_is_one_line(words, line, squeezekit):
    status, out, err = squeezekit(*words)
    assert (status, out) == (2, "")
    assert err.startswith(f"squeezekit: {line}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("Expected 1. Received: 2."), "Expected 1. Received: 2."),
        (FormatError("x.sqz: damaged"), "x.sqz: damaged"),
        (DataError("x: no images"), "x: no images"),
        (FileNotFoundError(2, "No such file or directory", "x.sqz"), "x.sqz: No such file or directory"),
        (PermissionError(13, "Permission denied", b"x.sqz"), "x.sqz: Permission denied"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (IsADirectoryError("Expected a file"), "Expected a file"),
        (MemoryError(), "out of memory"),
        (ValueError("two\nlines \x1b[31mred"), "two lines \N{REPLACEMENT CHARACTER}[31mred"),
    ],
)
def test_an_error_is_one_line_and_status_2(error, line, failing, squeezekit):
    failing(error)
    assert squeezekit("info") == (2, "", f"squeezekit: {line}\n")


def test_a_traceback_for_those_who_ask(failing, squeezekit, monkeypatch):
    monkeypatch.setenv("SQUEEZEKIT_TRACEBACK", "1")
    failing(ValueError("no"))
    status, _, err = squeezekit("info")
    assert status == 2
    assert err.startswith("Traceback")
    assert err.endswith("ValueError: no\nsqueezekit: no\n")


def test_a_fault_of_ours_is_not_hidden(failing):
    failing(TypeError("a bug"))
    with pytest.raises(TypeError):
        main(["info"])
    failing(ModuleNotFoundError("No module named 'nothing'", name="nothing"))
    with pytest.raises(ModuleNotFoundError):
        main(["info"])


def test_ctrl_c_is_130(failing, squeezekit):
    failing(KeyboardInterrupt())
    status, out, err = squeezekit("info")
    assert (status, out) == (130, "")
    assert err.strip() == "squeezekit: interrupted"


BARE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras", "jinja2", "flatbuffers", "tensorboard"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from squeezekit.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("verb", TRAIN_VERBS)
def test_a_train_verb_without_the_extra_says_what_to_install(verb):
    done = python(BARE, verb, "--help")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"squeezekit: '{verb}' needs ")
    assert done.stderr.endswith(': pip install "squeezekit[train]"\n')
    assert done.stderr.count("\n") == 1


def test_help_imports_no_verb_and_nothing_heavy():
    done = python(
        "import sys; from squeezekit.cli import main; main(['--help']); "
        "print([n for n in sys.modules if n in ('numpy', 'PIL', 'ai_edge_litert', 'squeezekit.cli.device.info')])"
    )
    assert done.stdout.endswith("[]\n")


def test_a_real_process_predicts_quietly(model, photos):
    words = ["predict", str(model), str(photos / "red" / "one.png")]
    done = python("import sys; from squeezekit.cli import main; sys.exit(main())", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].split()[:2] == [str(photos / "red" / "one.png"), "red"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals and pipes")
def test_a_reader_that_goes_away_is_not_an_error(model):
    done = subprocess.run(
        f"'{sys.executable}' -c 'from squeezekit.cli import main; import sys; sys.exit(main())' "
        f"info '{model}' | true",
        shell=True,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_real_ctrl_c_ends_with_one_line():
    code = (
        "import os, signal, sys, click; from squeezekit.cli import main; from squeezekit.cli.device import info\n"
        "@click.command()\n"
        "def command(): os.kill(os.getpid(), signal.SIGINT); signal.pause()\n"
        "info.command = command\n"
        "sys.exit(main(['info']))"
    )
    # Python turns SIGINT into KeyboardInterrupt only where its parent did not ignore it.
    done = python(code, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    assert done.returncode == 130
    assert done.stderr.strip() == "squeezekit: interrupted"


def test_click_runs_a_verb_without_main(model, photos):
    result = CliRunner().invoke(predict.command, [str(model), str(photos / "blue" / "one.png"), "--json"])
    assert result.exit_code == 0
    assert '"label": "blue"' in result.output
