"""Costs and rewards of other people's environments."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent.parent / "agents"))

from other_worlds import Line, SixTuple, far, hurry, negative

from wrappers.costs import CostFromInfo, CostFromTuple, CostFunction, RewardFunction


def driven(env: Any, *actions: float) -> list[dict[str, Any]]:
    """Infos of the reset and of each step."""
    _, info = env.reset(seed=0)
    env.unwrapped.place = 0.0
    infos = [info]
    for action in actions:
        result = env.step([action])
        assert len(result) == 5
        infos.append(result[4] | {"reward": result[1]})
    return infos


@pytest.mark.parametrize(
    "env",
    [
        CostFromTuple(SixTuple()),
        CostFromInfo(Line(), "crash"),
        CostFromInfo(Line(), "terms/far"),
        CostFromInfo(Line(key="cost")),
        CostFunction(Line(), far),
    ],
    ids=["six", "key", "path", "cost", "function"],
)
def test_every_source_of_a_cost_ends_in_info(env: Any) -> None:
    infos = driven(env, 0.9, 0.9, -0.9)
    assert [info["cost"] for info in infos] == [0.0, 0.0, 1.0, 0.0]


def test_a_function_makes_the_reward_and_the_environments_is_kept() -> None:
    infos = driven(RewardFunction(Line(), hurry), 0.5, 0.75, -0.25)
    assert [info["reward"] for info in infos[2:]] == [0.75, 0.25]
    assert [info["env_reward"] for info in infos[2:]] == [-1.25, -1.0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: CostFromTuple(Line()), "Line, step 1: step returned 5 values, not Safety-Gymn"),
        (
            lambda: CostFromInfo(Line(), "bump"),
            r"no info\['bump'\]; there are \['crash', 'terms'\]",
        ),
        (lambda: CostFromInfo(SixTuple(), "crash"), "CostFromTuple"),
        (lambda: CostFunction(Line(), negative), r"step 1: what negative\(\) returned is -1"),
        (lambda: CostFromInfo(Line(), ""), "cost_key is ''"),
    ],
)
def test_what_does_not_fit_is_named_with_a_remedy(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        driven(make(), 0.5)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(TypeError, match="CostFunction needs a function"):
        CostFunction(Line(), 3)  # type: ignore[arg-type]
