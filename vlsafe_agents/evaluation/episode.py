"""Driving one episode and writing its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from vlsafe_agents.evaluation.agents import Agent, start_episode
from vlsafe_agents.evaluation.metrics import STANDING, EpisodeRecord
from wrappers.checks import check_numbers, one_number


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

    Raises:
        KeyError: if the environment reports no `info["cost"]`
        ValueError: for what `Sums` refuses; the message says in which episode and step
    """
    begun = env.reset(seed=seed)
    if not isinstance(begun, tuple) or len(begun) != 2 or not isinstance(begun[1], Mapping):
        raise ValueError(
            f"{name_of(env)}, seed {seed}: reset() returned no (observation, info), but "
            f"{type(begun).__name__}; wrap the environment in one that does"
        )
    observation, info = begun
    pilot = start_episode(agent, env, seed, deterministic)
    sums = Sums(name_of(env), seed, info)
    if trace is not None:
        trace.add(env, None, 0.0, info)
    done = False
    while not done:
        if pilot.sees_observations:
            sums.check_observation(observation)
        action = pilot.act(observation)
        sums.check_action(action, env.action_space)
        outcome = env.step(action)
        observation, reward, terminated, truncated, info = sums.five(outcome)
        sums.add(reward, info)
        if trace is not None:
            trace.add(env, action, float(reward), info)
        done = sums.flag(terminated, "terminated") or sums.flag(truncated, "truncated")
    return sums.record(info)


def name_of(env: Any) -> str:
    """The environment's id, or its class's name where it has none; of several, that of one."""
    spec = getattr(env, "spec", None)
    if spec is not None:
        return str(spec.id)
    return type(getattr(env, "envs", [env])[0].unwrapped).__name__


