"""The page in a browser, where there is one: table and plot answer, with the mouse and with the keyboard."""

import json
import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

SCRIPT = r"""
const table = document.getElementById("rows"), said = {errors: window.failures};
const rows = () => [...table.tBodies[0].rows];
const heads = [...table.tHead.rows[0].cells];
const place = (name) => heads.findIndex((head) => head.textContent.startsWith(name));
const column = (name) => rows().map((row) => row.cells[place(name)].dataset.v);
const click = (name) => heads[place(name)].querySelector("button").click();
const order = (name) => heads[place(name)].getAttribute("aria-sort");
click("Bytes"); said.bytes = column("Bytes"); said.sorted = order("Bytes");
click("Bytes"); said.back = column("Bytes"); said.reversed = order("Bytes");
click("Top-1"); said.top1 = column("Top-1"); said.only = order("Bytes");
click("Churn"); said.churn = column("Churn");
const points = [...document.querySelectorAll("#plot [id^=row-]")];
const at = (point) => point.id.slice(4);
said.points = points.length;
said.stops = points.filter((point) => point.getAttribute("tabindex") === "0").length;
said.labels = points.every((point) => point.getAttribute("role") === "button" && point.getAttribute("aria-label"));
const chosen = () => rows().filter((row) => row.classList.contains("chosen")).map((row) => row.dataset.at);
const picked = () => points.filter((point) => point.classList.contains("picked")).map(at);
const plot = document.getElementById("plot");
plot.scrollIntoView();
// Marks may lie on each other. Take the last that is drawn: of those at one place it is the one that is seen.
const point = points[points.length - 1], box = point.getBoundingClientRect();
const event = {bubbles: true, clientX: box.x + box.width / 2, clientY: box.y + box.height / 2};
plot.dispatchEvent(new PointerEvent("pointermove", event));
said.hovered = document.getElementById("told").textContent;
plot.dispatchEvent(new MouseEvent("click", event));
said.clicked = [chosen(), picked()];
said.name = table.querySelector(`[data-at="${said.clicked[0][0]}"]`).dataset.name;
const there = table.querySelector(".chosen").getBoundingClientRect();
const held = table.parentElement.getBoundingClientRect();
said.shown = there.top >= held.top && there.bottom <= held.bottom;
const row = rows()[5];
row.querySelector("button").click();
said.row = row.dataset.at;
said.rowClicked = [chosen(), picked(), row.querySelector("button").getAttribute("aria-pressed")];
row.querySelector("button").click();
said.again = [chosen(), picked()];
points.find((each) => each.getAttribute("tabindex") === "0").focus();
const press = (key) => document.activeElement.dispatchEvent(
  new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
const bytes = (each) => Number(table.querySelector(`[data-at="${at(each)}"]`).dataset.bytes);
press("Home"); press("ArrowRight"); press("Enter");
said.keyed = [chosen(), picked(), at(document.activeElement)];
said.second = [bytes(document.activeElement), points.map(bytes).sort((a, b) => a - b)[1]];
press("End");
said.last = [bytes(document.activeElement), Math.max(...points.map(bytes))];
const words = document.getElementById("words");
words.value = "prune huff"; words.dispatchEvent(new Event("input"));
const left = () => rows().filter((each) => !each.hidden);
said.filtered = left().map((each) => each.dataset.name);
said.matches = document.getElementById("matches").textContent;
const only = document.getElementById("only");
words.value = ""; only.checked = true; only.dispatchEvent(new Event("change"));
said.front = left().length;
said.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
const answer = document.createElement("pre");
answer.id = "answer"; answer.textContent = JSON.stringify(said);
document.body.append(answer);
"""


def browse(path, tmp_path, width=1280):
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", f"--window-size={width},2000",
         f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=3000",
         "--dump-dom", path.as_uri()],
        capture_output=True, text=True, encoding="utf-8", timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [1280, 390])
def test_plot_and_table_answer_in_a_browser(page, found, tmp_path, width):
    (tmp_path / "report.html").write_text(page, "utf-8")
    shown, complaints = browse(tmp_path / "report.html", tmp_path, width)
    assert complaints == []
    # The script ran under the page's own policy: every head and every row got its button.
    heads = page[page.index("<thead>") : page.index("</thead>")].count("<th ")
    assert shown.count("<button") == heads + 130

    changed = re.sub(r"script-src '[^']*'", "script-src 'unsafe-inline'", page)
    watch = "<script>window.failures = []; onerror = (what) => { failures.push(String(what)); };</script>"
    changed = changed.replace("<head>", f"<head>{watch}", 1)
    changed = changed.replace("</body>", f"<script>{SCRIPT}</script></body>")
    (tmp_path / "changed.html").write_text(changed, "utf-8")
    shown, complaints = browse(tmp_path / "changed.html", tmp_path, width)
    assert complaints == []
    answer = re.search(r'<pre id="answer">(.*?)</pre>', shown, re.DOTALL)
    assert answer, "the script did not come to its end"
    said = json.loads(answer[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    assert said["errors"] == []
    bytes_, top1 = (list(map(float, said[name])) for name in ("bytes", "top1"))
    assert bytes_ == sorted(bytes_)
    assert len(bytes_) == 130
    assert said["back"] == said["bytes"][::-1]
    assert (said["sorted"], said["reversed"], said["only"]) == ("ascending", "descending", None)
    assert top1 == sorted(top1, reverse=True)
    # What is not known comes last.
    assert said["churn"][-2:] == ["", ""]
    assert "" not in said["churn"][:-2]
    assert (said["points"], said["stops"], bool(said["labels"])) == (130, 1, True)
    assert said["hovered"].startswith(said["name"])
    assert said["clicked"][0] == said["clicked"][1]
    assert len(said["clicked"][0]) == 1
    assert said["shown"]
    assert said["rowClicked"] == [[said["row"]], [said["row"]], "true"]
    assert said["again"] == [[], []]
    assert said["keyed"] == [[said["keyed"][2]], [said["keyed"][2]], said["keyed"][2]]
    assert said["second"][0] == said["second"][1]
    assert said["last"][0] == said["last"][1]
    assert len(said["filtered"]) == 16
    assert all("prune" in name and "Huffman" in name for name in said["filtered"])
    assert said["matches"] == "16 of 130 rows"
    assert said["front"] == sum(view.front for view in found.views)
    assert said["wide"] <= 0
