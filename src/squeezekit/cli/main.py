"""`squeezekit`: lists the verbs, imports the one to run, and turns errors into one line."""

import errno
import importlib
import importlib.util
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from squeezekit import __version__
from squeezekit.cli.output import plain
from squeezekit.errors import DataError, FormatError
from squeezekit.quiet import quiet_native

__all__ = ["cli", "load_ray_executor", "main"]

# Verb: (help, whether it needs the [train] extra). A new verb is one line here and `command` in the module
# squeezekit.cli.device.VERB, or squeezekit.cli.host.VERB with the extra. The help stands here so that
# `squeezekit --help` imports no verb.
VERBS = {
    "demo": ("Do the whole job on generated images, in a few minutes.", True),
    "data": ("Get sets of images and check them.", True),
    "squeeze": ("Turn a folder of images into a tiny classifier and a report.", True),
    "study": ("Compare every combination of techniques on a folder of images.", True),
    "train": ("Train a network on a folder of images.", True),
    "compress": ("Prune, share and quantize a network's weights by a recipe.", True),
    "sensitivity": ("Measure how sensitive each layer is to compression.", True),
    "report": ("Write a study's report again from its results.", True),
    "export": ("Export a Keras network as a .tflite, float or full-integer.", True),
    "pack": ("Pack a .tflite into a .sqz, losslessly.", False),
    "unpack": ("Unpack a .sqz to the exact .tflite that was packed.", False),
    "info": ("Show what is in a .sqz or .tflite and what takes its bytes.", False),
    "predict": ("Label images.", False),
    "evaluate": ("Measure a model's accuracy on labelled images.", False),
    "bench": ("Measure a model's speed, memory and energy.", False),
    "bundle": ("Put a model and all it needs into a folder for a Raspberry Pi.", False),
}

# The packages of the [train] extra: import name and name for people.
_TRAIN_EXTRA = {
    "tensorflow": "TensorFlow",
    "keras": "Keras",
    "flatbuffers": "FlatBuffers",
    "jinja2": "Jinja",
    "tensorboard": "TensorBoard",
    "filelock": "filelock",
    "matplotlib": "matplotlib",
    "scipy": "SciPy",
}

_USER_ERROR, _INTERRUPTED = 2, 130


class _Verbs(click.Group):
    """A group that imports a verb's module when the verb runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        if VERBS[cmd_name][1]:
            # Set before TensorFlow is imported: its log would hide our one line. Errors are still shown.
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
            _require("tensorflow")
        with quiet_native():
            return importlib.import_module(_module_of(cmd_name)).command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, text) for verb, (text, _) in VERBS.items()])


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="squeezekit")
def cli() -> None:
    """A folder of images becomes a classifier of tens of kilobytes that runs on a Raspberry Pi.

    Every verb has --help, and --json for scripts.
    """


def load_ray_executor() -> Any:
    """Import the executor that needs the [ray] extra.

    Raises:
        ModuleNotFoundError: Ray is not installed.
    """
    _require("ray")
    # Ray reports a dead worker on stdout, where --json prints; our own error says what the user must know.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
    return importlib.import_module("squeezekit.experiment.ray_executor")


def _module_of(verb: str) -> str:
    """The module of a verb: `device` has those of the bare install, `host` the others."""
    return f"squeezekit.cli.{'host' if VERBS[verb][1] else 'device'}.{verb}"


def _require(package: str) -> None:
    """Fail now if a package is missing: some verbs import it only after an hour of work."""
    if importlib.util.find_spec(package) is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: the words after `squeezekit`; None takes those of this process.

    Returns:
        The exit status: 0; 2 for a user's mistake or a broken file; 130 for Ctrl-C. An error is one line on stderr.
        With SQUEEZEKIT_TRACEBACK=1 in the environment a traceback comes before it.

    Example:
        >>> main(["--version"])
        squeezekit, version 0.1.0
        0
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        # A console that cannot show a letter of a label prints its code instead of failing.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = cli.main(words, prog_name="squeezekit", standalone_mode=False)
        # Flush now: at exit a closed pipe would print a traceback.
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except click.exceptions.Abort:
        return _fail("interrupted", _INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return _USER_ERROR
    except click.UsageError as error:
        hint = f" (see '{error.ctx.command_path} --help')" if error.ctx is not None else ""
        return _fail(error.format_message() + hint)
    except click.ClickException as error:
        return _fail(error.format_message())
    except ModuleNotFoundError as error:
        return _missing_module(error, words)
    except (ValueError, FormatError, DataError) as error:
        return _fail(str(error))
    except OSError as error:
        if error.errno == errno.EPIPE:
            return _reader_gone()
        return _fail(_os_error(error))
    except MemoryError:
        return _fail("out of memory")


def _fail(message: str, status: int = _USER_ERROR) -> int:
    if os.environ.get("SQUEEZEKIT_TRACEBACK") == "1":
        traceback.print_exc()
    click.echo(f"squeezekit: {plain(message)}", err=True)
    return status


def _os_error(error: OSError) -> str:
    """Like `FILE: No such file or directory`, without the error number."""
    if error.strerror is None:
        return str(error)
    return (
        f"{os.fsdecode(error.filename)}: {error.strerror}" if error.filename is not None else error.strerror
    )


def _missing_module(error: ModuleNotFoundError, words: Sequence[str]) -> int:
    verb = next((word for word in words if word in VERBS), "")
    package = (error.name or "").partition(".")[0]
    if package in _TRAIN_EXTRA and verb and VERBS[verb][1]:
        return _fail(f"'{verb}' needs {_TRAIN_EXTRA[package]}: pip install \"squeezekit[train]\"")
    if package == "ray":
        return _fail("'--executor ray' needs Ray: pip install \"squeezekit[train,ray]\"")
    if verb and error.name == _module_of(verb):
        return _fail(f"No such command '{verb}'.")
    raise error


def _reader_gone() -> int:
    """Someone closed our output (`| head`): end without a message."""
    # Send the rest of the buffer to nowhere, or the flush at exit fails again.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return 1
