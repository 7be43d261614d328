import io
import os
import sys

import pytest

from squeezekit import quiet
from squeezekit.cli import output


def test_a_table_aligns_by_what_a_terminal_shows():
    shown = output.table(
        ["name", "n"], [["ねこ", "1,000"], ["cafe\u0301", "5"], ["a\x1b[2Jb", ""]], right=[1]
    )
    assert shown.splitlines() == [
        "name        n",
        "ねこ    1,000",
        "cafe\u0301        5",
        "a\N{REPLACEMENT CHARACTER}[2Jb",
    ]


def test_a_table_without_rows_is_its_header():
    assert output.table(["name", "n"], []) == "name  n"


def test_no_bar_without_a_terminal(capfd):
    with output.progress("packing") as show:
        assert show is None
    assert capfd.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_on_a_terminal_goes_to_stderr(monkeypatch, capfd):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with output.progress("packing") as show:
        for done in range(1, 5):
            show(done, 4)
    assert "packing" in terminal.getvalue()
    assert "100%" in terminal.getvalue()
    assert capfd.readouterr().out == ""
    with output.progress("packing", shown=False) as show:
        assert show is None


def test_quiet_native_drops_greetings_and_passes_on_the_rest(capfd):
    with quiet.quiet_native():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nERROR: no\n")
        print("ours", file=sys.stderr)
    assert sorted(capfd.readouterr().err.splitlines()) == ["ERROR: no", "ours"]


def test_quiet_native_restores_stderr_after_an_error(capfd):
    with pytest.raises(ValueError, match="x"), quiet.quiet_native():
        raise ValueError("x")
    os.write(2, b"INFO: seen\n")
    assert capfd.readouterr().err == "INFO: seen\n"
