"""What to train and on what: checked when it is stated, kept as ``settings.json``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

from vlsafe_agents.cli.environments import POLICIES, EnvChoice, nest
from vlsafe_agents.data.episode import CostMode
from wrappers.checks import one_number, whole_number
from wrappers.files import read_json

OFFLINE = ("vlsafe", "bc")
SETTINGS_FILE = "settings.json"
DEFAULT_PRESETS = {"vlsafe": "cpu", "ppo_lag": "highway"}  # of the algorithms that have some

# What each algorithm reads, beyond environment, observation, steps, seed, device and config.
READS: dict[str, tuple[str, ...]] = {
    "vlsafe": ("data", "world_model", "cost", "cost_limit", "preset", "update", "safety"),
    "ppo_lag": ("data", "cost", "scorer", "cost_limit", "envs", "reward_scale", "preset"),
    "ppo": ("data", "envs", "reward_scale"),
    "bc": ("data",),
}
ALGORITHMS = tuple(READS)
# Where an option is not given.
DEFAULTS: dict[str, Any] = {
    "cost": "either",
    "scorer": "bundled",
    "envs": 8,
    "reward_scale": 1.0,
    "update": "gated",
    "safety": "score",
}


@dataclass(frozen=True)
class TrainSettings:
    """What to train and on what; None stands for what the algorithm does not read.

    Raises ``ValueError`` for unknown names and values out of range.
    """

    algo: str
    steps: int  # gradient updates of offline agents, environment steps of the others
    env: EnvChoice
    observation: str = "image"
    data: str | None = None  # data set of offline agents; others took environment and steps from it
    world_model: str | None = None  # VLSafe: folder of an agent whose finished model it shares
    cost: str | None = None  # how the cost is made of judge and simulator
    scorer: str | None = None  # the online agents' judge; "none": no judge
    cost_limit: float | None = None
    envs: int | None = None  # environments side by side, online agents only
    reward_scale: float | None = None  # factor on the reward that online agents learn from
    seed: int = 0
    device: str = "auto"
    options: dict[str, Any] = field(default_factory=dict)  # preset; of VLSafe: update, safety
    config: dict[str, Any] = field(default_factory=dict)  # flat key=value overrides

    def __post_init__(self) -> None:
        if self.algo not in ALGORITHMS:
            raise ValueError(f"unknown algorithm {self.algo!r}; choose from {ALGORITHMS}")
        if self.observation not in POLICIES:
            raise ValueError(
                f"unknown observation {self.observation!r}; choose from {tuple(POLICIES)}"
            )
        whole_number(self.steps, "--steps", "train", low=1)
        whole_number(self.seed, "--seed", "train", low=0)
        if self.envs is not None:
            whole_number(self.envs, "--envs", "train", low=1)
        if self.cost_limit is not None:
            one_number(self.cost_limit, "--cost-limit", "train", low=0.0)
        if self.cost is not None and self.cost not in get_args(CostMode):
            raise ValueError(f"unknown --cost {self.cost!r}; choose one of {get_args(CostMode)}")
        if self.reward_scale is not None and not 0.0 < self.reward_scale < math.inf:
            raise ValueError(f"--reward-scale must be a positive number, not {self.reward_scale}")
        if self.algo in OFFLINE and self.data is None:
            raise ValueError(f"{self.algo} learns from recorded drives: give --data")
        if self.algo == "ppo_lag" and self.scorer == "none" and self.cost != "env":
            raise ValueError(f"--cost {self.cost} needs a judge; leave out --scorer none")

    @property
    def preset(self) -> str:
        """Name of the preset.  Raises ``KeyError`` for algorithms that have none."""
        return str(self.options.get("preset", DEFAULT_PRESETS[self.algo]))

    def check(self) -> None:
        """Have the algorithm's constructor check its arguments, without networks and data.

        Raises ``ValueError`` for whatever it refuses.
        """
        kind = algorithm(self.algo)
        if self.algo != "vlsafe":  # whose settings are nested and named by its constructor
            known = sorted(set(kind._settings()) - {"seed", "cost_limit", *self.options})
            for key in self.config:
                if key not in known:
                    raise ValueError(
                        f"{self.algo} has no setting {key!r}; --config knows {', '.join(known)}"
                    )
        try:
            kind(POLICIES[self.observation], None, _init_setup_model=False, **self.arguments())
        except TypeError as error:
            raise ValueError(f"--config: {error}") from error

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the algorithm's constructor, but for data and environment."""
        common: dict[str, Any] = {"seed": self.seed, "device": self.device}
        if self.algo == "vlsafe":
            return {
                "cost_limit": self.cost_limit,
                "config": nest(self.config),
                **self.options,
                **common,
            }
        if self.algo == "bc":
            return {**self.config, **common}
        assert self.envs is not None
        # SB3's 2048 steps in each of several environments would leave few updates
        own: dict[str, Any] = {"n_steps": rollout_length(self.steps, self.envs)}
        if self.algo == "ppo_lag":
            from vlsafe_agents.ppo_lag.presets import preset

            own = preset(self.preset, cost_limit=self.cost_limit, **own)
        return {**own, **self.config, **common}

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def make_settings(
    algo: str,
    steps: int,
    env: EnvChoice,
    given: dict[str, Any],
    observation: str = "image",
    seed: int = 0,
    device: str = "auto",
    config: dict[str, Any] | None = None,
) -> TrainSettings:
    """Settings of what was ``given`` (None: not given) and of the algorithm's defaults.

    Raises ``ValueError`` for options that the algorithm does not read: they would have no effect.
    """
    if algo not in ALGORITHMS:
        raise ValueError(f"unknown algorithm {algo!r}; choose from {ALGORITHMS}")
    options = {name: value for name, value in given.items() if value is not None}
    refuse_unread(algo, options)
    _refuse_contradictions(options)
    values = {name: options.get(name, DEFAULTS.get(name)) for name in READS[algo]}
    own = [name for name in ("preset", "update", "safety") if name in values]
    inner: dict[str, Any] = {name: values.pop(name) for name in own}
    if "preset" in inner:
        inner["preset"] = inner["preset"] or DEFAULT_PRESETS[algo]
    if "safety" in inner:
        inner["safety"] = _safety(inner["safety"])
    if "cost_limit" in values and values["cost_limit"] is None:
        values["cost_limit"] = _default_limit(algo, inner["preset"])
    return TrainSettings(
        algo,
        steps,
        env,
        observation,
        seed=seed,
        device=device,
        options=inner,
        config=config or {},
        **values,
    )


