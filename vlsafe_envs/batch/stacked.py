"""Many driving environments stepped together: what both kinds of vector environment are made of."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from vlsafe_envs.batch.columns import Integers, in_columns, info_rows, joined, rows_of
from vlsafe_envs.checks import check_kind, check_num_envs, check_seed
from vlsafe_envs.costs import HORIZON, CostConfig
from vlsafe_envs.env import DrivingEnv, draw_density
from vlsafe_envs.observations import IMAGE_SIZE, PARTS, make_observation
from vlsafe_envs.rewards import RewardConfig
from vlsafe_envs.scenarios import Scenario
from vlsafe_envs.scene import Scene
from vlsafe_envs.simulator import EgoStatus
from vlsafe_envs.simulators.engine.batch import STATUS, TrafficBatch, View, ego_of
from vlsafe_envs.simulators.engine.compiled_traffic import CompiledTraffic
from vlsafe_envs.simulators.engine.packing import pack_scenes
from vlsafe_envs.state import State
from vlsafe_envs.task import Moment, make_info, out_of_time
from vlsafe_envs.tasks.cruise import CruiseTask
from wrappers import FrameCost, FrameHistory

Flags = npt.NDArray[np.bool_]
# What each environment may have of its own.
OWN_SETTINGS = {"rewards": RewardConfig, "costs": CostConfig, "offroad_terminal": bool}


class BatchMember(DrivingEnv):
    """One environment of a batch: to be looked at, and driven through the batch only."""

    simulator: CompiledTraffic

    @property
    def scene(self) -> Scene:
        """Where everything is now.

        Raises:
            RuntimeError: before the first reset.
        """
        return self.simulator.scene

    @property
    def ego(self) -> EgoStatus:
        """Facts about the ego vehicle now."""
        return self.simulator.ego

    def seed(self, seed: int | None) -> None:
        """Seed the generator as ``reset(seed=seed)`` does; ``None`` leaves it as it is."""
        gym.Env.reset(self, seed=check_seed(seed))

    def reset(self, **_: Any) -> Any:
        """Refuses: it is one of a batch."""
        raise RuntimeError("this environment is one of a batch: reset the batch")

    def step(self, action: Any) -> Any:
        """Refuses: it is one of a batch."""
        raise RuntimeError("this environment is one of a batch: step the batch")

    def restore(self, state: State) -> None:
        """Refuses: it is one of a batch."""
        raise RuntimeError("this environment is one of a batch: use snapshots.fan_out")


@dataclass
class Arrival:
    """What K environments show on arriving at an observation; every array has a row for each."""

    rows: Integers  # (K,) which environments
    view: View
    observation: Any  # arrays (K, ...)
    info: dict[str, Any]  # as of DrivingEnv, of arrays (K, ...)
    reward: npt.NDArray[np.float64]  # (K,)
    terminated: Flags
    truncated: Flags
    is_first: bool  # whether episodes begin here

    @property
    def over(self) -> Flags:
        """Whose episode has ended, ``(K,)``."""
        return self.terminated | self.truncated

    def observation_of(self, k: int) -> Any:
        """A copy of one environment's observation."""
        if isinstance(self.observation, dict):
            return {name: array[k].copy() for name, array in self.observation.items()}
        return self.observation[k].copy()

    def infos(self) -> list[dict[str, Any]]:
        """The info of every environment by itself, as ``DrivingEnv`` would return it."""
        return info_rows(self.info)


