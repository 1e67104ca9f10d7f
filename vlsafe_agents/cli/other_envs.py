"""Environments of other people: any Gymnasium id, or a function that makes one.

What a user would vary is kept beside the environment's own arguments, under the names of
:data:`~vlsafe_agents.training.settings.OWN`: so it is stored with data, agents and evaluations,
and two that differ in it are told apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium as gym

from vlsafe_agents.training.settings import OWN, EnvName
from wrappers.named_function import load_named

NOT_NAMED = "not-named"  # data whose environment is not known: only its spaces are
_GYM_ID = re.compile(r"^([\w.]+:)?([\w-]+/)?[\w.-]+-v\d+$")
_FUNCTION = re.compile(r"^[\w.]+:[A-Za-z_][\w.]*$")


@dataclass(frozen=True)
class OtherEnv(EnvName):
    """An environment that is not ours: ``CartPole-v1``, ``module:Id-v0`` or ``module:function``.

    Making one imports what it names; see :func:`is_other` for where names may come from.

    Raises:
        ValueError: for an id of another form, and for arguments of our own that are no texts.
    """

    def __post_init__(self) -> None:
        if self.env_id != NOT_NAMED and not is_other(self.env_id):
            raise ValueError(
                f"{self.env_id!r} names no environment; give an id of Gymnasium, such as "
                "CartPole-v1 or module:Id-v0, or module:function"
            )
        if not isinstance(self.kwargs, dict):
            raise ValueError(f"the arguments of {self.env_id} are {self.kwargs!r}, no dictionary")
        for name in OWN:
            given = self.kwargs.get(name, "")
            texts = given if name == "wrapper" and isinstance(given, list) else [given]
            if not all(isinstance(text, str) for text in texts):
                raise ValueError(f"{name} of {self.env_id} is {given!r}; expected a text")

    one_a_process = True  # as far as we know; episodes are driven one by one

    def factory(self, **more: Any) -> Callable[[], gym.Env[Any, Any]]:
        """A picklable function that makes it; of ``more`` a ``scorer`` and its ``cost`` count."""
        said = {name: more[name] for name in ("scorer", "cost") if more.get(name) is not None}
        return partial(make_other, self.env_id, self.kwargs, **said)

    def with_kwargs(self, changes: Mapping[str, Any]) -> OtherEnv:
        """A copy with some arguments replaced."""
        return OtherEnv(self.env_id, {**self.kwargs, **changes})


def is_other(env_id: Any) -> bool:
    """Whether it has the form of an environment's id, or of a function.

    Whoever makes such an environment imports modules, which runs their code: names are taken from
    the command line, and from files only with ``--allow-import``.
    """
    return isinstance(env_id, str) and bool(_GYM_ID.match(env_id) or _FUNCTION.match(env_id))


def make_other(
    env_id: str, kwargs: Mapping[str, Any], scorer: Any = None, cost: str = "either"
) -> gym.Env[Any, Any]:
    """Make an environment with its wrappers, in the order: wrapper, cost, reward, scorer.

    Args:
        cost: what the scorer and the environment's own cost make of a step's.

    Raises:
        ValueError: for what cannot be imported or made.
    """
    from wrappers.costs import CostFromInfo, CostFunction, RewardFunction
    from wrappers.vlm_cost import VLMCost

    own = {name: kwargs[name] for name in OWN if name in kwargs}
    env = _make_bare(env_id, {k: v for k, v in kwargs.items() if k not in OWN}, bool(scorer))
    named = own.get("wrapper", [])
    for name in [named] if isinstance(named, str) else named:
        env = load_named(name, "--wrapper")(env)
    if not isinstance(env, gym.Env):
        raise ValueError(f"{env_id} gives a {type(env).__name__}, no Gymnasium environment")
    if "cost_key" in own:
        env = CostFromInfo(env, own["cost_key"])
    if "cost_function" in own:
        env = CostFunction(env, load_named(own["cost_function"], "--cost-function"))
    if "reward_function" in own:
        env = RewardFunction(env, load_named(own["reward_function"], "--reward-function"))
    env = _ResetCost(env)
    return env if scorer is None else VLMCost(env, scorer, cost)


def _make_bare(env_id: str, kwargs: dict[str, Any], seen: bool) -> Any:
    drawn: dict[str, Any] = (
        {"render_mode": "rgb_array"} if seen and "render_mode" not in kwargs else {}
    )
    if _FUNCTION.match(env_id) and not _GYM_ID.match(env_id):
        return load_named(env_id, "--env")(**kwargs)
    try:
        return gym.make(env_id, disable_env_checker=True, **drawn, **kwargs)
    except gym.error.Error as error:
        raise ValueError(
            f"Gymnasium cannot make {env_id}: {error}; for an environment of a package write "
            "package:Id-v0, so that it is imported first"
        ) from error
    except (ImportError, TypeError) as error:
        raise ValueError(f"{env_id} cannot be made with {kwargs}: {error}") from error


class _ResetCost(gym.Wrapper[Any, Any, Any, Any]):
    """A reset that says no cost costs 0: nothing has been done yet."""

    def reset(self, **kwargs: Any) -> Any:
        result = self.env.reset(**kwargs)
        if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping):
            return result[0], {"cost": 0.0, **result[1]}
        return result


class SpacesOnly(gym.Env[Any, Any]):
    """Spaces of recorded drives whose environment nobody has named; cannot be driven."""

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        raise ValueError(
            "the data name no environment, so there is none to drive in; name it with --env"
        )

    def step(self, action: Any) -> Any:
        return self.reset()


def observation_kind(space: gym.Space[Any]) -> str:
    """The name of ``TrainSettings.observation`` for a space."""
    from vlsafe_agents.data.rows import bare_name

    return "multi" if isinstance(space, gym.spaces.Dict) else bare_name(space)
