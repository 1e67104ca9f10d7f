"""What to train and on what: checked when it is stated, kept as ``settings.json``.

:class:`TrainSettings` is the one list of settings: ``vlsafe train`` makes its options of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from vlsafe_agents.algorithms import ALGORITHMS, AlgorithmSpec, find_algorithm

SETTINGS_FILE = "settings.json"
MODEL_FILE = "model.zip"
POLICIES = {
    "image": "CnnPolicy",
    "vector": "MlpPolicy",
    "multi": "MultiInputPolicy",
    "vehicles": "MultiInputPolicy",
}
UPDATES, DRIVEN_STEPS = 5_000, 100_000  # where no steps are given: of offline agents, of others
_INNER = ("preset", "update", "safety")  # stored under "options"
_ONLINE = ("online", "start_from")  # stored where they are set
_NONE = ("scorer", "safety")  # whose "none" is stored as null, by some versions at least


# Kept beside the arguments of an environment that is not ours: how its costs and rewards are made.
OWN = ("wrapper", "cost_key", "cost_function", "reward_function")


@dataclass(frozen=True)
class EnvName:
    """An environment's id and arguments, as ``settings.json`` states them."""

    env_id: str
    kwargs: dict[str, Any] = field(default_factory=dict)


def _about(text: str, default: Any = None, shown: str = "", **option: Any) -> dict[str, Any]:
    """What the command line says of a field of :class:`TrainSettings`.

    Args:
        text: its help.
        default: where it is not given; None: see ``shown``.
        shown: how the default is told.
        option: of the command line: ``path``, ``pairs`` or ``flag`` for its kind, ``min`` for its
            range.
    """
    return {"help": text, "default": default, "shown": shown or default, "option": option}