def _refuse_contradictions(options: dict[str, Any]) -> None:
    """Options of VLSafe that others switch off."""
    update, safety = options.get("update"), options.get("safety")
    off = []
    if safety == "none":
        off = [(name, "--safety none") for name in ("update", "cost_limit")]
    elif update in ("none", "lagrangian"):
        off = [("safety", f"--update {update}")]
    if update == "none":
        off.append(("cost_limit", "--update none"))
    for name, other in off:
        if name in options:
            raise ValueError(f"{flag(name)} has no effect with {other}; leave one of them out")


def refuse_unread(algo: str, names: Iterable[str]) -> None:
    """Raise ``ValueError`` for options that would have no effect."""
    unread = [flag(name) for name in names if name not in READS[algo]]
    if unread:
        read = ", ".join(flag(name) for name in READS[algo])
        raise ValueError(
            f"{algo} does not read {', '.join(unread)}; of such options it reads {read}"
        )


_ENV_KINDS = {"env_id": str, "kwargs": dict}


def flag(name: str) -> str:
    """An option as it is typed."""
    return "--" + name.replace("_", "-")


def _default_limit(algo: str, preset_name: str) -> float:
    if algo == "vlsafe":
        return 1.0
    from vlsafe_agents.ppo_lag.presets import preset

    return float(preset(preset_name)["cost_limit"])


def _safety(text: Any) -> str | float | None:
    if text == "none":
        return None
    try:
        return float(text)
    except (TypeError, ValueError):
        return str(text)


def rollout_length(steps: int, envs: int, about: int = 1024) -> int:
    """Steps of each environment in a rollout, so that whole rollouts drive as good as ``steps``.

    SB3 always finishes a rollout; one of ``about`` steps in all could overshoot by nearly as many.
    """
    rollouts = max(round(steps / about), 1)
    return max(math.ceil(steps / (envs * rollouts)), 2)


def algorithm(algo: str) -> Any:
    """The class of an algorithm's name."""
    if algo == "vlsafe":
        from vlsafe_agents.vlsafe.vlsafe import VLSafe

        return VLSafe
    if algo == "ppo_lag":
        from vlsafe_agents.ppo_lag import PPOLag

        return PPOLag
    if algo == "bc":
        from vlsafe_agents.bc import BC

        return BC
    from vlsafe_agents.ppo import PPO

    return PPO


def read_settings(folder: Path) -> TrainSettings:
    """Settings of the agent in a folder.

    Raises ``FileNotFoundError`` where there are none and ``ValueError`` for a file that is damaged
    or foreign; both name it.
    """
    path = folder / SETTINGS_FILE
    stored = read_json(path, remedy=f"train the agent again with `vlsafe train --out {folder}`")
    try:
        return settings_from_json(stored)
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"{path} holds no settings of `vlsafe train`: {error}") from error


def settings_from_json(stored: dict[str, Any]) -> TrainSettings:
    """Inverse of :meth:`TrainSettings.to_json`; also reads what versions up to November 2026 wrote.

    Those noted down options that the algorithm does not read, and no judge as null.
    """
    known = {f.name for f in fields(TrainSettings)}
    unknown, missing = sorted(set(stored) - known), {"algo", "steps", "env"} - set(stored)
    if unknown or missing:
        raise ValueError(f"unknown keys {unknown}, missing keys {sorted(missing)}")
    values = dict(stored)
    algo = values["algo"]
    if algo not in ALGORITHMS:
        raise ValueError(f"unknown algorithm {algo!r}; choose from {ALGORITHMS}")
    if "scorer" in READS[algo] and values.get("scorer") is None:
        values["scorer"] = "none"
    for name in {"data", "world_model", "cost", "scorer", "cost_limit", "envs", "reward_scale"}:
        if name not in READS[algo]:
            values[name] = None
    env = values.pop("env")
    if not isinstance(env, dict) or {k: type(v) for k, v in env.items()} != _ENV_KINDS:
        raise ValueError(f"its entry 'env' is {env!r}, not an environment's id and arguments")
    # an id from a file goes through the same check as on the command line
    return TrainSettings(env=EnvChoice(env["env_id"], env["kwargs"]), **values)
