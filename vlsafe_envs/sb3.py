"""Stable-Baselines3's vector environment over the compiled engine.

    from vlsafe_envs.sb3 import make_vec_env

    PPO("CnnPolicy", make_vec_env("VLSafe-Highway-v0", n_envs=64, seed=0)).learn(1_000_000)

Apart from this module the package does without Stable-Baselines3.
"""

from __future__ import annotations

import copy
import functools
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecMonitor
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from vlsafe_envs.actions import check_actions
from vlsafe_envs.batch.columns import Integers, put_rows
from vlsafe_envs.batch.stacked import Arrival, BatchMember, DrivingBatch
from vlsafe_envs.checks import check_kind, check_num_envs, check_seed
from vlsafe_envs.options import check_env_options
from vlsafe_envs.registration import make_batch, make_env
from vlsafe_envs.registry import row_of
from wrappers.traced_env import EpisodeTrace, TracedEnv, return_to

Indices = int | Iterable[int] | None


def make_vec_env(
    env_id: str,
    n_envs: int = 1,
    seed: int | None = None,
    monitor_dir: str | Path | None = None,
    env_kwargs: dict[str, Any] | None = None,
) -> VecEnv:
    """Monitored environments that are stepped together; stands where SB3's ``make_vec_env`` stood.

    Where the compiled engine cannot be used, they are stepped one by one in a ``DummyVecEnv``;
    those on MetaDrive in a ``SubprocVecEnv``.

    Args:
        env_id: one of ours, with or without ``"vlsafe_envs:"`` before it.
        n_envs: how many.
        seed: environment i gets ``seed + i`` at the first reset; ``None``: random seeds.
        monitor_dir: where to keep ``monitor.csv`` of all episodes.
        env_kwargs: what ``gym.make`` would take.

    Raises:
        ValueError: for an id that is not ours, unknown options and impossible values.
    """
    row = row_of(env_id)
    check_num_envs(n_envs, "n_envs")
    check_kind("env_kwargs", env_kwargs, Mapping | None, "a dictionary, or None")
    seed = check_seed(seed)
    options = dict(env_kwargs or {})
    check_env_options(row.env_id, options)
    batch = make_batch(row.name, n_envs, **options)
    vec_env: VecEnv
    if batch is None:
        one = functools.partial(make_env, row.name, **options)
        if n_envs == 1 or not row.one_per_process:
            vec_env = CheckedDummyVecEnv([one] * n_envs)
        else:
            one().close()  # a fault of the options shows here, not as a worker that is gone
            vec_env = CheckedSubprocVecEnv([functools.partial(_in_worker, one)] * n_envs)
    else:
        spec = copy.deepcopy(gym.spec(row.env_id))  # the registry hands out its own
        spec.kwargs = {**spec.kwargs, **options}
        for env in batch.envs:
            env.spec = spec
        vec_env = DrivingVecEnv(batch)
    if seed is not None:
        vec_env.seed(seed)
        vec_env.action_space.seed(seed)
    if monitor_dir is not None:
        Path(monitor_dir).mkdir(parents=True, exist_ok=True)
        return VecMonitor(vec_env, str(Path(monitor_dir) / "monitor.csv"))
    return VecMonitor(vec_env)


class CheckedDummyVecEnv(DummyVecEnv):
    """Refuses bad actions before any environment moves."""

    def step_async(self, actions: np.ndarray) -> None:
        super().step_async(check_actions(actions, self.action_space, self.num_envs))


