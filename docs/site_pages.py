"""Pages of the MkDocs site that do not lie in docs/: the repository's own pages, and the Python API by room."""

import posixpath
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
# Page in the repository: page of the site. A README.md would become the index of its folder.
OUTSIDE = {
    "README.md": "getting-started.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "zoo/README.md": "zoo.md",
}
LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages; MkDocs calls this."""
    for source, place in OUTSIDE.items():
        text = (ROOT / source).read_text("utf-8")
        files.append(File.generated(config, place, content=with_links(text, source)))
    for room in re.findall(r"api/(\w+)\.md", str(config.nav)):
        page = f"# {room}\n\n::: squeezekit.{room}\n"
        files.append(File.generated(config, f"api/{room}.md", content=page))
    return files


def on_page_markdown(markdown: str, page: object, config: MkDocsConfig, files: Files) -> str:
    """Point a page's links at the pages of the site; MkDocs calls this."""
    source = page.file.src_uri  # type: ignore[attr-defined]
    # GitHub shows a block "python run" as Python; here the mark, which is for the tests, must go.
    markdown = re.sub(r"^```(\w+) .*$", r"```\1", markdown, flags=re.MULTILINE)
    return markdown if source in OUTSIDE.values() else with_links(markdown, f"docs/{source}")


def with_links(text: str, source: str) -> str:
    """Rewrite the links of a page: to pages of the site; a file that is not on the site keeps its name only."""
    here = OUTSIDE.get(source, source.removeprefix("docs/"))

    def link(match: re.Match[str]) -> str:
        target, hash_, anchor = match["target"].partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        place = OUTSIDE.get(path, path.removeprefix("docs/") if path.startswith("docs/") else "")
        if not place:
            return match["text"]
        return f"[{match['text']}]({posixpath.relpath(place, posixpath.dirname(here) or '.')}{hash_}{anchor})"

    return LINK.sub(link, text)


class Examples(griffe.Extension):
    """Shows a docstring's `Example:` as code: Griffe knows the section by the name `Examples:` only."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the section; Griffe calls this for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
