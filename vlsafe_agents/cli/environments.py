"""How commands name an environment, and options of the form ``key=value``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

DEFAULT_ENV = "VLSafe-Highway-v0"
POLICIES = {"image": "CnnPolicy", "vector": "MlpPolicy", "multi": "MultiInputPolicy"}


@dataclass(frozen=True)
class EnvChoice:
    """An environment id with what a user would vary; observation and judge are chosen apart."""

    env_id: str = DEFAULT_ENV
    kwargs: dict[str, Any] = field(default_factory=dict)

    def factory(self, **more: Any) -> Callable[[], Any]:
        """A picklable function that makes the environment with these and more arguments."""
        return partial(make_env, self.env_id, {**self.kwargs, **more})

    def vector_factory(self, **more: Any) -> Callable[[int], Any]:
        """A picklable function that makes N such environments, stepped together (Gymnasium's)."""
        return partial(make_vec_env, self.env_id, {**self.kwargs, **more})

    @property
    def one_a_process(self) -> bool:
        """Whether two such environments cannot live in one process, as MetaDrive's."""
        from vlsafe_envs.registration import METADRIVE_IDS

        return self.env_id in METADRIVE_IDS

    def with_kwargs(self, **changes: Any) -> EnvChoice:
        """A copy with some arguments replaced; None leaves an argument as it is."""
        given = {key: value for key, value in changes.items() if value is not None}
        return EnvChoice(self.env_id, {**self.kwargs, **given})


def make_env(env_id: str, kwargs: dict[str, Any]) -> Any:
    """``gym.make`` that knows our ids without a module prefix and does not check every step."""
    import gymnasium as gym

    import vlsafe_envs  # noqa: F401  (registers the ids)

    return gym.make(env_id, disable_env_checker=True, **kwargs)


def make_vec_env(env_id: str, kwargs: dict[str, Any], num_envs: int) -> Any:
    """``gym.make_vec`` that knows our ids without a module prefix."""
    import gymnasium as gym

    import vlsafe_envs  # noqa: F401  (registers the ids)

    return gym.make_vec(env_id, num_envs=num_envs, **kwargs)


def choose_env(
    env_id: str | None,
    pairs: Iterable[str],
    density: float | None = None,
    metadata: dict[str, Any] | None = None,
) -> EnvChoice:
    """The environment of a command: as the data were collected, unless options say otherwise.

    Raises ``ValueError`` for ids that are not ours and for options that are no ``key=value``.
    """
    from vlsafe_envs import known_ids

    known = EnvChoice()
    if metadata is not None and "env_id" in metadata:
        known = EnvChoice(metadata["env_id"], dict(metadata["env_kwargs"]))
    name = (env_id or known.env_id).removeprefix("vlsafe_envs:")
    if name not in known_ids():
        raise ValueError(f"unknown environment {name!r}; choose one of {', '.join(known_ids())}")
    kwargs = known.kwargs if name == known.env_id else {}
    choice = EnvChoice(name, {**kwargs, **parse_env_args(pairs)})
    return choice.with_kwargs(density=density)


def parse_env_args(pairs: Iterable[str]) -> dict[str, Any]:
    """What ``--env-arg`` gives; raises ``ValueError`` for arguments that the commands set."""
    arguments = parse_pairs(pairs, "--env-arg")
    for reserved in ("observation", "scorer", "cost", "scene_in_info"):
        if reserved in arguments:
            raise ValueError(f"--env-arg {reserved}=... is set by the command; leave it out")
    return arguments


def parse_pairs(pairs: Iterable[str], option: str) -> dict[str, Any]:
    """``["a=1", "b=x"]`` as ``{"a": 1, "b": "x"}``: values are JSON, or else text.

    Raises ``ValueError`` for an entry without "=" and for a key given twice.
    """
    parsed: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key:
            raise ValueError(f"{option} {pair!r} is not of the form key=value")
        if key in parsed:
            raise ValueError(f"{option} {key!r} is given twice")
        try:
            parsed[key] = json.loads(text)
        except json.JSONDecodeError:
            parsed[key] = {"None": None, "True": True, "False": False}.get(text, text)
    return parsed


def nest(flat: dict[str, Any]) -> dict[str, Any]:
    """``{"a.b": 1}`` as ``{"a": {"b": 1}}``."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        inner = nested
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return nested


def parse_mix(text: str) -> dict[str, float]:
    """``"expert=0.5,random=0.5"`` as a dictionary; raises ``ValueError`` where it is not one."""
    mix = parse_pairs((part.strip() for part in text.split(",") if part.strip()), "--mix")
    for name, share in mix.items():
        if not isinstance(share, int | float) or isinstance(share, bool):
            raise ValueError(f"--mix {name}={share!r}: the share must be a number")
    return {name: float(share) for name, share in mix.items()}
