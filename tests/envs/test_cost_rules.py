"""How the environments' own cost is made of its terms differs, and ``info`` says how."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from vlsafe_envs import ENV_IDS, TASK_IDS
from vlsafe_envs.costs import CostConfig
from vlsafe_envs.tasks import TaskCosts

RULES: dict[str, Callable[[Iterable[float]], float]] = {"sum": sum, "largest": max}
# Every term weighs, so that the rules differ.
WEIGHTS = {"sum": CostConfig(2.0, 3.0, 0.5), "largest": TaskCosts(2.0, 3.0, 0.5)}


@pytest.mark.parametrize(
    ("env_id", "rule"),
    [*((name, "sum") for name in ENV_IDS), *((name, "largest") for name in TASK_IDS)],
)
def test_the_cost_follows_the_rule_that_info_names(env_id: str, rule: str) -> None:
    weights: Any = WEIGHTS[rule]
    env = gym.make(env_id, scorer=None, observation="vector", action="continuous", costs=weights)
    infos: list[dict[str, Any]] = []
    for seed in range(6):
        infos.append(env.reset(seed=seed)[1])
        over = False
        while not over:  # foot down, a little to the right: gaps close, and the road ends
            *_, terminated, truncated, info = env.step(np.float32([1.0, 0.05]))
            infos.append(info)
            over = terminated or truncated
    assert {info["env_cost_rule"] for info in infos} == {rule}
    weighed = [
        [getattr(weights, name) * term for name, term in info["cost_terms"].items()]
        for info in infos
    ]
    costs = [info["env_cost"] for info in infos]
    assert costs == pytest.approx([RULES[rule](terms) for terms in weighed])
    assert max(costs) > 0
    assert any(sum(term > 0 for term in terms) > 1 for terms in weighed), "the rules did not differ"


@pytest.mark.parametrize(
    ("env_id", "rule"), [(next(iter(ENV_IDS)), "sum"), ("VLSafe-LeftTurn-v0", "largest")]
)
def test_many_environments_say_it_too(env_id: str, rule: str) -> None:
    env = gym.make_vec(env_id, num_envs=3, scorer="constant:0.2", observation="vector")
    mask = np.array([True, False, True])
    for infos in (env.reset(seed=0)[1], env.step(np.full(3, 1))[4]):
        assert infos["env_cost_rule"].tolist() == [rule] * 3
    infos = env.reset(options={"reset_mask": mask})[1]
    assert infos["env_cost_rule"].tolist() == [rule, None, rule]
    assert infos["_env_cost_rule"].tolist() == mask.tolist()
