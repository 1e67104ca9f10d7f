"""A tabular constrained MDP that a linear program solves: which lane to take, cell by cell.

Ten steps along ten cells.  The fast lane earns 1 a cell and costs ``COSTS[k]`` in cell k, the slow
one neither; changing the lane succeeds with chance 0.8, so that one has to begin before a cell that
is worth it.  Episodes end by termination: costs count undiscounted, as agents with gamma = 1 see
them.  The best policy without a limit stays in the fast lane; with one it takes the cells in which
a unit of cost buys most, and decides at random in one state, as there is one constraint.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from scipy.optimize import linprog

from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.data.episode import Episode
from vlsafe_agents.vlsafe import policy_extraction as extraction

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


def action_values(fast: np.ndarray, gain: tuple[float, ...]) -> np.ndarray:
    """Q ``(STEPS, 2, 2)`` of a policy, exactly, where the fast lane gives ``gain[k]`` in cell k."""
    q, ahead = np.zeros((STEPS, 2, 2)), np.zeros(2)
    for k in reversed(range(STEPS)):
        for lane, action in np.ndindex(2, 2):
            after = arrivals(lane, action)
            q[k, lane, action] = sum(chance * (new * gain[k] + ahead[new]) for new, chance in after)
        ahead = (np.stack([1.0 - fast[k], fast[k]], -1) * q[k]).sum(-1)  # (2,)
    return q


def lowest_score(fast: np.ndarray, k: int, lane: int, worst: float, steps: int) -> float:
    """Mean of the lowest safety score of a state and of the next ``steps``, exactly."""
    worst = min(worst, 1.0 - lane * COSTS[k - 1] if k else 1.0)
    if not steps or k == STEPS:
        return worst
    return sum(
        (fast[k, lane] if action == FAST else 1.0 - fast[k, lane])
        * sum(
            chance * lowest_score(fast, k + 1, new, worst, steps - 1)
            for new, chance in arrivals(lane, action)
        )
        for action in (SLOW, FAST)
    )


def gated_policy(
    limit: float, beta_reward: float, beta_cost: float, lookahead: int, p: float | None = None
) -> np.ndarray:
    """Where the gated update ends if critics and model know all: chances ``(STEPS, 2)`` of FAST.

    The prior is a coin.  Damped steps; after 100 what is left of the coin is below 1e-4.

    Args:
        p: a constant gate; None for the lowest safety score of the next ``lookahead`` states.
    """
    coin = torch.full((STEPS, 2, 2), math.log(0.5), dtype=torch.float64)
    seen = torch.from_numpy(_visits(np.full((STEPS, 2), 0.5)))  # (STEPS, 2)
    fast = np.full((STEPS, 2), 0.5)
    for _ in range(100):
        units, q_cost = [], torch.from_numpy(action_values(fast, COSTS))
        for q in (torch.from_numpy(action_values(fast, (1.0,) * STEPS)), q_cost):
            advantage = extraction.behaviour_advantage(q, coin)
            square = (seen * advantage.square().mean(-1)).sum() / seen.sum()
            units.append(advantage / square.sqrt())
        gate = np.full((STEPS, 2), p)
        if p is None:
            for k, lane in np.ndindex(STEPS, 2):
                gate[k, lane] = lowest_score(fast, k, lane, 1.0, lookahead)
        log_weight = extraction.gated_log_weight(
            *units,
            torch.from_numpy(gate.astype(np.float64)),
            beta_reward,
            beta_cost,
            coin,
            extraction.feasible_actions(q_cost, limit),
        )
        better = extraction.improved_policy(coin, log_weight)[..., FAST].numpy()
        fast = fast + 0.1 * (better - fast)
    return fast


def _visits(fast: np.ndarray) -> np.ndarray:
    """How often a policy is in each (cell, lane) of an episode, ``(STEPS, 2)``."""
    seen = np.zeros((STEPS, 2))
    seen[0, SLOW] = 1.0
    for k, lane, action in np.ndindex(STEPS - 1, 2, 2):
        chosen = fast[k, lane] if action == FAST else 1.0 - fast[k, lane]
        for new, chance in arrivals(lane, action):
            seen[k + 1, new] += seen[k, lane] * chosen * chance
    return seen


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
