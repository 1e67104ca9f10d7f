"""What environments report while an agent drives, checked as it comes in.

Errors name the environment's number, its step, the value and what to do.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import gymnasium as gym
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from vlsafe_agents.common.border import from_first
from vlsafe_agents.common.origin import env_spec_of
from vlsafe_agents.common.space_actions import ActsInSpace
from wrappers.checks import (
    GYMNASIUM_STEP,
    check_numbers,
    one_flag,
    one_number,
    reset_values,
    step_values,
    whole_number,
)

REMEDY = "mend the environment, or end the episode there"
_TAKING = ("stable_baselines3.common.vec_env.", "stable_baselines3.common.monitor")


class CheckedEnv(gym.Wrapper[Any, Any, Any, Any]):
    """One environment whose steps have Gymnasium's form, before a vector environment casts them.

    That would take an observation of one number for a whole one, and the text "False" for true.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._step = 0
        self._name = _name(0, env.spec)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """As of the environment.

        Raises:
            ValueError: for what is not Gymnasium's.
        """
        self._step, where = 0, f"{self._name}, reset"
        observation, info = reset_values(self.env.reset(**kwargs), where)
        _check_shapes(observation, self.observation_space, where)
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """As of the environment.

        Raises:
            ValueError: for what is not Gymnasium's.
        """
        self._step += 1
        where = f"{self._name}, step {self._step} of its episode"
        values = step_values(self.env.step(action), where)
        _check_shapes(values[0], self.observation_space, where)
        return values