def _in_worker(make: Callable[[], gym.Env[Any, Any]]) -> gym.Env[Any, Any]:
    """The environment of a worker process, which Ctrl-C reaches too: its parent decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return TracedEnv(make())


class CheckedSubprocVecEnv(SubprocVecEnv):
    """The same: with too few actions the other would wait for ever."""

    def step_async(self, actions: np.ndarray) -> None:
        super().step_async(check_actions(actions, self.action_space, self.num_envs))


class DrivingVecEnv(VecEnv):
    """N driving environments in one call, by the conventions of Stable-Baselines3.

    An environment whose episode ends is reset within the step; ``info`` keeps
    ``terminal_observation`` and ``TimeLimit.truncated`` beside what ``DrivingEnv`` reports, and
    all of it belongs to the episode that ended.

    Args:
        batch: the environments.

    Raises:
        ValueError: for what is no batch.
    """

    def __init__(self, batch: DrivingBatch) -> None:
        check_kind("batch", batch, DrivingBatch, "a DrivingBatch")
        self.batch = batch
        self._all = np.arange(len(batch))
        self._traces = [EpisodeTrace(env) for env in batch.envs]
        self._latest: Any = None  # observations (N, ...)
        self._returned: dict[int, Any] = {}  # newer ones of single environments
        first = batch.envs[0]
        super().__init__(len(batch), first.observation_space, first.action_space)
        self.metadata = first.metadata

    @property
    def envs(self) -> list[BatchMember]:
        """The environments, to be looked at."""
        return self.batch.envs

    def reset(self) -> VecEnvObs:
        """Start episodes everywhere.

        Raises:
            ValueError: for options, of which there are none.
        """
        if any(self._options):
            raise ValueError(f"options={self._options!r}: reset has no options")
        arrival = self._begin(self._all, self._seeds)
        self.batch.score_frames(arrival)
        self._latest, self._returned = arrival.observation, {}
        self.reset_infos = arrival.infos()
        self._reset_seeds()
        return arrival.observation

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = check_actions(actions, self.action_space, self.num_envs)

    def step_wait(self) -> VecEnvStepReturn:
        arrival = self.batch.step(self._all, self._actions)
        for n, reward in enumerate(arrival.reward.tolist()):
            self._traces[n].add(self._actions[n], reward)
        dones = arrival.over
        over = np.flatnonzero(dones)
        fresh: list[Arrival] = []
        last = {n: arrival.observation_of(n) for n in over.tolist()}
        if over.size:
            fresh = [self._begin(over, [None] * over.size)]
        self.batch.score_frames(arrival, *fresh)
        infos = arrival.infos()
        for info, truncated in zip(infos, arrival.truncated.tolist(), strict=True):
            info["TimeLimit.truncated"] = truncated
        for n, observation in last.items():
            infos[n]["terminal_observation"] = observation
        for start in fresh:
            for n, info in zip(over.tolist(), start.infos(), strict=True):
                self.reset_infos[n] = info
            put_rows(arrival.observation, start.observation, over)
        self._latest, self._returned = arrival.observation, {}
        return arrival.observation, arrival.reward.astype(np.float32), dones, infos

    def _begin(self, rows: Integers, seeds: Sequence[int | None]) -> Arrival:
        """Start episodes in some environments, and keep how they began."""
        for n, seed in zip(rows.tolist(), seeds, strict=True):
            self._traces[n].begin(seed)
        return self.batch.reset(rows, seeds)

    def _running_episode(self, n: int) -> dict[str, Any]:
        """As of ``TracedEnv``, of one environment."""
        known = n in self._returned or self._latest is None
        return self._traces[n].state(self._returned.get(n) if known else _row(self._latest, n))

    def _return_to_episode(self, n: int, state: Mapping[str, Any]) -> str:
        """As of ``TracedEnv``, of one environment."""
        row, trace = np.array([n]), self._traces[n]

        def reset(seed: int | None) -> Any:
            arrival = self._begin(row, [seed])
            self.batch.remember_frames(arrival)
            self._returned[n] = arrival.observation_of(0)
            return self._returned[n]

        def step(action: Any) -> tuple[Any, bool]:
            arrival = self.batch.step(row, action[None])
            trace.add(action, float(arrival.reward[0]))
            self.batch.remember_frames(arrival)
            self._returned[n] = arrival.observation_of(0)
            return self._returned[n], bool(arrival.over[0])

        return return_to(state, trace, reset, step)

    def close(self) -> None:
        """Nothing to close."""

    def get_images(self) -> list[np.ndarray | None]:
        """The scorer's frames, with ``render_mode="rgb_array"``."""
        if self.render_mode != "rgb_array":
            return [None] * self.num_envs
        return [env.safety_frame() for env in self.envs]

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """An attribute of the chosen environments."""
        rows = list(self._get_indices(indices))
        if attr_name in ("running_episode", "return_to_episode"):  # it takes the batch to step one
            return [functools.partial(getattr(self, f"_{attr_name}"), n) for n in rows]
        return [getattr(self.envs[n], attr_name) for n in rows]

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Set ``rewards``, ``costs`` or ``offroad_terminal`` of the chosen environments.

        Raises:
            AttributeError: for attributes that the environments have in common.
        """
        rows = np.array(list(self._get_indices(indices)), np.int64)
        self.batch.set_own(attr_name, rows, [value] * len(rows))

    def env_method(
        self, method_name: str, *method_args: Any, indices: Indices = None, **method_kwargs: Any
    ) -> list[Any]:
        """What a method of the chosen environments returns."""
        methods = self.get_attr(method_name, indices)
        return [method(*method_args, **method_kwargs) for method in methods]

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: Indices = None
    ) -> list[bool]:
        """No environment of a batch is wrapped."""
        return [False for _ in self._get_indices(indices)]


def _row(observation: Any, n: int) -> Any:
    if isinstance(observation, dict):
        return {name: array[n] for name, array in observation.items()}
    return observation[n]
