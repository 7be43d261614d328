"""Reads a page as strictly as no browser does, and says what any page of ours must be."""

import base64
import hashlib
import html.parser
import itertools
import re

VOID = {"meta", "link", "br", "hr", "img", "input"}
# What could ask for something outside the page, or run something that is not ours.
FORBIDDEN = {"iframe", "object", "embed", "form", "base", "foreignobject", "audio", "video", "image"}


class Reader(html.parser.HTMLParser):
    """Every tag closed in order, every attribute once; tables become lists of cells."""

    def __init__(self, page):
        super().__init__()
        self.page, self.open, self.tags, self.text, self.tables = page, [], [], [], {}
        self.cells = None
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        assert len(given) == len(attributes), f"{tag} has an attribute twice"
        self.tags.append((tag, given))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.cells = self.tables.setdefault(given.get("id", f"table {len(self.tables)}"), [])
        elif tag == "tr":
            self.cells.append([])
        elif tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text.append(data)
        if {"td", "th"} & set(self.open):
            self.cells[-1][-1] += data.replace("\u00a0", " ")

    def said(self):
        return " ".join(" ".join(self.text).replace("\u00a0", " ").split())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def drawings(self):
        """The titles of the figures, in order."""
        return re.findall(r'<svg[^>]* role="img"[^>]*><title>(.*?)</title>', self.page)


def require_self_contained(reader):
    """Nothing is asked for outside the page, and nothing runs but the one script that its policy names."""
    names = {tag for tag, _ in reader.tags}
    assert not names & FORBIDDEN
    assert not re.search(
        r"https?:|@import|@font-face|fetch\(|XMLHttpRequest|import\(|WebSocket|//\w", own(reader)
    )
    attributes = [each for _, given in reader.tags for each in given.items()]
    assert not [name for name, _ in attributes if name.startswith("on")]
    assert all(
        value.startswith(("data:", "#"))
        for name, value in attributes
        if name in ("src", "href", "xlink:href")
    )
    assert set(re.findall(r"url\((.)", reader.page)) <= {"#"}
    (script,) = re.findall(r"<script>(.*?)</script>", reader.page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    policy = next(meta["content"] for meta in reader.all("meta") if "http-equiv" in meta)
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"
    )


def own(reader):
    """The page without what a user's names and pictures put into it: styles, scripts, figures, attributes."""
    return "".join(
        re.findall(r"<style>.*?</style>|<script>.*?</script>|<svg.*?</svg>", reader.page, re.DOTALL)
    )


def require_accessible(reader):
    """A screen reader finds its way: headings in order, everything named, every name there once."""
    names = [tag for tag, _ in reader.tags]
    assert names.count("h1") == 1
    assert reader.all("html") == [{"lang": "en"}]
    levels = [int(name[1]) for name in names if re.fullmatch(r"h[1-6]", name)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert {attributes.get("scope") for attributes in reader.all("th")} <= {"row", "col"}
    identities = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert sorted(set(identities)) == sorted(identities)
    for attribute in ("aria-labelledby", "aria-describedby"):
        named = [attributes.get(attribute, "").split() for _, attributes in reader.tags]
        assert {identity for some in named for identity in some} <= set(identities)
    within = re.findall(r'(?:xlink:href="|url\()#([^")]+)', reader.page)
    assert set(within) <= set(identities)
    assert all(section.get("aria-labelledby") for section in reader.all("section"))
    images = [attributes for attributes in reader.all("svg") if attributes.get("role") == "img"]
    assert len(images) == len(reader.all("svg")) == len([title for title in reader.drawings() if title])
    boxes = [box for box in reader.all("div") if "tabindex" in box]
    assert all(box.get("aria-labelledby") or box.get("aria-label") for box in boxes)