class CheckedSteps(VecEnvWrapper):
    """The environments as SB3's policies drive them, each step checked.

    Args:
        venv: environments at the beginning of their episodes
        from_zero: actions of a ``Discrete`` space come as those policies count them, from 0
            whatever the space's ``start``; else as the space does.

    Raises:
        ValueError: where an observation or a reward is not finite.
    """

    def __init__(self, venv: VecEnv, from_zero: bool = True) -> None:
        super().__init__(venv)
        self._from_zero = from_zero
        self._steps = np.zeros(self.num_envs, np.int64)  # of each environment's episode
        self._over = np.zeros(self.num_envs, bool)  # episodes that the last step ended

    def where(self, index: int) -> str:
        """Names the last step of an environment, for messages."""
        step = self._steps[index]
        return f"{self._name(index)}, " + (f"step {step} of its episode" if step else "reset")

    def reset(self) -> VecEnvObs:
        """Observations ``(N, ...)`` of new episodes."""
        observation = self.venv.reset()
        self._over[:] = True
        self.check_first(observation)
        return observation

    def go_on(self, steps: list[int]) -> None:
        """The environments' episodes have so many steps."""
        self._steps[:] = steps

    def check_first(self, observation: VecEnvObs) -> None:
        """Check observations ``(N, ...)`` that a reset gave."""
        for index in _bad_rows(observation):
            _check_observation(_row(observation, index), f"{self._name(index)}, reset")

    def step_async(self, actions: np.ndarray) -> None:
        """Count the step and take it."""
        self._steps[self._over] = 0
        self._steps += 1
        self.venv.step_async(from_first(actions, self.action_space) if self._from_zero else actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Observations ``(N, ...)``, rewards, ends ``(N,)`` and infos, as of the environments."""
        with self.explaining():
            observation, reward, done, infos = self.venv.step_wait()
        for index in np.flatnonzero(~np.isfinite(reward)).tolist():
            one_number(reward[index], "the reward", self.where(index))
        for index in np.flatnonzero(done).tolist():
            last = infos[index].get("terminal_observation")
            if last is not None:
                _check_observation(last, self.where(index))
        for index in _bad_rows(observation):
            place = f"{self._name(index)}, reset" if done[index] else self.where(index)
            _check_observation(_row(observation, index), place)
        self._over = np.array(done, bool)
        return observation, reward, done, infos

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Say in plain words what SB3 cannot take of what an environment returned."""
        try:
            yield
        except (EOFError, ConnectionError) as error:
            raise RuntimeError(
                f"an environment's process ended at step {self._steps.max()} of its episode; what "
                "it says itself is printed above, if nothing is, look at the memory"
            ) from error
        except (ValueError, TypeError, KeyError, IndexError) as error:
            frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
            index = next((f.f_locals["env_idx"] for f in frames if "env_idx" in f.f_locals), None)
            where = "an environment" if index is None else self.where(index)
            if "values to unpack (expected 5" in str(error):
                raise ValueError(
                    f"{where}: step returned another number of values; {GYMNASIUM_STEP}"
                ) from error
            if frames[-1].f_globals["__name__"].startswith(_TAKING):
                raise ValueError(
                    f"{where}: what step or reset returned does not fit its spaces or Gymnasium's "
                    f"form ({error}); {GYMNASIUM_STEP}"
                ) from error
            raise  # the environment's own

    def _name(self, index: int) -> str:
        return _name(index, env_spec_of(self.venv))


class ChecksEnvironment(ActsInSpace):
    """Mixin, to be named before SB3's class: the environment is checked while the agent drives."""

    _steps: CheckedSteps | None = None

    @staticmethod
    def _wrap_env(env: GymEnv, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        """SB3's wrapping, around an environment whose steps are checked."""
        checked = CheckedEnv(env) if isinstance(env, gym.Env) else env
        return BaseAlgorithm._wrap_env(checked, verbose, monitor_wrapper)

    def _setup_learn(
        self, total_timesteps: int, *args: Any, **kwargs: Any
    ) -> tuple[int, BaseCallback]:
        """SB3's preparations.

        Raises:
            ValueError: unless ``total_timesteps`` is a whole number of at least 0.
        """
        steps = whole_number(total_timesteps, "total_timesteps", "learn")
        with CheckedSteps(cast(VecEnv, self.env)).explaining():  # it may reset the environment
            return super()._setup_learn(steps, *args, **kwargs)

    def _begin_rollout(self, env: VecEnv) -> CheckedSteps:
        """The environment to take the steps of a rollout in; ``collect_rollouts`` begins so."""
        assert self._last_obs is not None
        begins = bool(np.all(self._last_episode_starts))
        if self._steps is None or self._steps.venv is not env or begins:
            self._steps = CheckedSteps(env)
            self._steps.check_first(self._last_obs)
        return self._steps


def count_collisions(dones: np.ndarray, infos: Sequence[dict[str, Any]]) -> int | None:
    """How many episodes ended in a collision in this step; None where nobody reports any.

    Raises:
        ValueError: if info["collision"] is no truth value
    """
    if not any("collision" in info for info in infos):
        return None
    ended = np.flatnonzero(dones).tolist()
    said = [(i, infos[i].get("collision", False)) for i in ended]
    return sum(one_flag(flag, "info['collision']", f"environment {i}") for i, flag in said)


def _name(index: int, spec: Any) -> str:
    env_id = getattr(spec, "id", None)
    return f"environment {index}" + ("" if env_id is None else f" ({env_id})")


def _bad_rows(observation: Any) -> list[int]:
    """Numbers of the environments whose observation is not finite."""
    parts = observation.values() if isinstance(observation, Mapping) else [observation]
    bad = [
        ~np.isfinite(part).reshape(len(part), -1).all(1)
        for part in parts
        if isinstance(part, np.ndarray) and part.dtype.kind == "f"
    ]
    return np.flatnonzero(np.any(bad, axis=0)).tolist() if bad else []


def _row(observation: Any, index: int) -> Any:
    if isinstance(observation, Mapping):
        return {name: part[index] for name, part in observation.items()}
    return observation[index]


def _check_observation(observation: Any, where: str) -> None:
    """Raise ``ValueError`` where one observation is not finite."""
    named = observation if isinstance(observation, Mapping) else {None: observation}
    for name, part in named.items():
        what = "the observation" if name is None else f"observation {name!r}"
        values = np.asarray(part)
        if values.dtype.kind == "f":
            check_numbers(np.atleast_1d(values), what, where, remedy=REMEDY)


def _check_shapes(observation: Any, space: gym.Space[Any], where: str) -> None:
    """Raise ``ValueError`` where an observation lacks a part or has another shape."""
    if isinstance(space, gym.spaces.Dict):
        if not isinstance(observation, Mapping) or space.spaces.keys() - observation.keys():
            raise ValueError(
                f"{where}: the observation is {_kind(observation)}; expected a dict with "
                f"{sorted(space.spaces)}"
            )
        for name, part in space.spaces.items():
            _check_shapes(observation[name], part, f"{where}: {name}")
    elif isinstance(space, gym.spaces.Box):
        shape = getattr(observation, "shape", None)
        shape = np.shape(observation) if shape is None else tuple(shape)
        if shape != space.shape:
            raise ValueError(
                f"{where}: the observation has shape {shape}, but {space.shape} in the "
                "observation space; make them agree"
            )


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dict with {sorted(map(str, value))}"
    return f"a {type(value).__name__}"
