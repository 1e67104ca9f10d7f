"""Long work says at once that it has begun, soon how long it will take, and then now and then."""

from __future__ import annotations

import pytest

from vlsafe_agents.common import progress
from vlsafe_agents.common.progress import ProgressReport


def test_a_log_gets_a_line_at_once_one_soon_and_then_few(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    seconds = []
    with ProgressReport("collect", 1000, "steps", every=10) as report:
        assert capsys.readouterr().err == "collect: started, 1,000 steps in all\n"
        report.update(100)  # where a killed run had got to
        for now in range(1, 31):
            report.update(100 + 10 * now)
            if said := capsys.readouterr().err:
                seconds.append(now)
                assert f"{100 + 10 * now}/1,000 steps, {progress.duration(90 - now)} left" in said
    assert seconds == [2, 12, 22]
    assert capsys.readouterr().err == "collect: done in 0:30\n"


def test_nothing_is_said_where_nothing_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressReport("collect", 10, enabled=False) as report:
        report.update(10)
    assert capsys.readouterr().err == ""


def test_a_quiet_process_shows_no_progress_at_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ProgressReport, "quiet", True)
    with ProgressReport("collect", 10) as report:
        report.update(10)
    assert capsys.readouterr().err == ""
