"""The documents tell the truth: commands exist, snippets run, links lead somewhere, names are explained."""

import doctest
import enum
import importlib
import inspect
import os
import re
import shlex
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import squeezekit
from squeezekit.cli import cli

ROOT = Path(__file__).parent.parent
PACKAGE = Path(squeezekit.__file__).parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
PAGE_NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]

# In a fence's first line: ```python, or ```python run for a snippet that the test runs.
FENCE = re.compile(
    r"^```(?P<language>\w*)[ ]*(?P<mark>.*?)\n(?P<body>.*?)^```[ ]*$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#+ +(?P<text>.+?) *$", re.MULTILINE)

MODULES = sorted(
    ".".join(["squeezekit", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if path.stem != "__main__"
)


def blocks(page: Path, language: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line number, mark, text) for each fenced block of a language."""
    text = page.read_text("utf-8")
    for match in FENCE.finditer(text):
        if match["language"] == language:
            yield text.count("\n", 0, match.start()) + 2, match["mark"], match["body"]


def commands_in(script: str) -> Iterator[list[str]]:
    """Yield the words of each squeezekit command in a shell script, however it is chained or continued."""
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word and set(word) <= set("();<>|&"):
                if words[:1] == ["squeezekit"]:
                    yield words[1:]
                words = []
            else:
                words.append(word)


def what_is_wrong(words: list[str]) -> str:
    """Say what click would refuse in a command, without looking for its files or running it; "" if nothing."""
    context = click.Context(cli, info_name="squeezekit")
    try:
        rest = cli.make_parser(context).parse_args(list(words))[1]
        if not rest:
            return ""
        verb = cli.get_command(context, rest[0])
        if verb is None:
            return f"no verb {rest[0]!r}"
        while isinstance(verb, click.Group):
            context = click.Context(verb, parent=context, info_name=rest[0])
            rest = verb.make_parser(context).parse_args(rest[1:])[1]
            if not rest:
                return ""
            group, verb = verb, verb.get_command(context, rest[0])
            if verb is None:
                return f"no verb {rest[0]!r} in {group.name!r}"
        inner = click.Context(verb, parent=context, info_name=rest[0])
        values, extra, _ = verb.make_parser(inner).parse_args(rest[1:])
        if extra:
            return f"{rest[0]} got unexpected {shlex.join(extra)}"
        for parameter in verb.get_params(inner):
            value = values.get(parameter.name)
            absent = parameter.name not in values or parameter.value_is_missing(value)
            if parameter.required and absent:
                return f"{rest[0]} needs {parameter.human_readable_name}"
            if isinstance(value, str) and not isinstance(parameter.type, click.Path | click.File):
                parameter.type_cast_value(inner, value)
    except click.ClickException as error:
        return error.format_message()
    return ""


@pytest.mark.parametrize("name", PAGE_NAMES)
def test_commands_name_only_verbs_and_options_that_exist(name: str) -> None:
    wrong = [
        f"{name}:{line} squeezekit {shlex.join(words)}: {problem}"
        for line, _, script in blocks(ROOT / name, "bash")
        for words in commands_in(script)
        if (problem := what_is_wrong(words))
    ]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("squeezekit shrink photos", "no verb 'shrink'"),
        ("squeezekit squeeze photos -o out --swift", "--swift"),
        ("squeezekit squeeze photos", "out"),
        ("squeezekit pack -o x.sqz", "MODEL"),
        ("squeezekit info x.sqz y.sqz", "y.sqz"),
        ("squeezekit train photos -o out --epochs many", "many"),
        ("squeezekit train photos -o out --model resnet", "resnet"),
        ("squeezekit data chek photos", "no verb 'chek' in 'data'"),
        ("squeezekit data check photos --swift", "--swift"),
    ],
)
def test_a_wrong_command_is_found(command: str, problem: str) -> None:
    (words,) = commands_in(command)
    assert problem.lower() in what_is_wrong(words).lower()


def test_commands_are_found_in_chains_comments_and_continued_lines() -> None:
    script = "cd x  # squeezekit no\nsqueezekit pack a -o b && squeezekit unpack b \\\n  -o c | cmp c a\nmake demo\n"
    assert list(commands_in(script)) == [["pack", "a", "-o", "b"], ["unpack", "b", "-o", "c"]]


@pytest.mark.parametrize("name", PAGE_NAMES)
def test_python_snippets_are_python_or_quotes_and_the_marked_ones_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for line, mark, code in blocks(ROOT / name, "python"):
        if (quoted := re.match(r"# (tests/examples/\w+\.py)\n", code)) is not None:
            assert code[quoted.end() :] in (ROOT / quoted[1]).read_text("utf-8"), (
                f"{name}:{line} quotes wrongly"
            )
            continue
        compiled = compile("\n" * (line - 1) + code, name, "exec")
        if mark == "run":
            exec(compiled, {"__name__": "__main__"})


def test_the_readme_has_a_snippet_that_runs() -> None:
    assert [mark for _, mark, _ in blocks(ROOT / "README.md", "python")].count("run") >= 1


@pytest.mark.parametrize("name", PAGE_NAMES)
def test_relative_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    dead = []
    for match in LINK.finditer(FENCE.sub("", page.read_text("utf-8"))):
        target, _, anchor = match["target"].partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (page.parent / target).resolve() if target else page
        exists = file.exists() and ROOT in [file, *file.parents]
        if not exists or (anchor and anchor not in anchors(file)):
            dead.append(match["target"])
    assert not dead, f"{name} has dead links: {dead}"


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    return {
        re.sub(r"[^\w\- ]", "", match["text"].lower()).replace(" ", "-")
        for match in HEADING.finditer(FENCE.sub("", page.read_text("utf-8")))
    }


def test_the_readme_has_a_place_for_the_results() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert text.count("<!-- results:begin -->") == text.count("<!-- results:end -->") == 1
    assert text.index("<!-- results:begin -->") < text.index("<!-- results:end -->")


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    words = ["mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"cli"}
    assert rooms <= {path.stem for path in (tmp_path / "site" / "api").iterdir()}
    page = (tmp_path / "site" / "api" / "codec.html").read_text("utf-8")
    assert "squeezekit.codec.pack" in page
    # The reader's browser asks no other server for anything.
    assert not re.search(r'(?:src|<link[^>]*href)="https?:', page)


def load(module: str) -> types.ModuleType:
    """Import a module; the one that needs an extra of its own only where that is installed."""
    if module.endswith("ray_executor"):
        pytest.importorskip("ray")
    return importlib.import_module(module)


@pytest.mark.parametrize("module", MODULES)
def test_public_names_exist_and_are_explained(module: str) -> None:
    imported = load(module)
    assert imported.__doc__, f"{module} has no docstring"
    for name in vars(imported).get("__all__", ()):
        value = getattr(imported, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert is_explained(value), f"{module}.{name} has no docstring"


def is_explained(value: object) -> bool:
    """Whether a class or function has a docstring that someone wrote."""
    text = inspect.getdoc(value) if not inspect.isclass(value) else value.__doc__
    # A dataclass without a docstring gets "Name(field: type)", an enum one of Python's own.
    made = isinstance(value, type) and (text or "").startswith(f"{value.__name__}(")
    return bool(text) and not made and text != enum.Enum.__doc__


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings_run(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = load(module)
    monkeypatch.chdir(tmp_path)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for example in doctest.DocTestFinder(exclude_empty=True).find(imported, module):
        runner.run(example, out=report.append)
    assert not runner.failures, "".join(report)
