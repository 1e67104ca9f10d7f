"""What commands print of names that users choose."""

from __future__ import annotations

import io
import re
import sys

import pytest

from vlsafe_agents.cli.tables import print_table, say
from vlsafe_agents.report.tables import count, figure

NAMES = ["run[seed=1]", "run[/x]", "[bold]x[/bold]", ":smile:", "a,b=c d", "fahrt-zürich", "横浜"]


def test_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    for name in NAMES:
        say(name)
    assert capsys.readouterr().out.splitlines() == NAMES
    print_table(" ".join(NAMES), NAMES, [NAMES, NAMES])
    shown = capsys.readouterr().out
    assert all(shown.count(name) == 4 for name in NAMES)


def test_tables_are_not_cut_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    print_table("title", ["path", "n"], [["/a/" + "b" * 300, "1,000"], ["c", "2.5%"]])
    shown = capsys.readouterr().out
    assert "b" * 300 in shown
    assert "|  2.5% |" in shown.replace("│", "|")


def test_thousands_are_set_apart_by_commas(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("title", ["crashes"], [[count(7442)], [figure(12345.6)]])
    shown = capsys.readouterr().out
    assert "7,442" in shown
    assert "12,346" in shown


def test_what_a_stream_cannot_show_is_spelt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    say("zürich \x1b[2J \udc80")
    print_table("zürich", ["\ud800"], [["\x07"]])
    shown = stream.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
    assert "z\\xfcrich \\x1b[2J \\udc80" in shown
    assert "\x07" not in shown


def test_a_terminal_folds_between_words_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    def shown(columns: int) -> str:
        stream = Terminal()
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "xterm")
        row = ["vlsafe_lagrangian\nVLSafe Lagrangian", "4.9% to 18%", "not known"]
        print_table("t", ["Agent", "Collisions", "Crashes in learning"], [row])
        return re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())  # without colours

    for columns in (46, 50, 60, 100):
        text = shown(columns)
        assert all(len(line) <= columns for line in text.splitlines())
        for word in ("vlsafe_lagrangian", "Lagrangian", "Collisions", "learning"):
            assert word in text, columns
    assert all(len(line) <= 20 for line in shown(20).splitlines())  # which breaks words