def _setting(text: str, default: Any = None, shown: str = "", **option: Any) -> Any:
    return field(default=None, metadata=_about(text, default, shown, **option))


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """What to train and on what.  None stands for "not given", or for what has no effect.

    What is not given becomes the algorithm's default.

    Raises:
        ValueError: for unknown names, values out of range, settings that the algorithm does not
            read, and settings that others leave without effect.
    """

    algo: str = _setting(f"{', '.join(ALGORITHMS)}.", "vlsafe")
    data: str | None = _setting(
        "Data set. Online agents take from it the environment and --steps.", path=True
    )
    online: bool | None = _setting(
        "drive and learn in the environment; recorded drives of --data stay in the mix.",
        False,
        "where there is no --data",
        flag=True,
    )
    start_from: str | None = _setting(
        "go on from this trained agent, with its settings where others are not given.", path=True
    )
    env: EnvName
    observation: str = _setting(f"{', '.join(POLICIES)}.", "image")
    steps: int = _setting(
        "Gradient updates of agents that learn from data, or environment steps.",
        shown=f"{UPDATES} updates; as many environment steps as the data set holds, or "
        f"{DRIVEN_STEPS}",
        min=1,
    )
    update: str | None = _setting("gated, lagrangian or none.", "gated")
    safety: str | float | None = _setting(
        "score, recorded, oracle, shuffled, reachability, a constant such as 0.5, or none "
        "(cost-blind).",
        "score",
    )
    world_model: str | None = _setting(
        "share this agent's finished world model; train a policy only.", path=True
    )
    preset: str | None = _setting("named settings.", shown="the first")
    cost: str | None = _setting("cost from scorer and truth: either, vlm or env.", "either")
    cost_limit: str | float | None = _setting(
        "accepted cost of an episode; vlsafe also: a range such as 0.5:2, for one agent that keeps "
        "any limit of it.",
        shown="1.0, or the preset's",
    )
    scorer: str | None = _setting("scorer while it drives; none for none.", "bundled")
    envs: int | None = _setting("environments side by side.", 8, min=1)
    frame_stack: int | None = _setting(
        "observations that a policy without a memory sees at once.", 1, min=1
    )
    reward_scale: float | None = _setting("factor on the reward that is learned from.", 1.0)
    config: dict[str, Any] = field(
        default_factory=dict,
        metadata=_about("key=value; for vlsafe e.g. imagination.horizon=15.", pairs=True),
    )
    seed: int = _setting("Seed of everything random.", 0, min=0)
    device: str = _setting("PyTorch device.", "auto")

    def __post_init__(self) -> None:
        row = find_algorithm(self._value("algo"))
        given = [name for name in READ_BY_SOME if getattr(self, name) is not None]
        refuse_unread(row, given, self.online)
        off = row.switched_off({name: getattr(self, name) for name in given})
        for name, other in off.items():
            if name in given:
                raise ValueError(f"{flag(name)} has no effect with {other}; leave one of them out")
        for name in METADATA:
            if name not in READ_BY_SOME or (name in self.read and name not in off):
                object.__setattr__(self, name, self._value(name))
        self._check_values()

    def _value(self, name: str) -> Any:
        """The value of a setting that is in effect, or else its default."""
        value = getattr(self, name)
        if value is not None or name == "env":
            return _constant(value) if name in ("safety", "cost_limit") else value
        if name == "steps":
            return UPDATES if self.offline else DRIVEN_STEPS
        if name == "preset":
            return self.spec.presets[0] if self.spec.presets else ""
        if name == "cost_limit":
            assert self.spec.cost_limit is not None
            return self.spec.cost_limit(self._value("preset"))
        return METADATA[name]["default"]

    def _check_values(self) -> None:
        from wrappers.checks import one_number, whole_number
        from wrappers.vlm_cost import COST_MODES

        if self.observation not in POLICIES:
            raise ValueError(
                f"unknown observation {self.observation!r}; choose from {tuple(POLICIES)}"
            )
        whole_number(self.steps, "--steps", "train", low=1)
        whole_number(self.seed, "--seed", "train", low=0)
        if self.envs is not None:
            whole_number(self.envs, "--envs", "train", low=1)
        if self.frame_stack is not None:
            whole_number(self.frame_stack, "--frame-stack", "train", low=1)
        limits = self.limits()
        if isinstance(limits, tuple) and not self.spec.many_limits:
            raise ValueError(
                f"--cost-limit {self.cost_limit}: {self.algo} learns for one limit; give a number"
            )
        for limit in limits if isinstance(limits, tuple) else (limits,):
            if limit is not None:
                one_number(limit, "--cost-limit", "train", low=0.0)
        if self.cost is not None and self.cost not in COST_MODES:
            raise ValueError(f"unknown --cost {self.cost!r}; choose one of {COST_MODES}")
        if self.reward_scale is not None and not 0.0 < self.reward_scale < math.inf:
            raise ValueError(f"--reward-scale must be a positive number, not {self.reward_scale}")
        if self.scorer == "none" and self.cost != "env":
            raise ValueError(f"--cost {self.cost} needs a scorer; leave out --scorer none")

    @property
    def spec(self) -> AlgorithmSpec:
        """The row of the algorithm."""
        return find_algorithm(self.algo)

    @property
    def offline(self) -> bool:
        """Whether the agent learns from recorded drives alone, at a gradient update a step."""
        return self.spec.offline and not self.online

    @property
    def read(self) -> tuple[str, ...]:
        """Names of the settings that are read beyond those that all algorithms read."""
        return self.spec.read_by(self.online)

    def limits(self) -> float | tuple[float, float] | None:
        """The cost limit, or the two ends of its range.

        Raises:
            ValueError: for what is neither.
        """
        from wrappers.checks import number_or_range

        if isinstance(self.cost_limit, str):
            return number_or_range(self.cost_limit, "--cost-limit", "0.5:2")
        return self.cost_limit

    def check(self) -> None:
        """Have the algorithm's constructor check its arguments, without networks and data.

        Raises:
            ValueError: for whatever it refuses.
        """
        from wrappers.checks import did_you_mean

        kind, arguments = self.spec.load_class(), self.arguments()
        if not self.spec.nested_config:
            known = sorted(set(kind._settings()) - {"seed", "cost_limit", "frame_stack"})
            for key in self.config:
                if key not in known:
                    raise ValueError(
                        f"{self.algo} has no setting {key!r}; --config knows {', '.join(known)}"
                        f"{did_you_mean(key, known)}"
                    )
        try:
            kind(POLICIES[self.observation], None, _init_setup_model=False, **arguments)
        except TypeError as error:
            raise ValueError(f"--config: {error}") from error

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the algorithm's constructor, but for data and environment."""
        return {**self.spec.arguments(self), "seed": self.seed, "device": self.device}

    def to_json(self) -> dict[str, Any]:
        """Plain values; settings without effect as their defaults."""
        values = asdict(self)
        for name in self.read:
            values[name] = self._value(name)
        inner = {name: values.pop(name) for name in _INNER}
        values["options"] = {name: inner[name] for name in _INNER if name in self.read}
        for name in _ONLINE:
            if not values[name]:
                del values[name]
        if values["options"].get("safety") == "none":
            values["options"]["safety"] = None
        return values

    def given(self) -> dict[str, Any]:
        """Arguments that make the same settings again, but for the environment; None left out."""
        off = self.spec.switched_off({name: getattr(self, name) for name in READ_BY_SOME})
        values = {name: getattr(self, name) for name in METADATA if name != "env"}
        return {k: v for k, v in values.items() if v is not None and k not in off}

    @classmethod
    def from_json(
        cls, stored: Mapping[str, Any], env: Callable[[str, dict[str, Any]], EnvName] = EnvName
    ) -> TrainSettings:
        """Inverse of :meth:`to_json`; also reads what versions up to November 2026 wrote.

        Those noted down settings that the algorithm does not read, and no scorer as null.

        Raises:
            ValueError: for unknown or missing keys, and as the constructor.
        """
        known = ({f.name for f in fields(cls)} | {"options"}) - set(_INNER)
        unknown, missing = sorted(set(stored) - known), {"algo", "steps", "env"} - set(stored)
        if unknown or missing:
            raise ValueError(f"unknown keys {unknown}, missing keys {sorted(missing)}")
        values, row = dict(stored), find_algorithm(stored["algo"])
        values |= values.pop("options", {})
        foreign = sorted(set(values) - {f.name for f in fields(cls)})
        if foreign:
            raise ValueError(f"unknown options {foreign}")
        reads = row.read_by(bool(values.get("online")))
        for name in _NONE:
            if name in reads and name in values and values[name] is None:
                values[name] = "none"
        for name in (set(READ_BY_SOME) - set(reads)) | set(row.switched_off(values)):
            values[name] = None
        name = values.pop("env")
        if not isinstance(name, dict) or {k: type(v) for k, v in name.items()} != _ENV_KINDS:
            raise ValueError(f"its entry 'env' is {name!r}, not an environment's id and arguments")
        return cls(env=env(name["env_id"], name["kwargs"]), **values)


