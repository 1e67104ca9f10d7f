"""The episodes that SB3's vector environments are in, and the way back into them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecCheckNan,
    VecEnv,
    VecEnvWrapper,
    VecExtractDictObs,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)
from stable_baselines3.common.vec_env.stacked_observations import StackedObservations

from vlsafe_agents.common.running import to_arrays
from wrappers.traced_env import TracedEnv

# What wrappers keep from step to step.  One of another kind says it in `running_attributes`.
_KEPT: dict[type[VecEnvWrapper], tuple[str, ...]] = {
    VecMonitor: ("episode_returns", "episode_lengths", "episode_count"),
    VecNormalize: ("obs_rms", "ret_rms", "returns"),
    VecFrameStack: ("stacked_obs",),
    VecTransposeImage: (),
    VecExtractDictObs: (),
    VecCheckNan: (),
}


def traced(env: VecEnv) -> VecEnv:
    """The same environments, which keep from now on how they came to where they are.

    Those of a ``SubprocVecEnv`` do where each is made as a
    :class:`~wrappers.traced_env.TracedEnv`.
    """
    inner = env.unwrapped
    if isinstance(inner, DummyVecEnv):
        inner.envs = [one if isinstance(one, TracedEnv) else TracedEnv(one) for one in inner.envs]
    return env


def running_episodes(env: VecEnv) -> dict[str, Any]:
    """Where each environment is, and what the wrappers around them keep.

    ``fault`` says why others cannot be brought there; it is empty if they can.
    """
    inner, fault = env.unwrapped, ""
    episodes: list[dict[str, Any]] = []
    if inner.has_attr("running_episode"):
        episodes = inner.env_method("running_episode")
    else:
        fault = (
            f"its environments, in a {type(inner).__name__}, keep no record of their episodes; "
            "make each as wrappers.traced_env.TracedEnv(env)"
        )
    kept = []
    for wrapper in _wrappers(env):
        names = _kept(wrapper)
        if names is None:
            fault = fault or (
                f"what {type(wrapper).__name__} keeps from step to step is not known; name it in "
                "a class attribute running_attributes"
            )
        values = {n: _value(getattr(wrapper, n)) for n in names or () if n in vars(wrapper)}
        kept.append({"kind": type(wrapper).__name__, "values": values})
    return {"fault": fault, "num_envs": inner.num_envs, "episodes": episodes, "wrappers": kept}


def return_to_episodes(env: VecEnv, state: Mapping[str, Any]) -> str:
    """Bring environments to where others, made in the same way, were.

    Args:
        state: of :func:`running_episodes`, with tensors or arrays.

    Returns:
        What stands against it, or went wrong, so that the environments have to be reset; empty if
        nothing did.
    """
    around, stored = _wrappers(env), state["wrappers"]
    kinds = [type(wrapper).__name__ for wrapper in around]
    if kinds != [one["kind"] for one in stored]:
        return f"the environments are wrapped in another way, {kinds}"
    inner = env.unwrapped
    as_many = inner.num_envs == state["num_envs"]
    for wrapper, one in zip(around, stored, strict=True):
        for name in _kept(wrapper) or ():
            # what normalises counts for new episodes, too
            if name in one["values"] and (as_many or name in ("obs_rms", "ret_rms")):
                value = to_arrays(one["values"][name])
                setattr(wrapper, name, _put_back(getattr(wrapper, name), value))
    if state["fault"]:
        return str(state["fault"])
    if not as_many:
        return f"there are {inner.num_envs} environments, and were {state['num_envs']}"
    if not inner.has_attr("return_to_episode"):
        return "the environments cannot be brought into their episodes"
    for index, episode in enumerate(to_arrays(state["episodes"])):
        [fault] = inner.env_method("return_to_episode", episode, indices=[index])
        if fault:
            return f"environment {index}: {fault}"
    inner._reset_seeds()  # those are for a first episode
    return ""


def _wrappers(env: VecEnv) -> list[VecEnvWrapper]:
    """From the outermost on."""
    found: list[VecEnvWrapper] = []
    while isinstance(env, VecEnvWrapper):
        found.append(env)
        env = env.venv
    return found


def _kept(wrapper: VecEnvWrapper) -> tuple[str, ...] | None:
    own: tuple[str, ...] | None = vars(type(wrapper)).get("running_attributes")
    return _KEPT.get(type(wrapper)) if own is None else own


def _value(value: Any) -> Any:
    """A copy as plain data and arrays."""
    if isinstance(value, RunningMeanStd):
        return {"mean": np.array(value.mean), "var": np.array(value.var), "count": value.count}
    if isinstance(value, StackedObservations):
        parts = getattr(value, "sub_stacked_observations", None)  # of a Dict
        return _value(value.stacked_obs if parts is None else parts)
    if isinstance(value, Mapping):
        return {name: _value(part) for name, part in value.items()}
    return np.array(value) if isinstance(value, np.ndarray) else value


def _put_back(present: Any, value: Any) -> Any:
    """``value`` of :func:`_value` in the form of ``present``, which takes it in where it can."""
    if isinstance(present, RunningMeanStd):
        present.mean, present.var = value["mean"], value["var"]
        present.count = value["count"]
        return present
    if isinstance(present, StackedObservations):
        parts = getattr(present, "sub_stacked_observations", None)
        if parts is None:
            present.stacked_obs = _put_back(present.stacked_obs, value)
        else:
            present.sub_stacked_observations = _put_back(parts, value)
        return present
    if isinstance(present, Mapping):
        return {name: _put_back(part, value[name]) for name, part in present.items()}
    return value
