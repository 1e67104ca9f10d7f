"""How commands name an environment, and options of the form ``key=value``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from vlsafe_agents.cli.other_envs import NOT_NAMED, OtherEnv, is_other
from vlsafe_agents.training.settings import OWN, EnvName
from wrappers.checks import number_or_range

Density = float | list[float]  # or the least and the greatest
_LONGEST_INTEGER = 30  # digits
SET_BY_COMMANDS = ("observation", "scorer", "cost", "scene_in_info")


def default_id() -> str:
    """The environment that commands mean where none is named."""
    from vlsafe_envs.registry import DEFAULT_ID

    return DEFAULT_ID


@dataclass(frozen=True)
class EnvChoice(EnvName):
    """An environment id with what a user would vary; observation and scorer are chosen apart.

    Whether it comes from a command line or from a file: an id that is not ours would import what it
    names, and a scorer would load a model or ask a server.

    Raises:
        ValueError: for an id that is not ours and for arguments that this environment does not
            have, that are out of range, or that the commands set.
    """

    env_id: str = field(default_factory=default_id)
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from vlsafe_envs.options import check_env_options
        from vlsafe_envs.registry import bare_id

        name = bare_id(self.env_id)
        if not isinstance(self.kwargs, dict):
            raise ValueError(f"the arguments of {name} are {self.kwargs!r}, not names and values")
        for key in SET_BY_COMMANDS:
            if key in self.kwargs:
                raise ValueError(f"{key}={self.kwargs[key]!r} is set by the command; leave it out")
        check_env_options(name, self.kwargs)
        object.__setattr__(self, "env_id", name)

    def factory(self, **more: Any) -> Callable[[], Any]:
        """A picklable function that makes the environment with these and more arguments."""
        return partial(make_env, self.env_id, {**self.kwargs, **more})

    def vector_factory(self, **more: Any) -> Callable[[int], Any]:
        """A picklable function that makes N such environments, stepped together (Gymnasium's)."""
        return partial(make_vec_env, self.env_id, {**self.kwargs, **more})

    @property
    def one_a_process(self) -> bool:
        """Whether two such environments cannot live in one process, as MetaDrive's."""
        from vlsafe_envs.registry import row_of

        return row_of(self.env_id).one_per_process

    def with_kwargs(self, changes: Mapping[str, Any]) -> EnvChoice:
        """A copy with some arguments replaced."""
        return EnvChoice(self.env_id, {**self.kwargs, **changes})


def make_env(env_id: str, kwargs: dict[str, Any]) -> Any:
    """``gym.make`` that knows our ids without a module prefix and does not check every step."""
    import gymnasium as gym

    from vlsafe_envs.registry import bare_id

    return gym.make(bare_id(env_id), disable_env_checker=True, **kwargs)


def make_vec_env(env_id: str, kwargs: dict[str, Any], num_envs: int) -> Any:
    """``gym.make_vec`` that knows our ids without a module prefix."""
    import gymnasium as gym

    from vlsafe_envs.registry import bare_id

    return gym.make_vec(bare_id(env_id), num_envs=num_envs, **kwargs)


AnyEnv = EnvChoice | OtherEnv


def recorded_env(
    metadata: Mapping[str, Any], where: object = "the data set", allow_import: bool = False
) -> AnyEnv:
    """The environment that a data set was collected in.

    Raises:
        ValueError: naming ``where``, for one that is not ours unless imports are allowed: the
            metadata may be anybody's.
    """
    kwargs = metadata.get("env_kwargs", {})
    try:
        return stored_env(metadata.get("env_id", ""), kwargs, allow_import)
    except ValueError as error:
        raise ValueError(f"the metadata of {where} name no environment of ours: {error}") from None


def is_ours(metadata: Mapping[str, Any]) -> bool:
    """Whether a data set names one of our environments as the one that it was collected in."""
    from vlsafe_envs import known_ids

    return str(metadata.get("env_id", "")).removeprefix("vlsafe_envs:") in known_ids()


def stored_env(env_id: str, kwargs: dict[str, Any], allow_import: bool = False) -> AnyEnv:
    """The environment that a file names.

    Raises:
        ValueError: for one that is not ours unless imports are allowed: making it would import what
            the file names.
    """
    from vlsafe_envs import known_ids

    if isinstance(env_id, str) and env_id.removeprefix("vlsafe_envs:") in known_ids():
        return EnvChoice(env_id, kwargs)
    if env_id == NOT_NAMED or (allow_import and is_other(env_id)):
        return OtherEnv(env_id, kwargs)
    try:
        return EnvChoice(env_id, kwargs)  # its message names the known ids
    except ValueError as error:
        if not is_other(env_id):
            raise
        raise ValueError(
            f"{error}. An environment of other people is made by importing what the file names; "
            "if you trust it, say --allow-import"
        ) from None


def choose_env(
    env_id: str | None,
    pairs: Iterable[str],
    density: Density | None = None,
    metadata: Mapping[str, Any] | None = None,
    own: Mapping[str, Any] | None = None,
    allow_import: bool = False,
) -> AnyEnv:
    """The environment of a command: as the data were collected, unless options say otherwise.

    Args:
        own: what is kept beside the arguments of an environment that is not ours, under the names
            of :data:`~vlsafe_agents.training.settings.OWN`.

    Raises:
        ValueError: for ids of nobody and for options that are no ``key=value``, or that only other
            people's environments have.
    """
    from vlsafe_envs import known_ids
    from wrappers.checks import did_you_mean

    known: AnyEnv = EnvChoice()
    others = env_id is not None and _is_foreign(env_id)
    if metadata is not None and "env_id" in metadata and not others:
        known = recorded_env(metadata, allow_import=allow_import)
    name = known.env_id if env_id is None else env_id.removeprefix("vlsafe_envs:")
    kwargs = known.kwargs if name == known.env_id else {}
    arguments = {**kwargs, **parse_env_args(pairs, density)}
    given = {key: value for key, value in (own or {}).items() if value}
    if name in known_ids():
        for key in given:
            raise ValueError(
                f"--{key.replace('_', '-')} is for environments that are not ours; {name} reports "
                "its own costs and rewards"
            )
        return EnvChoice(name, arguments)
    if _is_foreign(name):
        return OtherEnv(name, {**arguments, **given})
    raise ValueError(
        f"unknown environment {name!r}; choose one of {', '.join(known_ids())}, an id of "
        f"Gymnasium, or module:function{did_you_mean(name, known_ids())}"
    )


def _is_foreign(env_id: str) -> bool:
    """Whether it may be an environment of others, and not one of ours misspelt."""
    name = env_id.removeprefix("vlsafe_envs:")
    return is_other(name) and not name.startswith("VLSafe-")


def parse_density(text: str | None) -> Density | None:
    """A density, or the two ends of ``"0.8:1.3"``, of which each episode draws its own.

    Raises:
        ValueError: for what is neither.
    """
    if text is None:
        return None
    found = number_or_range(text, "--density", "0.8:1.3")
    return list(found) if isinstance(found, tuple) else found


def parse_env_args(pairs: Iterable[str], density: Density | None = None) -> dict[str, Any]:
    """What ``--env-arg`` and ``--density`` give.

    Raises:
        ValueError: for arguments that the commands set, and for two densities.
    """
    arguments = parse_pairs(pairs, "--env-arg")
    if density is not None:
        if "density" in arguments:
            raise ValueError("the density is given twice: by --density and by --env-arg; give one")
        arguments["density"] = density
    for reserved in (*SET_BY_COMMANDS, *OWN):
        if reserved in arguments:
            raise ValueError(f"--env-arg {reserved}=... is set by the command; leave it out")
    return arguments


def parse_pairs(pairs: Iterable[str], option: str) -> dict[str, Any]:
    """``["a=1", "b=x"]`` as ``{"a": 1, "b": "x"}``: values are JSON, or else text.

    Raises:
        ValueError: for an entry without "=", a key given twice, and for numbers that are not
            finite.
    """
    parsed: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key.strip():
            raise ValueError(f"{option} {pair!r} is not of the form key=value")
        if key in parsed:
            raise ValueError(f"{option} {key!r} is given twice")
        try:
            parsed[key] = _read_value(text)
        except ValueError as error:
            raise ValueError(f"{option} {key}={_short(text)}: {error}") from None
    return parsed


def _read_value(text: str) -> Any:
    """JSON, Python's three words, or text.

    Raises:
        ValueError: for what only looks like JSON.
    """
    try:
        return json.loads(
            text,
            object_pairs_hook=_no_twins,
            parse_float=_finite,
            parse_int=_integer,
            parse_constant=_finite,
        )
    except json.JSONDecodeError:
        return {"None": None, "True": True, "False": False}.get(text, text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice in it")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("give a finite number")
    return number


def _integer(text: str) -> int:
    if len(text) > _LONGEST_INTEGER:
        raise ValueError("give a smaller number")
    return int(text)


def _short(text: str, most: int = 40) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def parse_mix(text: str) -> dict[str, float]:
    """``"expert=0.5,random=0.5"`` as a dictionary.

    Raises:
        ValueError: where it is not one.
    """
    mix = parse_pairs((part.strip() for part in text.split(",") if part.strip()), "--mix")
    for name, share in mix.items():
        if not isinstance(share, int | float) or isinstance(share, bool):
            raise ValueError(f"--mix {name}={share!r}: the share must be a number")
    return {name: float(share) for name, share in mix.items()}
