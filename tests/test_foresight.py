"""Recorded ends are told from calm driving, and the table says how well."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from load_script import script

from vlsafe_agents.data import Episode, EpisodeDataset
from vlsafe_agents.vlsafe import VLSafe

foresight = script("benchmarks/foresight.py")
LENGTH = 80
SPACE = spaces.Box(0.0, 1.0, (2,), np.float32)
ACTIONS = spaces.Discrete(3)


class Standing(gym.Env[Any, Any]):
    """Tells the spaces."""

    observation_space, action_space = SPACE, ACTIONS


def drive(end_cost: float) -> Episode:
    """Shows how much of its steps is behind."""
    cost = np.zeros(LENGTH + 1, np.float32)
    cost[-1] = end_cost
    behind = np.linspace(0, 1, LENGTH + 1, dtype=np.float32)
    return Episode(
        obs={"vector": np.stack([behind, behind], 1)},
        action=np.arange(LENGTH) % 3,
        reward=np.zeros(LENGTH, np.float32),
        env_cost=cost,
        safety_score=np.ones(LENGTH + 1, np.float32),
        terminated=end_cost > 0,
    )


def data() -> EpisodeDataset:
    drives = [drive(10.0), drive(1.0), drive(0.0)]  # a crash, off the route, a time-out
    return EpisodeDataset.from_arrays(drives, spaces.Dict(vector=SPACE), ACTIONS)


def test_a_bad_end_is_shown_to_its_last_row_and_a_calm_stretch_is_not() -> None:
    (bad, end), (calm, within) = foresight.stretches(data())
    assert (bad, calm) == (True, False)
    assert end.cost.shape == within.cost.shape == (1, foresight.WINDOW)
    assert end.cost[0, -1] == 10.0
    assert end.is_terminal[0, -1]
    assert end.obs["vector"][0, -1, 0] == 1.0
    assert within.cost.sum() == 0.0
    assert within.obs["vector"][0, -1, 0] < 1.0


def test_opinions_are_those_of_the_recorded_actions_before_the_end() -> None:
    dataset = data()
    agent = VLSafe("MlpPolicy", Standing(), dataset, preset="debug", seed=0)
    critic = agent.policy.actor_critic.cost_critic
    critic.slow_all = lambda feat: torch.arange(3.0).expand(*feat.shape[:-1], 3)
    (_, end), _ = foresight.stretches(dataset)
    said = foresight.opinions(agent, end)
    assert said.q_cost.tolist() == [(LENGTH - steps) % 3 for steps in foresight.STEPS]
    assert ((said.danger >= 0) & (said.danger <= 1)).all()
    assert said.dreamt.shape == (len(foresight.STEPS),)


def test_the_table_says_how_often_ends_look_worse_than_calm_driving() -> None:
    calm, ends = np.zeros((4, 9)), np.ones((3, 9))
    assert foresight.row("Q_c", ends, calm).count("1.00 (1.00)") == 9
    assert foresight.row("Q_c", calm[:1], calm).count("0.00 (0.50)") == 9
