"""Imports point one way: proved by reading the source of every file, and by importing the bare install."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import squeezekit

ROOT = Path(squeezekit.__file__).parent

# A room imports from lower floors only. `docs/design.md` has the same table in words.
FLOORS = {
    "errors": 0,
    "files": 0,
    "options": 0,
    "quiet": 0,
    "safe_text": 0,
    "thread_map": 0,
    "codec": 1,
    "preprocess": 1,
    "imaging": 1,
    "readers": 1,
    "runtime": 2,
    "data": 2,
    "models": 2,
    "curate": 3,
    "compress": 3,
    "training": 4,
    "export": 4,
    "experiment": 5,
    "report": 6,
    "cli": 7,
    "__main__": 8,
}
ROOMS = {
    "codec",
    "readers",
    "runtime",
    "data",
    "models",
    "curate",
    "compress",
    "training",
    "export",
    "experiment",
    "report",
    "cli",
}

# The steps sideways: imaging obeys a Preprocess, and preprocess imports nothing at all; images in shards have sizes.
SIDEWAYS = {("imaging", "preprocess"), ("readers", "imaging")}

THIRD_PARTY: dict[str, set[str]] = {
    "squeezekit": set(),
    "errors": set(),
    "files": set(),
    "options": set(),
    "quiet": set(),
    "safe_text": set(),
    "thread_map": set(),
    "codec": {"numpy"},
    "preprocess": set(),
    "imaging": {"numpy", "PIL"},
    "readers": {"numpy"},
    "runtime": {"numpy", "PIL", "ai_edge_litert", "tflite_runtime"},
    "data": {"numpy", "tensorflow", "PIL"},
    # Jinja for the page of an audit.
    "curate": {"numpy", "PIL", "jinja2"},
    "models": {"keras", "numpy"},
    "compress": {"keras", "numpy"},
    # TensorFlow, which `data` brings anyway, for one kernel that Keras has no name for.
    "training": {"keras", "numpy", "tensorflow"},
    "export": {"tensorflow", "keras", "flatbuffers", "ai_edge_litert", "numpy"},
    # Ray in one file, which nothing imports but the option that asks for it.
    "experiment": {"numpy", "scipy", "keras", "filelock", "ray", "codecarbon"},
    "report": {"jinja2", "markupsafe", "matplotlib", "numpy", "scipy"},
    "cli": {"click"},
    "__main__": set(),
}

# The only files that may import at run time: one loads a verb when the verb is asked for, one whichever library a
# camera has.
LAZY_LOADERS = (Path("cli/main.py"), Path("runtime/frames.py"))

BARE_MODULES = (
    "squeezekit",
    "squeezekit.codec",
    "squeezekit.preprocess",
    "squeezekit.imaging",
    "squeezekit.readers",
    "squeezekit.runtime",
    "squeezekit.cli",
    "squeezekit.cli.main",
)
LIGHT_VERBS = ("predict", "evaluate", "bench", "bundle", "pack", "unpack", "info")
# What only `squeezekit[train]` brings, and what would be slow to start on a Pi.
HEAVY_MODULES = (
    "keras",
    "tensorflow",
    "jax",
    "torch",
    "jinja2",
    "tensorboard",
    "sklearn",
    "scipy",
    "matplotlib",
    "filelock",
    "ray",
)

_LAZY = " and ".join(path.as_posix() for path in LAZY_LOADERS)

SOURCES = sorted(ROOT.rglob("*.py"))


def room_of(relative: Path) -> str:
    """The room that a file under src/squeezekit belongs to; "squeezekit" for the package's own __init__."""
    first = relative.parts[0].removesuffix(".py")
    return "squeezekit" if first == "__init__" else first


def imported_modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Absolute names of the modules that an import statement reads; `from squeezekit import x` reads x."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if node.module == "squeezekit":
        return [f"squeezekit.{alias.name}" for alias in node.names]
    return [node.module or ""]


def is_dynamic_import(node: ast.AST) -> bool:
    """True for `__import__(...)`, `import_module(...)` and `importlib.import_module(...)`."""
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in ("__import__", "import_module")


def broken_rules(relative: Path, source: str) -> Iterator[str]:
    """Yield one "file:line rule" for each import in a file that its room may not have."""
    room = room_of(relative)
    tree = ast.parse(source)
    within_functions = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        place = f"src/squeezekit/{relative.as_posix()}:{getattr(node, 'lineno', 0)}"
        if relative not in LAZY_LOADERS:
            if isinstance(node, ast.Import | ast.ImportFrom) and id(node) in within_functions:
                yield f"{place} imports inside a function: only {_LAZY} may"
            if is_dynamic_import(node):
                yield f"{place} imports by name at run time: only {_LAZY} may"
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"{place} has a relative import: write the module's full name"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for module in imported_modules(node):
                rule = rule_against(room, module)
                if rule:
                    yield f"{place} {rule}"