class DrivingBatch:
    """N environments that behave exactly as N ``DrivingEnv`` with the same seeds would.

    Every method takes the environments that it is about, so that some can be reset while others
    are stepped.

    Args:
        scenario: see :class:`DrivingEnv`.
        num_envs: N.
        frame_cost: scores the frames of all environments in one call; ``None``: nobody does.
        task: reward, cost and ends, of which every environment has its own copy.
        options: further arguments of :class:`DrivingEnv`.

    Raises:
        ValueError: for values that ``DrivingEnv`` refuses, for fewer environments than one, and
            where the compiled engine cannot simulate the traffic.
    """

    def __init__(
        self,
        scenario: Scenario,
        num_envs: int,
        frame_cost: FrameCost | None = None,
        task: CruiseTask | None = None,
        **options: Any,
    ) -> None:
        check_num_envs(num_envs)
        check_kind("scenario", scenario, Scenario, "a Scenario")
        check_kind("frame_cost", frame_cost, FrameCost | None, "a FrameCost, or None")
        self.scenario = scenario
        self.frame_cost = frame_cost
        length = 1 if frame_cost is None else frame_cost.context_frames
        self._history = FrameHistory(length, num_envs) if length > 1 else None
        self._task = CruiseTask(scenario) if task is None else task
        self.envs = [
            BatchMember(
                scenario, CompiledTraffic(scenario.traffic), copy.copy(self._task), **options
            )
            for _ in range(num_envs)
        ]
        first = self.envs[0]
        self.actions, self.observation = first.actions, first.observation
        self._parts = PARTS[self.observation]
        self.scene_in_info, self.render_mode = first.scene_in_info, first.render_mode
        self._frames = first.frames
        self.traffic = TrafficBatch([env.simulator for env in self.envs], HORIZON)
        self._status = np.zeros(num_envs, STATUS)
        self._steps = np.zeros(num_envs, np.int64)
        self._distance = np.zeros(num_envs)
        self._density = np.zeros(num_envs)  # of each episode, where it is drawn
        self._is_reset = np.zeros(num_envs, bool)
        self._read_own()

    def __len__(self) -> int:
        return len(self.envs)

    def set_own(self, name: str, rows: Integers, values: Sequence[Any]) -> None:
        """Give environments ``rows (K,)`` their own ``rewards``, ``costs`` or ``offroad_terminal``.

        Raises:
            AttributeError: for attributes that the environments have in common.
            ValueError: for values of another type or number.
        """
        if name not in OWN_SETTINGS:
            raise AttributeError(
                f"cannot set {name!r}: of environments made together only "
                f"{', '.join(OWN_SETTINGS)} can be changed; make them anew"
            )
        if len(values) != len(rows):
            raise ValueError(f"{name}: {len(values)} values for {len(rows)} environments")
        kind = OWN_SETTINGS[name]
        for value in values:
            check_kind(name, value, kind, "True or False" if kind is bool else f"a {kind.__name__}")
        for n, value in zip(rows.tolist(), values, strict=True):
            setattr(self.envs[n], name, value)
        self._read_own()

    def _read_own(self) -> None:
        self._own = {
            name: in_columns([getattr(env, name) for env in self.envs]) for name in OWN_SETTINGS
        }

    def reset(self, rows: Integers, seeds: Sequence[int | None]) -> Arrival:
        """Start episodes in the environments ``rows (K,)``; ``None`` goes on with a generator."""
        for n, seed in zip(rows.tolist(), seeds, strict=True):
            self.envs[n].seed(seed)
            density = draw_density(self.scenario, self.envs[n].np_random)
            self._density[n] = np.nan if density is None else density
            self.traffic.reset(n, self.envs[n].np_random, density)
        self._steps[rows], self._distance[rows], self._is_reset[rows] = 0, 0.0, True
        view = self._look(rows)
        task, now = self._task_of(rows), self._moment(rows, view)
        info = make_info(task, now, task.reset(None, now), begins=True)
        never = np.zeros(len(rows), bool)
        return self._arrive(rows, view, info, np.zeros(len(rows)), never, never.copy(), True)

    def step(self, rows: Integers, actions: Any) -> Arrival:
        """One decision in each of the environments ``rows (K,)``; ``actions`` have K rows.

        Raises:
            ValueError: for bad actions.
            RuntimeError: before a reset.
        """
        if not self._is_reset[rows].all():
            raise RuntimeError("call reset() before step()")
        before = self._status[rows]
        self.traffic.step(rows, self.actions.commands(actions, before["speed"].copy()))
        self._steps[rows] += 1
        view = self._look(rows)
        way_x, way_y = view.status["x"] - before["x"], view.status["y"] - before["y"]
        self._distance[rows] += np.sqrt(way_x * way_x + way_y * way_y)
        task, now = self._task_of(rows), self._moment(rows, view)
        outcome = task.step(None, ego_of(before), now)
        info, terminated = make_info(task, now, outcome), outcome.terminated
        truncated = out_of_time(task, now, terminated)
        return self._arrive(rows, view, info, outcome.reward, terminated, truncated)

    def _look(self, rows: Integers) -> View:
        vector = self.envs[0].vector.size if "vector" in self._parts else 0
        cruise = self.scenario.cruise_speed if "vehicles" in self._parts else None
        return self.traffic.look(rows, vector, cruise)

    def save(self, n: int) -> State:
        """Where environment ``n`` is, as ``DrivingEnv.save`` returns it.

        Raises:
            RuntimeError: before its first reset.
        """
        if not self._is_reset[n]:
            raise RuntimeError("call reset() first: there is no episode to save")
        state = self.envs[n].save()
        state |= {"steps": int(self._steps[n]), "distance": float(self._distance[n])}
        if self.scenario.density_range is not None:
            state["density"] = float(self._density[n])
        return {**state, "frames": None if self._history is None else self._history.save(n)}

    def restore(self, state: State, rows: Integers) -> Any:
        """Put each of the environments ``rows (K,)`` where one like them was saved.

        Returns their observations, arrays ``(K, ...)``.

        Raises:
            ValueError: where the scorer looks at windows of frames, and none were saved.
        """
        frames = state.get("frames")
        if self._history is not None and (frames is None or len(frames) != self._history.length):
            raise ValueError(
                f"the scorer looks at {self._history.length} frames at once, and they were not "
                "saved: save in a vector environment with the same scorer"
            )
        for n in rows.tolist():
            generator = self.envs[n].np_random
            generator.bit_generator.state = state["generator"]
            self.traffic.restore(n, state["simulator"], generator)
        if self._history is not None:
            self._history.restore(frames, rows)
        self._steps[rows], self._distance[rows] = state["steps"], state["distance"]
        self._density[rows] = np.nan if state["density"] is None else state["density"]
        self._is_reset[rows] = True
        view = self._look(rows)
        self._status[rows] = view.status
        return self._observe(view)

    def _arrive(
        self,
        rows: Integers,
        view: View,
        info: dict[str, Any],
        reward: npt.NDArray[np.float64],
        terminated: Flags,
        truncated: Flags,
        is_first: bool = False,
    ) -> Arrival:
        self._status[rows] = view.status
        if self.scenario.density_range is not None:
            info = {**info, "density": self._density[rows]}
        if self.scene_in_info:
            info = {**info, "scene": pack_scenes(view)}
        seen = self._observe(view)
        return Arrival(rows, view, seen, info, reward, terminated, truncated, is_first)

    def _moment(self, rows: Integers, view: View) -> Moment:
        status = view.status
        return Moment(
            view.ego,
            self._steps[rows],
            self._distance[rows],
            status["time_to_collision"].copy(),
            status["headway"].copy(),
        )

    def _task_of(self, rows: Integers) -> CruiseTask:
        """The task of some environments; settings are arrays ``(K,)`` where they differ."""
        own = {name: rows_of(value, rows) for name, value in self._own.items()}
        return self._task.of_many(**own)

    def _observe(self, view: View) -> Any:
        read = {
            "image": lambda: self._frames.images(*view.drawing),
            "vector": lambda: view.vectors,
            "ego": lambda: view.egos,
            "vehicles": lambda: view.vehicles,
        }
        return make_observation(self.observation, read)

    def safety_frames(self, view: View) -> npt.NDArray[np.uint8]:
        """The scorer's frames ``(K, 224, 224, 3)``."""
        return self._frames.frames(*view.drawing)

    def _frames_to_score(self, arrival: Arrival, frame_cost: FrameCost) -> npt.NDArray[np.uint8]:
        """Frames to score ``(K, ...)``, or windows of k of them ``(K, k, ...)``."""
        if frame_cost.frame_size != IMAGE_SIZE:
            frames = self.safety_frames(arrival.view)
        else:  # the agent's image, drawn already where the agent sees it
            seen = arrival.observation
            if "image" not in self._parts:
                frames = self._frames.images(*arrival.view.drawing)
            else:
                frames = seen if self.observation == "image" else seen["image"]
        if self._history is None:
            return frames
        return self._history.push(frames, np.full(len(frames), arrival.is_first), arrival.rows)

    def remember_frames(self, arrival: Arrival) -> None:
        """Take in the frames that a scorer of windows will look back at, unscored."""
        if self.frame_cost is not None and self._history is not None:
            self._frames_to_score(arrival, self.frame_cost)

    def score_frames(self, *arrivals: Arrival) -> None:
        """Score all frames in one call, if somebody is to, and complete the infos."""
        if self.frame_cost is None or not arrivals:
            return
        frames = joined([self._frames_to_score(arrival, self.frame_cost) for arrival in arrivals])
        terminated = joined([arrival.terminated for arrival in arrivals])
        env_cost = joined([arrival.info["env_cost"] for arrival in arrivals])
        scored = self.frame_cost(frames, _LazyInfos(arrivals), terminated, env_cost)
        first = 0
        for arrival in arrivals:
            part = slice(first, first + len(arrival.rows))
            arrival.info.update({name: column[part] for name, column in scored.items()})
            first = part.stop


class _LazyInfos(Sequence[dict[str, Any]]):
    """The infos of all environments in turn, made when somebody looks at one.

    Few scorers do, and making them takes longer than a small scorer needs for the frames.
    """

    def __init__(self, arrivals: Sequence[Arrival]) -> None:
        self._length = sum(len(arrival.rows) for arrival in arrivals)
        self._columns = [dict(arrival.info) for arrival in arrivals]  # as they are now

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        return [info for columns in self._columns for info in info_rows(columns)]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]
