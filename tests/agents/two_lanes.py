"""A tabular constrained MDP that a linear program solves: which lane to take, cell by cell.

Ten steps along ten cells.  The fast lane earns 1 a cell and costs ``COSTS[k]`` in cell k, the slow
one neither; changing the lane succeeds with chance 0.8, so that one has to begin before a cell that
is worth it.  Episodes end by termination: costs count undiscounted, as agents with gamma = 1 see
them.  The best policy without a limit stays in the fast lane; with one it takes the cells in which
a unit of cost buys most, and decides at random in one state, as there is one constraint.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from scipy.optimize import linprog

from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.data.episode import Episode

COSTS = (0.1, 0.9, 0.3, 0.7, 0.2, 1.0, 0.4, 0.6, 0.5, 0.8)
STEPS = len(COSTS)
CHANGE = 0.8  # chance that a change of lanes succeeds
LIMIT = 1.5
SLOW, FAST = 0, 1


class TwoLanes(gym.Env[np.ndarray, Any]):
    """The action is the lane to be in; the observation, one-hot, the cell and the lane."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0.0, 1.0, (2 * (STEPS + 1),), np.float32)
        self.action_space = spaces.Discrete(2)
        self.cell, self.lane = 0, SLOW

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.cell, self.lane = 0, SLOW
        return self._look(), {"cost": 0.0, "safety_score": 1.0}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if int(action) != self.lane and self.np_random.random() < CHANGE:
            self.lane = int(action)
        cost = COSTS[self.cell] * self.lane
        self.cell += 1
        info = {"cost": cost, "safety_score": 1.0 - cost}
        return self._look(), float(self.lane), self.cell >= STEPS, False, info

    def _look(self) -> np.ndarray:
        seen = np.zeros(2 * (STEPS + 1), np.float32)
        seen[2 * self.cell + self.lane] = 1.0
        return seen


class Optimum(NamedTuple):
    """The best policy, and what it earns and pays in an episode."""

    earned: float
    paid: float
    price: float  # of a unit of cost in units of return: the multiplier
    fast: np.ndarray  # (STEPS, 2) chance of choosing the fast lane in (cell, lane)


def arrivals(lane: int, action: int) -> list[tuple[int, float]]:
    """Lanes after a step, with their chances."""
    return [(lane, 1.0)] if action == lane else [(action, CHANGE), (lane, 1.0 - CHANGE)]


def optimum(limit: float | None) -> Optimum:
    """The best policy by a linear program over occupancies x(cell, lane, action)."""
    shape = (STEPS, 2, 2)
    reward, cost = np.zeros(shape), np.zeros(shape)
    flow, inflow = np.zeros((2 * STEPS, *shape)), np.zeros(2 * STEPS)
    inflow[SLOW] = 1.0
    for k, lane, action in np.ndindex(*shape):
        flow[2 * k + lane, k, lane, action] += 1.0
        for after, chance in arrivals(lane, action):
            reward[k, lane, action] += chance * after
            cost[k, lane, action] += chance * after * COSTS[k]
            if k + 1 < STEPS:
                flow[2 * (k + 1) + after, k, lane, action] -= chance
    bound = {} if limit is None else {"A_ub": cost.reshape(1, -1), "b_ub": [limit]}
    found = linprog(-reward.ravel(), A_eq=flow.reshape(2 * STEPS, -1), b_eq=inflow, **bound)
    x = found.x.reshape(shape)
    price = 0.0 if limit is None else -float(found.ineqlin.marginals[0])
    share = x[..., FAST] / np.maximum(x.sum(-1), 1e-12)
    return Optimum(float((x * reward).sum()), float((x * cost).sum()), price, share)


def value(fast: np.ndarray) -> tuple[float, float]:
    """Return and cost of a policy, exactly: chances ``(STEPS, 2)`` of choosing the fast lane."""
    here, earned, paid = np.array([1.0, 0.0]), 0.0, 0.0
    for k in range(STEPS):
        after = np.zeros(2)
        for lane, action in np.ndindex(2, 2):
            chosen = fast[k, lane] if action == FAST else 1.0 - fast[k, lane]
            for new, chance in arrivals(lane, action):
                after[new] += here[lane] * chosen * chance
        here = after
        earned, paid = earned + here[FAST], paid + here[FAST] * COSTS[k]
    return float(earned), float(paid)


def record(episodes: int, seed: int = 0) -> EpisodeDataset:
    """Drives of a driver who chooses lanes by a coin."""
    rng, env, recorded = np.random.default_rng(seed), TwoLanes(), []
    for number in range(episodes):
        obs, _ = env.reset(seed=seed * 100_000 + number)
        seen, actions, rewards, costs, scores, done = [obs], [], [], [0.0], [1.0], False
        while not done:
            actions.append(int(rng.integers(2)))
            obs, reward, done, _, info = env.step(actions[-1])
            seen.append(obs)
            rewards.append(reward)
            costs.append(info["cost"])
            scores.append(info["safety_score"])
        recorded.append(
            Episode(
                obs={"vector": np.stack(seen)},
                action=np.array(actions, np.int64),
                reward=np.array(rewards, np.float32),
                env_cost=np.array(costs, np.float32),
                safety_score=np.array(scores, np.float32),
                terminated=True,
            )
        )
    return EpisodeDataset.from_arrays(recorded, env.observation_space, env.action_space)


def drive(agent: Any, episodes: int, seed: int = 1_000) -> tuple[float, float]:
    """Mean return and cost of an agent that samples its actions, over fixed seeds."""
    envs = [TwoLanes() for _ in range(episodes)]
    obs = np.stack([env.reset(seed=seed + i)[0] for i, env in enumerate(envs)])
    earned = paid = 0.0
    state, start = None, np.ones(episodes, bool)
    for _ in range(STEPS):
        actions, state = agent.predict(obs, state=state, episode_start=start, deterministic=False)
        start[:] = False
        for i, env in enumerate(envs):
            obs[i], reward, _, _, info = env.step(actions[i])
            earned, paid = earned + reward / episodes, paid + info["cost"] / episodes
    return earned, paid