def rule_against(room: str, module: str) -> str:
    """Say which rule forbids `room` to import `module`; "" when none does."""
    top, *inner = module.split(".")
    if top != "squeezekit":
        if top in sys.stdlib_module_names or top in THIRD_PARTY[room]:
            return ""
        allowed = ", ".join(sorted(THIRD_PARTY[room])) or "nothing but the standard library"
        return f"imports {module}: {room} may use {allowed}"
    if not inner or inner[0] == room or (room, inner[0]) in SIDEWAYS:
        return ""
    if inner[0] not in FLOORS:
        # `from squeezekit import __version__` reads a constant of the package, which imports nothing.
        return "" if inner[0] in squeezekit.__all__ else f"imports {module}, which is no room"
    if room not in FLOORS or FLOORS[inner[0]] >= FLOORS[room]:
        return (
            f"imports {module}: {inner[0]} is on floor {FLOORS[inner[0]]}, "
            f"{room} on floor {FLOORS.get(room, 0)} may only use lower ones"
        )
    return ""


def test_every_room_exists() -> None:
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == ROOMS


def test_every_file_is_in_a_room_that_has_a_floor() -> None:
    known = FLOORS.keys() | {"squeezekit"}
    assert not [str(path) for path in SOURCES if room_of(path.relative_to(ROOT)) not in known]


@pytest.mark.parametrize("room", sorted(THIRD_PARTY))
def test_imports_point_one_way(room: str) -> None:
    broken = [
        rule
        for path in SOURCES
        if room_of(path.relative_to(ROOT)) == room
        for rule in broken_rules(path.relative_to(ROOT), path.read_text("utf-8"))
    ]
    assert not broken, "\n" + "\n".join(broken)


@pytest.mark.parametrize(
    ("file", "source", "rule"),
    [
        ("codec/a.py", "from squeezekit import runtime", "runtime is on floor 2"),
        ("codec/a.py", "import squeezekit.runtime as r", "runtime is on floor 2"),
        ("codec/a.py", "import squeezekit.cli.main", "cli is on floor 7"),
        ("codec/a.py", "from squeezekit.preprocess import Fit", "preprocess is on floor 1"),
        ("training/a.py", "from squeezekit.export import litert", "export is on floor 4"),
        ("files.py", "from squeezekit.errors import DataError", "errors is on floor 0"),
        ("codec/a.py", "import numpy, keras.ops", "imports keras.ops: codec may use numpy"),
        ("preprocess.py", "import numpy", "nothing but the standard library"),
        ("models/a.py", "from .blocks import x", "relative import"),
        ("models/a.py", "def f():\n    import keras", "a.py:2 imports inside a function"),
        ("models/a.py", "async def f():\n    from keras import ops", "imports inside a function"),
        ("models/a.py", "f = lambda: __import__('keras')", "imports by name"),
        ("cli/device/pack.py", "import importlib\nimportlib.import_module('x')", "pack.py:2 imports by name"),
        ("cli/device/pack.py", "from squeezekit import bricks", "no room"),
        ("__init__.py", "from squeezekit import codec", "codec is on floor 1"),
    ],
)
def test_a_broken_rule_is_named_with_its_line(file: str, source: str, rule: str) -> None:
    (found,) = broken_rules(Path(file), source)
    assert rule in found
    assert found.startswith(f"src/squeezekit/{file}:")


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("codec/a.py", "import json\nimport numpy as np\nfrom squeezekit.codec.entropy.bits import x"),
        ("imaging.py", "from squeezekit.preprocess import Preprocess"),
        ("cli/main.py", "def load(verb):\n    return importlib.import_module(verb)"),
        ("experiment/a.py", "from squeezekit import __version__, codec, export"),
    ],
)
def test_what_is_allowed_passes(file: str, source: str) -> None:
    assert not list(broken_rules(Path(file), source))


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "module", [*BARE_MODULES, *(f"squeezekit.cli.device.{verb}" for verb in LIGHT_VERBS)]
)
def test_the_bare_install_imports_nothing_heavy(module: str) -> None:
    code = f"import {module}, sys; print(*sorted({set(HEAVY_MODULES)!r} & sys.modules.keys()))"
    assert run_python(code).split() == []


def test_the_command_line_answers_without_the_training_packages() -> None:
    # None in sys.modules makes an import fail as if the package were not installed.
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({HEAVY_MODULES!r}))\n"
        "from squeezekit.cli import main\n"
        "main(['--help'])"
    )
    shown = run_python(code)
    assert all(verb in shown for verb in ("squeeze", *LIGHT_VERBS))
