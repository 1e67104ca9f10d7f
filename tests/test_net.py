"""A move of code changes neither trajectories, nor files, nor weights, nor scores.

``tests/net/digests.json`` holds what they are; ``python tests/net/digests.py --record`` writes it
anew where a change is meant.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

NET = Path(__file__).parent / "net"
sys.path[:0] = [str(NET)]

import digests  # noqa: E402

RECORDED: dict[str, Any] = json.loads((NET / "digests.json").read_text(encoding="utf-8"))
METADRIVE = tuple(f"VLSafe-{name}-v0" for name in digests.METADRIVE)
ids = pytest.mark.parametrize("env_id", digests.IDS)


@ids
def test_environments_show_the_same(env_id: str) -> None:
    """The observation of both kinds; the others are in a slow test, which takes twice as long."""
    check_environments(env_id, ("multi",))


@pytest.mark.slow
@ids
def test_environments_of_one_observation_show_the_same(env_id: str) -> None:
    check_environments(env_id, ("image", "vector"))


def check_environments(env_id: str, kinds: tuple[str, ...]) -> None:
    if env_id in METADRIVE:
        pytest.importorskip("metadrive", reason="MetaDrive is not installed")
    found = dict(digests.environments((env_id,), kinds))
    recorded = {name: RECORDED["environments"][name] for name in found}
    assert not digests.differences(recorded, found, digests.TOLERANCE["environments"])
    assert len(found) >= 3 * len(kinds)


def test_a_chain_of_commands_leaves_the_same(tmp_path: Path) -> None:
    assert not digests.differences(RECORDED["chain"], digests.chain(tmp_path))


def test_scorers_give_the_same() -> None:
    assert not digests.differences(RECORDED["scorers"], digests.scorers())


def test_differences_are_found() -> None:
    recorded = {"a": [1.0, {"b": "x"}], "c": [0.0, 2.0]}
    same = {"a": [1.0, {"b": "x"}], "c": [1e-5, 2.0]}
    assert not digests.differences(recorded, same)
    for change in (
        {"a": [1.1, {"b": "x"}]},
        {"a": [1.0, {"b": "y"}]},
        {"a": []},
        {"c": [0.1, 2.0]},
    ):
        assert digests.differences(recorded, {**same, **change})
