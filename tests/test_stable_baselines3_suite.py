"""How the outcomes of Stable-Baselines3's own tests are judged."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.stable_baselines3_suite.__main__ import judged, table
from benchmarks.stable_baselines3_suite.reasons import REASONS
from benchmarks.stable_baselines3_suite.seats import AGENTS

REPLAY = "test_save_load.py::test_save_load_replay_buffer[VLSafe_SAC]"


@pytest.mark.parametrize(
    ("test", "outcome", "said", "agents", "judgement"),
    [
        (REPLAY, "failed", "'Replay' object has no attribute 'device'", 1, "not applicable"),
        (REPLAY, "failed", "KeyError: 'cost'", 1, "failed"),
        (REPLAY, "passed", "", 1, "passed"),
        (REPLAY, "passed", "", 0, "no agent"),
        (REPLAY, "skipped", "no GPU", 1, "no agent"),
        ("test_run.py::test_new", "failed", "'Replay' object has no attribute 'x'", 1, "failed"),
    ],
)
def test_a_reason_excuses_only_the_failure_that_it_names(
    test: str, outcome: str, said: str, agents: int, judgement: str
) -> None:
    row: dict[str, Any] = {"test": test, "outcome": outcome, "said": said, "agents": agents}
    assert judged("VLSafe", row)[0] == judgement


def test_the_table_counts_by_algorithm_and_file() -> None:
    rows = [("BC", "test_run.py", "passed"), ("BC", "test_run.py", "no agent")]
    lines = table([*rows, ("BC", "test_gae.py", "failed")]).splitlines()
    assert lines[2:] == [
        "| BC | all | 2 | 1 | 1 | 0 | 1 |",
        "| BC | test_gae.py | 1 | 0 | 1 | 0 | 0 |",
        "| BC | test_run.py | 1 | 1 | 0 | 0 | 1 |",
    ]


def test_reasons_are_of_algorithms_that_take_a_seat() -> None:
    assert REASONS.keys() == AGENTS.keys()
    assert all(reason.why and reason.tests for found in REASONS.values() for reason in found)
