"""Driving one episode and writing its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from vlsafe_agents.evaluation.agents import Agent, start_episode
from vlsafe_agents.evaluation.metrics import EpisodeRecord


class Trace(Protocol):
    """Watches an episode; index 0 is the reset, index t the arrival at observation t."""

    def add(
        self, env: gym.Env[Any, Any], action: Any, reward: float, info: Mapping[str, Any]
    ) -> None: ...


def run_episode(
    agent: Agent,
    env: gym.Env[Any, Any],
    seed: int,
    deterministic: bool = True,
    trace: Trace | None = None,
) -> EpisodeRecord:
    """Drive one episode from `env.reset(seed=seed)` to its end.

    :raises KeyError: if the environment reports no `info["cost"]`
    """
    observation, info = env.reset(seed=seed)
    pilot = start_episode(agent, env, seed, deterministic)
    sums = Sums(info)
    if trace is not None:
        trace.add(env, None, 0.0, info)
    done = False
    while not done:
        action = pilot.act(observation)
        observation, reward, terminated, truncated, info = env.step(action)
        sums.add(float(reward), info, env)
        if trace is not None:
            trace.add(env, action, float(reward), info)
        done = terminated or truncated
    return sums.record(seed, info)


class Sums:
    """Running sums of an episode."""

    def __init__(self, reset_info: Mapping[str, Any]) -> None:
        self.episode_return = 0.0
        self.costs = {"cost": 0.0, "env_cost": 0.0, "vlm_cost": 0.0}
        self.reported: set[str] = set()
        self.speeds: list[float] = []
        self.speed_before = _number(reset_info, "speed")
        self.collision_speed: float | None = None
        self.collision = False
        self.off_road = False
        self.steps = 0

    def add(self, reward: float, info: Mapping[str, Any], env: Any) -> None:
        """Take down a step of `env`."""
        if "cost" not in info:
            name = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
            raise KeyError(
                f"{name} reports no info['cost']; evaluation needs one at every step. Wrap the "
                "environment so that it does."
            )
        self.episode_return += reward
        self.steps += 1
        for key in self.costs:
            if key in info:
                self.costs[key] += float(info[key])
                self.reported.add(key)
        self.off_road |= bool(info.get("off_road", False))
        if info.get("collision", False) and not self.collision:
            self.collision = True
            # Speed on arrival has been through the crash; the step before has not.
            at_impact = _number(info, "collision_speed")
            self.collision_speed = self.speed_before if at_impact is None else at_impact
        speed = _number(info, "speed")
        if speed is not None:
            self.speeds.append(speed)
            self.speed_before = speed

    def record(self, seed: int, last_info: Mapping[str, Any]) -> EpisodeRecord:
        """The finished episode."""
        arrived, off_route = last_info.get("arrived"), last_info.get("off_route")
        optional = {k: self.costs[k] if k in self.reported else None for k in self.costs}
        return EpisodeRecord(
            seed=seed,
            episode_return=self.episode_return,
            cost=self.costs["cost"],
            env_cost=optional["env_cost"],
            vlm_cost=optional["vlm_cost"],
            collision=self.collision,
            off_road=self.off_road,
            arrived=None if arrived is None else bool(arrived),
            steps=self.steps,
            distance=_number(last_info, "distance"),
            mean_speed=float(np.mean(self.speeds)) if self.speeds else None,
            collision_speed=self.collision_speed,
            off_route=None if off_route is None else bool(off_route),
            waypoints=_number(last_info, "waypoints_completed"),
        )


def _number(info: Mapping[str, Any], key: str) -> float | None:
    value = info.get(key)
    return None if value is None else float(value)
