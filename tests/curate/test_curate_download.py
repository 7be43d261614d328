"""Downloads from a server that drops connections, ignores or misunderstands ranges, and lies about sizes."""

import hashlib
import http.server
import threading

import pytest

from squeezekit.curate.download import Wanted, check_file, download
from squeezekit.errors import DataError, FormatError

CONTENT = bytes(range(256)) * 3000
WANTED = Wanted(len(CONTENT), "sha256:" + hashlib.sha256(CONTENT).hexdigest())


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, each time in the way that comes next in `server.ways`; the last way stays."""

    def do_GET(self):
        ways = self.server.ways
        way = ways.pop(0) if len(ways) > 1 else ways[0]
        asked = self.headers.get("Range", "")
        self.server.asked.append(asked)
        start = int(asked[6:-1]) if asked else 0
        content, length, status = CONTENT, None, 206 if asked else 200
        if way == "missing":
            return self.send_error(404)
        if way == "busy":
            return self.send_error(503)
        if way == "elsewhere":
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            return self.end_headers()
        if way == "no ranges":
            start, status = 0, 200
        if way == "wrong part" and asked:
            start += 7
        if way == "other content":
            content = bytes(len(CONTENT))
        if way == "longer":
            content = CONTENT + b"more"
        if way == "claims less":
            length = 1000
        if way == "refuses ranges" and asked:
            return self.send_error(416)
        body = content[start:]
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if way != "silent":
            self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        if way == "drops":
            body = body[: 200_000 if start < 400_000 else 100_000]
        if way == "nothing":
            body = b""
        return self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.asked, made.ways = [], ["whole"]
    made.url = f"http://127.0.0.1:{made.server_address[1]}/file.bin"
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def get(server, folder, wanted=WANTED, urls=None, **options):
    return download(urls or [server.url], folder / "file.bin", wanted, wait_seconds=0.001, **options)


@pytest.mark.parametrize(
    ("ways", "asked"),
    [
        (["whole"], [""]),
        (
            ["drops"],
            ["", "bytes=200000-", "bytes=400000-", "bytes=500000-", "bytes=600000-", "bytes=700000-"],
        ),
        (["drops", "no ranges"], ["", "bytes=200000-"]),
        (["busy", "busy", "whole"], ["", "", ""]),
        (["nothing", "nothing", "drops", "nothing", "whole"], ["", "", "", "bytes=200000-", "bytes=200000-"]),
        (["drops", "refuses ranges", "whole"], ["", "bytes=200000-", ""]),
        (["silent"], [""]),
    ],
)
def test_the_whole_file_in_the_end(server, tmp_path, ways, asked):
    server.ways = ways
    seen = []
    path = get(server, tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert server.asked == asked
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.bin"]


def test_parts_of_two_files_are_thrown_away_and_it_is_asked_for_in_one_piece(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(b"something else")
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=14-", ""]


@pytest.mark.parametrize(
    ("ways", "line"),
    [
        (["missing"], "HTTP 404"),
        (["busy"], "HTTP 503"),
        (["nothing"], "bytes early"),
        (["longer"], "offers 768,004 bytes instead of 768,000"),
        (["claims less"], "offers 1,000 bytes instead of 768,000"),
        (["other content"], "sha256 .* instead of"),
        (["drops", "wrong part"], "another part than was asked for"),
        (["elsewhere"], "file"),
    ],
)
def test_a_lie_is_named_and_nothing_appears(server, tmp_path, ways, line):
    server.ways = ways
    with pytest.raises(DataError, match=line) as caught:
        get(server, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "file.bin").exists()


def test_more_than_promised_is_cut_off(server, tmp_path):
    """No length is sent: only counting helps."""
    server.ways = ["silent"]
    with pytest.raises(DataError, match="sent more than 1,000 bytes"):
        get(server, tmp_path, Wanted(1000))
    assert (tmp_path / "file.bin.part").stat().st_size <= 1000


def test_the_next_address_goes_on_where_the_first_gave_up(server, tmp_path):
    server.ways = ["drops", "missing", "whole"]
    get(server, tmp_path, urls=[server.url, server.url.replace("file", "mirror")])
    assert server.asked == ["", "bytes=200000-", "bytes=200000-"]


def test_the_next_run_goes_on_where_the_last_one_was(server, tmp_path):
    server.ways = ["drops", "missing"]
    with pytest.raises(DataError, match="to go on from 200,000 bytes"):
        get(server, tmp_path)
    server.ways, server.asked[:] = ["whole"], []
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=200000-"]
    server.asked.clear()
    get(server, tmp_path)
    assert server.asked == []


def test_without_a_known_size_or_sum_the_length_counts(server, tmp_path):
    server.ways = ["drops"]
    assert get(server, tmp_path, Wanted()).read_bytes() == CONTENT


def test_only_http_and_only_sums_that_are_known(tmp_path):
    with pytest.raises(ValueError, match="https://"):
        download(["file:///etc/hostname"], tmp_path / "x", Wanted())
    with pytest.raises(ValueError, match="sha256"):
        Wanted(digest="crc:00")
    (tmp_path / "x").write_bytes(b"a")
    check_file(tmp_path / "x", Wanted(1, "md5:0cc175b9c0f1b6a831c399e269772661"))
    with pytest.raises(FormatError, match="1 bytes instead of 2"):
        check_file(tmp_path / "x", Wanted(2))