_ENV_KINDS = {"env_id": str, "kwargs": dict}
METADATA: dict[str, Mapping[str, Any]] = {f.name: f.metadata for f in fields(TrainSettings)}
READ_BY_SOME = tuple(
    name
    for name in METADATA
    if any(name in row.read_by(online) for row in ALGORITHMS.values() for online in (False, True))
)


def flag(name: str) -> str:
    """An option as it is typed."""
    return "--" + name.replace("_", "-")


def refuse_unread(row: AlgorithmSpec, names: Iterable[str], online: bool | None) -> None:
    """Check that settings would have an effect.

    Raises:
        ValueError: naming those that the algorithm does not read.
    """
    reads = row.read_by(online)
    unread = [name for name in names if name not in reads]
    if not unread:
        return
    elsewhere = all(name in row.read_by(not online) for name in unread)
    when = f" {'with' if online else 'without'} --online" if elsewhere else ""
    raise ValueError(
        f"{row.name} does not read {', '.join(map(flag, unread))}{when}; of such options it reads "
        + ", ".join(map(flag, reads))
    )


def _constant(value: str | float) -> str | float:
    """``"0.5"`` as a number, ``"score"`` and ``"none"`` as they are."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


def read_settings(
    folder: Path, env: Callable[[str, dict[str, Any]], EnvName] = EnvName
) -> TrainSettings:
    """Settings of the agent in a folder.

    Args:
        env: makes the environment's name of id and arguments; may refuse them.

    Raises:
        FileNotFoundError: where there are none.
        ValueError: for a file that is damaged or foreign, naming it.
    """
    remedy = f"train the agent again with `vlsafe train --out {folder}`"
    return read_settings_file(folder / SETTINGS_FILE, env, remedy)


def read_settings_file(
    path: Path, env: Callable[[str, dict[str, Any]], EnvName] = EnvName, remedy: str = ""
) -> TrainSettings:
    """Settings in a file, as :func:`read_settings`."""
    from wrappers.files import read_json

    stored = read_json(path, remedy=remedy)
    try:
        return TrainSettings.from_json(stored, env)
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"{path} holds no settings of `vlsafe train`: {error}") from error
