"""What a release says of itself: one version, a citation that tools can read, a publish step that is off."""

import re
import tomllib
from pathlib import Path

import yaml

import squeezekit

ROOT = Path(__file__).parent.parent
SPDX = "Apache-2.0"


def read(path):
    return yaml.safe_load((ROOT / path).read_text("utf-8"))


def test_the_version_stands_in_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "squeezekit.__version__"}


def test_the_citation_has_the_form_of_cff_1_2():
    """The keys and types that https://github.com/citation-file-format/citation-file-format requires."""
    citation = read("CITATION.cff")
    allowed = {
        "cff-version",
        "message",
        "type",
        "title",
        "abstract",
        "authors",
        "version",
        "license",
        "keywords",
    }
    assert citation.keys() <= allowed | {"references"}
    assert (citation["cff-version"], citation["type"]) == ("1.2.0", "software")
    assert (str(citation["version"]), citation["license"]) == (squeezekit.__version__, SPDX)
    for work in (citation, *citation["references"]):
        assert work["title"]
        assert work["authors"]
        for author in work["authors"]:
            assert author.keys() in ({"name"}, {"family-names", "given-names"})
    for reference in citation["references"]:
        assert reference["type"] in {"article", "conference-paper"}
        assert isinstance(reference["year"], int)


def test_workflows_run_make_and_publish_only_when_switched_on():
    ci, release = read(".github/workflows/ci.yml"), read(".github/workflows/release.yml")
    assert ci["jobs"]["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert release["jobs"]["publish"]["if"] == "vars.PUBLISH == 'true'"
    # YAML 1.1 reads the key `on` as true.
    assert release[True] == {"push": {"tags": ["v*"]}}
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for workflow in (ci, release):
        for job in workflow["jobs"].values():
            for step in job["steps"]:
                words = step.get("run", "").split()
                if words[:1] == ["make"]:
                    assert {word for word in words[1:] if "=" not in word} <= targets


def test_issue_forms_ask_something():
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) == 4
    for form in forms:
        if form.stem != "config":
            asked = read(form)
            assert asked.keys() == {"name", "description", "labels", "body"}
            assert all(item["type"] in {"textarea", "input", "checkboxes"} for item in asked["body"])
