"""Whether an agent's environment shows what its data were recorded from.

Equal spaces do not say so: normalised observations, or those of another road, fit as well and mean
something else.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
from stable_baselines3.common.vec_env import (
    VecEnv,
    VecEnvWrapper,
    VecFrameStack,
    VecNormalize,
)

from vlsafe_agents.common.frame_stack import StackedFrames

# Of Gymnasium's wrappers that are no `ObservationWrapper`, those that change observations.
_CHANGING = (
    gym.wrappers.FrameStackObservation,
    gym.wrappers.MaxAndSkipObservation,
    gym.wrappers.AtariPreprocessing,
    gym.ObservationWrapper,
)
# Those that leave values as they are, in another arrangement at most.
_KEEPING = (
    gym.wrappers.FilterObservation,
    gym.wrappers.FlattenObservation,
    gym.wrappers.ReshapeObservation,
    gym.wrappers.DtypeObservation,
)
_CHANGING_KINDS = [
    kind
    for kind in vars(gym.wrappers).values()
    if isinstance(kind, type) and issubclass(kind, _CHANGING) and not issubclass(kind, _KEEPING)
]
_CHANGING_NAMES = {kind.__name__ for kind in _CHANGING_KINDS}


def origin_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Environment id and wrappers that a data set's metadata name; JSON-able.

    ``env_id`` is ``None`` where it is not known, as for data that were made from arrays.
    """
    spec: Any = metadata.get("env_spec") or {}
    if isinstance(spec, str):
        try:
            spec = json.loads(spec)
        except json.JSONDecodeError:
            spec = {}
    spec = spec if isinstance(spec, Mapping) else {}
    env_id = metadata.get("env_id") or spec.get("id")
    named = spec.get("additional_wrappers")
    named = named if isinstance(named, list | tuple) else ()
    return {
        "env_id": env_id if isinstance(env_id, str) else None,
        "wrappers": [str(w["name"]) for w in named if isinstance(w, Mapping) and "name" in w],
    }


def stored_origin(value: Any) -> dict[str, Any] | None:
    """The origin in an agent's file; ``None`` for files that hold none, or none that is one."""
    if not isinstance(value, Mapping) or not isinstance(value.get("wrappers"), list):
        return None
    env_id = value.get("env_id")
    names = [name for name in value["wrappers"] if isinstance(name, str)]
    return {"env_id": env_id if isinstance(env_id, str) else None, "wrappers": names}


def check_environment(env: VecEnv, origin: Mapping[str, Any]) -> None:
    """Compare an agent's environment with what :func:`origin_of` says of its data.

    Warns of an environment with another id; density and other arguments may differ.  Wrappers that
    change observations on one side only are refused, or warned of where it is not known how the
    data were recorded.

    Raises:
        ValueError: naming such wrappers
    """
    recorded = _bare(origin["env_id"])
    given = _bare(getattr(env_spec_of(env), "id", None))
    here, there = list(_changing_wrappers(env)), origin["wrappers"]
    message = _difference(
        [name for name in here if name not in there],
        [name for name in there if name in _CHANGING_NAMES and name not in here],
    )
    if message and recorded is not None:
        raise ValueError(message)
    if message:
        warnings.warn(f"as far as is known, {message}", stacklevel=3)
    if None not in (recorded, given) and recorded != given:
        warnings.warn(
            f"the data were recorded in {recorded}, but the environment is {given}: the agent "
            "learns for the first and drives in the second. Equal spaces are no proof that "
            "observations and actions mean the same",
            stacklevel=3,
        )


def _difference(here: list[str], there: list[str]) -> str:
    """What to say of wrappers that only the environment has, or only the data."""
    if here:
        return (
            f"the environment's observations pass through {', '.join(here)}, the data's did not: "
            "the agent would learn from others than it drives on. Leave that out (observations "
            "need no scaling here), or record data through the same wrapper"
        )
    if there:
        return (
            f"the data's observations passed through {', '.join(there)}, the environment's do not: "
            "the agent would drive on others than it learns from. Wrap the environment alike"
        )
    return ""


def env_spec_of(env: VecEnv) -> Any:
    """Gymnasium's record of how the environment was made; ``None`` where there is none."""
    try:
        return env.get_attr("spec", [0])[0]  # a list: not all take a number
    except (AttributeError, IndexError, NotImplementedError):
        return None


def _bare(env_id: str | None) -> str | None:
    """The id without the module that registers it."""
    return None if env_id is None else env_id.rpartition(":")[2]


def _changing_wrappers(env: VecEnv) -> Iterator[str]:
    """Names of the wrappers around and inside a vector environment that change observations.

    But for an agent's own stack of frames: its data are stacked alike.
    """
    while isinstance(env, VecEnvWrapper):
        stacked = isinstance(env, VecFrameStack) and not isinstance(env, StackedFrames)
        if stacked or (isinstance(env, VecNormalize) and env.norm_obs):
            yield type(env).__name__
        env = env.venv
    layer = getattr(env, "envs", [None])[0]
    if layer is None:
        yield from _changing_wrappers_elsewhere(env)
    while isinstance(layer, gym.Wrapper):
        if isinstance(layer, _CHANGING) and not isinstance(layer, _KEEPING):
            yield type(layer).__name__
        layer = layer.env


def _changing_wrappers_elsewhere(env: VecEnv) -> Iterator[str]:
    """The same for environments in other processes, which only say whether a kind is there."""
    found = [kind for kind in _CHANGING_KINDS if env.env_is_wrapped(kind, 0)[0]]
    yield from (kind.__name__ for kind in found)
    others = any(env.env_is_wrapped(kind, 0)[0] for kind in _KEEPING)
    if not found and not others and env.env_is_wrapped(gym.ObservationWrapper, 0)[0]:
        yield gym.ObservationWrapper.__name__
