"""The shield on highway-env's own environments: outcomes of branches, a model of them, drives."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from load_script import script

from vlsafe_agents.data.branching import Brancher
from vlsafe_agents.risk import BranchingConfig, RiskConfig, RiskModel, branch_outcomes
from vlsafe_envs.foreign import Sensed, branches, make_macro

pytestmark = pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")
benchmark = script("benchmarks/shield_highway_env.py")
ROAD = benchmark.ROADS["merge-v0"]
FASTER = 3


class Hurrying:
    """A policy that always wants to go faster."""

    def predict(self, observation: Any, **_: Any) -> tuple[Any, None]:
        assert observation.shape == (5, 5)  # highway-env's own
        return np.array(FASTER), None


def learnt(states: int, updates: int) -> RiskModel:
    """A model of branches from mixed drives on the merge."""
    config = BranchingConfig(ROAD.tails, ROAD.frequency, ROAD.horizon)
    drive = partial(benchmark.MixedDriver, [Hurrying()])
    env = Sensed(benchmark.make("merge-v0", "ppo"))
    brancher = Brancher(branches, make_macro)
    outcomes = branch_outcomes(env, range(10**6), drive, config, brancher, states)
    assert outcomes.num_states == states
    model = RiskModel(
        env.observation_space,
        env.action_space,
        config.tails,
        RiskConfig(horizon=ROAD.horizon, updates=updates),
    )
    return model.fit(outcomes)


def test_outcomes_are_learnt_and_a_shield_drives_with_them() -> None:
    model = learnt(states=2, updates=5)
    assert model.facts["branches"] == 2 * 5 * 2  # all actions, each with both tails
    never = benchmark.drive("merge-v0", "ppo", Hurrying(), range(1), (model, 1.0))
    always = benchmark.drive("merge-v0", "ppo", Hurrying(), range(1), (model, 0.0))
    bare = benchmark.drive("merge-v0", "ppo", Hurrying(), range(1))
    same = {"replaced": 0.0, "shield_ms": 0.0}
    assert replace(never, **same) == bare
    assert never.shield_ms > 0.0
    assert always.episodes == 1
    assert benchmark.line("a", bare).count("|") == benchmark.line("b", always, bare).count("|") == 8


def test_agents_in_the_folder_are_not_made_again(tmp_path: Path) -> None:
    env = benchmark.make("merge-v0", "dqn")
    agent = benchmark.DQN("MlpPolicy", env, buffer_size=10, policy_kwargs={"net_arch": [4]})
    agent.save(tmp_path / "merge-v0_dqn.zip")
    again = benchmark.agent_of("merge-v0", "dqn", tmp_path)
    assert again.policy.net_arch == [4]
