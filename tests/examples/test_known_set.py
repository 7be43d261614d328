import dataclasses
import hashlib
import http.server
import io
import json
import threading
import zipfile

import pytest
from known_set import ENTRY
from PIL import Image

from squeezekit import curate, data
from squeezekit.cli import main
from squeezekit.curate.download import Wanted


def archive():
    """The ZIP that the entry describes, and a file that is none of its images."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("squares-1.0/LICENCE.txt", "CC0")
        for part, images in (("training", 2), ("testing", 1)):
            for colour in ("red", "blue"):
                for number in range(images):
                    square = io.BytesIO()
                    Image.new("RGB", (16, 16), colour).save(square, "PNG")
                    archive.writestr(f"squares-1.0/{part}/{colour}/{number}.png", square.getvalue())
    return made.getvalue()


@pytest.fixture
def served(monkeypatch):
    """Serve the archive on this machine, and register the entry with its address, size and checksum."""
    content = archive()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        wanted = Wanted(len(content), f"sha256:{hashlib.sha256(content).hexdigest()}")
        urls = (f"http://127.0.0.1:{server.server_port}/squares.zip",)
        monkeypatch.setitem(curate.CATALOGUE, "squares", dataclasses.replace(ENTRY, urls=urls, wanted=wanted))
        yield wanted
        server.shutdown()
        thread.join()


def test_it_is_listed_fetched_and_found_by_its_name(served, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["squares"]["archive_bytes"] == served.size_bytes
    assert main(["data", "fetch", "squares"]) == 0
    dataset = data.open_dataset("squares", validation=0)
    assert dataset.class_names == ("blue", "red")
    assert (len(dataset.train), len(dataset.test)) == (4, 2)


def test_another_archive_is_refused(served, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(
        curate.CATALOGUE, "squares", dataclasses.replace(curate.CATALOGUE["squares"], wanted=Wanted(1000))
    )
    assert main(["data", "fetch", "squares", "-o", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "squares").exists()
