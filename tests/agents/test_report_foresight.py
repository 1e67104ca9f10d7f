"""What a report shows of foresight, with many signals and with none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foresight_drives import drive, foresight
from report_run import SETTINGS, add_agent
from test_report import Page
from test_report_charts import check_layout

from vlsafe_agents.foresight import Foresight, Steps, Traffic, measure
from vlsafe_agents.report import foresight as shown
from vlsafe_agents.report import write_report


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that would be written as SVG."""
    seen: list[Any] = []
    monkeypatch.setattr(shown, "svg", lambda figure, name: seen.append(figure) or "<svg/>")
    return seen


def of(names: list[str], traffics: int, crash: bool = True) -> Foresight:
    """Figures of signals of these names in so many traffics."""
    rng = np.random.default_rng(0)
    ends = ["crash" if crash else "cut", "cut", "arrived"]
    steps = [
        Steps.of(
            [drive(30, ends[i % 3], **{n: rng.random(30) for n in names}) for i in range(9)], 0.1
        )
        for _ in range(traffics)
    ]
    found = measure(steps[0], steps[1:], 0.1, [], resamples=20)
    titles = ["as recorded", *(f"density {number}" for number in range(1, traffics))]
    listed = (Traffic(title, {}, None, one) for title, one in zip(titles, found, strict=True))
    return Foresight("a", {}, "E-v0", 0.1, {}, tuple(listed))


@pytest.mark.parametrize(
    ("names", "traffics", "crash"),
    [
        (["s"], 1, True),
        (["1 - p", "predicted cost", "Q_c", "dream", "risk", "1 / TTC"], 2, True),
        (["1 - p", "dream"], 5, True),
        (["s"], 2, False),  # nothing to rank
    ],
)
def test_charts_of_any_number_of_signals_fit(
    names: list[str], traffics: int, crash: bool, drawn: list[Any]
) -> None:
    shown.chart(of(names, traffics, crash), "a")
    check_layout(drawn[0])
    left, right = drawn[0].axes
    assert [label.get_text() for label in right.get_yticklabels()] == names
    marks = [line for line in left.lines if line.get_marker() not in ("None", None)]
    assert len(marks) >= len(names) * traffics


def test_the_page_shows_chart_sentence_and_table_where_there_is_a_file(tmp_path: Path) -> None:
    for name in ("gated", "other"):
        add_agent(tmp_path, name, 0.1, trained=SETTINGS["vlsafe-gated"])
    foresight().write(tmp_path / "gated" / "foresight.json")
    page = Page(write_report(tmp_path, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "foresight" in page.ids
    assert page.text.count("Where the signal “dream” says “safe” (P < 2%)") == 1
    assert "dream, density 1.5" in page.text
    (tmp_path / "gated" / "foresight.json").unlink()
    page = Page(write_report(tmp_path, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "foresight" not in page.ids


def test_a_broken_file_becomes_a_note(tmp_path: Path) -> None:
    folder = add_agent(tmp_path, "gated", 0.1, trained=SETTINGS["vlsafe-gated"])
    replace(foresight(), seconds=0.0).write(folder / "foresight.json")
    page = Page(write_report(tmp_path, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "foresight" not in page.ids
    assert "gated/foresight.json is not as `vlsafe foresight` writes it" in page.text