class Sums:
    """Running sums of an episode; whatever comes in is checked, as it may be anybody's.

    Args:
        env_name: for messages
    """

    def __init__(self, env_name: str, seed: int, reset_info: Mapping[str, Any]) -> None:
        self.env_name, self.seed = env_name, seed
        self.steps = 0
        self.episode_return = 0.0
        self.costs = {"cost": 0.0, "env_cost": 0.0, "vlm_cost": 0.0}
        self.reported = dict.fromkeys(self.costs, 0)  # steps
        self.speeds: list[float] = []
        self.speed_before = self._number(reset_info, "speed")
        self.collision_speed: float | None = None
        self.collision: bool | None = None  # None: not reported
        self.off_road: bool | None = None
        self.replaced: int | None = None

    def where(self, ahead: int = 0) -> str:
        """The episode, and the step that has been taken down last or the one `ahead`."""
        return f"{self.env_name}, seed {self.seed}, step {self.steps + ahead}"

    def check_observation(self, observation: Any) -> None:
        """Refuse numbers that are not finite: a model would make any action of them."""
        parts = observation.items() if isinstance(observation, dict) else [("", observation)]
        for name, part in parts:
            if isinstance(part, np.ndarray) and part.dtype.kind == "f":
                title = f"observation[{name!r}]" if name else "observation"
                check_numbers(part, title, self.where())

    def check_action(self, action: Any, space: spaces.Space[Any]) -> None:
        """Refuse what is not in the action space; nothing is rounded or cut to fit."""
        array = np.asarray(action)
        fits = array.dtype.kind in "biuf" and bool(np.isfinite(array).all())
        if isinstance(space, spaces.Discrete):
            fits = fits and array.size == 1 and array.dtype.kind in "iu"
            fits = fits and space.start <= int(array.reshape(-1)[0]) < space.start + space.n
        elif isinstance(space, spaces.Box):
            fits = fits and array.shape == space.shape
            fits = fits and np.can_cast(array.dtype, space.dtype, "same_kind")
            cast = array.astype(space.dtype) if fits else array
            fits = fits and bool(((cast >= space.low) & (cast <= space.high)).all())
        else:
            fits = space.contains(action)
        if not fits:
            raise ValueError(f"{self.where(1)}: the agent's action {action!r} is not in {space}")

    def five(self, outcome: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """What `step` returned, if that is Gymnasium's."""
        if not isinstance(outcome, tuple) or len(outcome) != 5:
            found = len(outcome) if isinstance(outcome, tuple) else type(outcome).__name__
            six = " (Safety-Gymnasium's wrapper SafetyGymnasium2Gymnasium does)" * (found == 6)
            raise ValueError(
                f"{self.where(1)}: step() returned {found} instead of (observation, reward, "
                f"terminated, truncated, info); wrap the environment in one that does{six}"
            )
        if not isinstance(outcome[4], Mapping):
            kind = type(outcome[4]).__name__
            raise ValueError(f"{self.where(1)}: step() returned an info that is {kind}, no dict")
        return outcome

    def flag(self, value: Any, name: str) -> bool:
        """True or False of the step taken down last; 0 and 1 count as such."""
        array = np.asarray(value)
        if array.dtype.kind not in "biu" or array.size != 1 or array.item() not in (0, 1):
            raise ValueError(f"{self.where()}: {name} is {value!r}; expected True or False")
        return bool(array.item())

    def add(self, reward: Any, info: Mapping[str, Any]) -> None:
        """Take down a step."""
        if "cost" not in info:
            raise KeyError(
                f"{self.env_name} reports no info['cost']; evaluation needs one at every step. "
                "Wrap the environment so that it does: see wrappers.costs, or --cost-key and "
                "--cost-function of the commands."
            )
        self.steps += 1
        self.episode_return += one_number(reward, "reward", self.where())
        if self._number(info, "cost", low=0.0) is None:
            raise ValueError(f"{self.where()}: info['cost'] is None; expected a number")
        for key in self.costs:
            value = self._number(info, key, low=0.0)
            if value is not None:
                self.costs[key] += value
                self.reported[key] += 1
        off_road = self._whether(info, "off_road")
        if off_road is not None:
            self.off_road = bool(self.off_road) or off_road
        self._look_for_collision(info)
        replaced = self._whether(info, "shield_replaced")
        if replaced is not None:
            self.replaced = (self.replaced or 0) + replaced
        speed = self._number(info, "speed")
        if speed is not None:
            self.speeds.append(speed)
            self.speed_before = speed

    def _look_for_collision(self, info: Mapping[str, Any]) -> None:
        collision = self._whether(info, "collision")
        if collision is None:
            return
        if collision and not self.collision:
            # Speed on arrival has been through the crash; the step before has not.
            at_impact = self._number(info, "collision_speed")
            self.collision_speed = self.speed_before if at_impact is None else at_impact
        self.collision = bool(self.collision) or collision

    def record(self, last_info: Mapping[str, Any]) -> EpisodeRecord:
        """The finished episode; a cost that was not reported at every step is not known."""
        known = {k: self.costs[k] if self.reported[k] == self.steps else None for k in self.costs}
        return EpisodeRecord(
            seed=self.seed,
            episode_return=self.episode_return,
            cost=self.costs["cost"],
            env_cost=known["env_cost"],
            vlm_cost=known["vlm_cost"],
            collision=self.collision,
            off_road=self.off_road,
            arrived=self._whether(last_info, "arrived"),
            steps=self.steps,
            distance=self._number(last_info, "distance"),
            mean_speed=float(np.mean(self.speeds)) if self.speeds else None,
            collision_speed=self.collision_speed,
            off_route=self._whether(last_info, "off_route"),
            waypoints=self._number(last_info, "waypoints_completed"),
            standing=sum(abs(speed) < STANDING for speed in self.speeds) if self.speeds else None,
            replaced=self.replaced,
        )

    def _whether(self, info: Mapping[str, Any], key: str) -> bool | None:
        """A yes or no, or how often: any number above 0 is a yes."""
        if isinstance(info.get(key), bool):
            return bool(info[key])
        number = self._number(info, key, low=0.0)
        return None if number is None else number > 0

    def _number(self, info: Mapping[str, Any], key: str, low: float | None = None) -> float | None:
        value = info.get(key)
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value.item()  # so do vector environments pass on what is no number
        return None if value is None else one_number(value, f"info[{key!r}]", self.where(), low)
