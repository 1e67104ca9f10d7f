"""All settings of :class:`~vlsafe_agents.vlsafe.VLSafe` beyond its constructor, with presets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vlsafe_agents.vlsafe.config import (
    TrainConfig,
    WorldModelConfig,
    check_config,
    config_from_dict,
    find_preset,
)

UPDATES = ("gated", "lagrangian", "none")
SUPPORTS = ("behaviour", "cloning", "none")
MIXTURES = ("arithmetic", "geometric")
CONSTRAINT_STATES = ("first", "data")


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of actor, behaviour prior and critics."""

    units: int = 128
    layers: int = 2
    bins: int = 63  # of the critics' two-hot outputs; odd
    bin_limit: float = 10.0  # largest bin, in symlog units
    learning_rate: float = 5e-4
    warmup: int = 100  # [gradient steps]


@dataclass(frozen=True)
class ImaginationConfig:
    """What is imagined and how returns are made of it."""

    starts: int = 128  # N: states of the batch to dream from
    horizon: int = 10  # H [steps]
    # Per decision, here of 1 s: three quarters of the weight lies within 45 s.
    gamma: float = 0.97
    lambda_: float = 0.95
    # Share of dreams whose first action is any supported one, so that Q learns about all of them.
    explore: float = 0.5
    slow_rate: float = 0.02  # of the slow critics, per update
    imagined: float = 1.0  # weight of the critics' targets on imagined steps
    anchor: float = 1.0  # and of those on recorded steps; 0 and 1: offline without a model
    # Reward minus, cost plus, this times the ensemble's disagreement (MOPO, arXiv 2005.13239).
    disagreement_penalty: float = 0.0


@dataclass(frozen=True)
class ImprovementConfig:
    """How advantages become a policy; see :mod:`~vlsafe_agents.vlsafe.policy_extraction`."""

    beta_reward: float = 0.3  # inverse temperature of A_r / S_r in the gated weight
    beta_cost: float = 30.0  # and of A_c / S_c: among dangerous choices take the least so
    beta: float = 3.0  # of the one advantage of "lagrangian" and "none"
    mixture: str = "arithmetic"  # "arithmetic" (the paper's sum of exponentials) or "geometric"
    normalise_gate: bool = True  # each exponential has mean 1 under the prior, state by state
    # In the reward's term, only actions with Q_c below the limit (FISOR's and FOSP's indicator);
    # False gives the paper's weight, which has none.
    feasible_only: bool = True
    gate_lookahead: int = 3  # k [steps]; the gate is the lowest p of the next k states; 0: paper's
    support: str = "behaviour"  # "behaviour", "cloning" (REINFORCE + cloning) or "none" (REINFORCE)
    support_threshold: float = 0.1  # drop actions below this share of the prior's most likely one
    cloning_scale: float = 0.3  # of the cloning term, support="cloning"
    entropy_scale: float = 3e-4  # of the entropy bonus, support="cloning" and "none"
    data_share: float = 0.5  # weight of recorded states against imagined ones in the actor's loss
    candidates: int = 16  # K: actions compared per state of a continuous space


@dataclass(frozen=True)
class MultiplierConfig:
    """Lagrange multiplier of ``update="lagrangian"``."""

    kind: str = "plain"  # "plain" or "pid"
    # A few hundred updates have to be enough for it to settle.
    settings: dict[str, float] = field(default_factory=lambda: {"learning_rate": 0.1})
    # Where the imagined cost return is read: "first" states of episodes, as in the definition of a
    # constrained MDP, or all states of the "data", which include those that bad drivers got into.
    constraint_states: str = "first"
    episode_steps: float | None = None  # L [steps]; None: mean length of the data set's episodes


@dataclass(frozen=True)
class VLSafeConfig:
    """Everything about training; build it with :func:`make_config`."""

    world_model: WorldModelConfig = field(default_factory=WorldModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    imagination: ImaginationConfig = field(default_factory=ImaginationConfig)
    improvement: ImprovementConfig = field(default_factory=ImprovementConfig)
    multiplier: MultiplierConfig = field(default_factory=MultiplierConfig)
    model_warmup: float = 0.6  # share of updates that train world model and prior only
    # Weight of the prior's likelihood among the world model's losses while it warms up: features
    # that tell what drivers do. 0: the model learns nothing from actions, as in DreamerV3.
    shaping: float = 200.0
    # Share of sequences on which the prior is fitted with other sequences' past actions in its
    # features' memory, so that it cannot learn to repeat the last action: at 10 Hz that is right
    # four times in five, and tells nothing of when to brake.
    forget_actions: float = 0.0
    # Share of sequences drawn from those in which an episode ends with a cost.  Where a crash comes
    # once in thousands of steps, model and critics would hardly meet one otherwise.  They come to
    # expect more of them than there are: a higher cost_limit makes up for it.
    unsafe_ends: float = 0.0
    # Share of the updates after that in which the critics evaluate the prior and the actor rests:
    # improving on critics that have just begun ruins the policy that they are to evaluate.
    critic_warmup: float = 0.2
    # After the warm-up, train the world model in every n-th update; 0: leave it as it is.  The data
    # do not grow, and features that stand still are what critics can rely on.
    model_every: int = 0
    torch_threads: int | None = None  # None: 1 on a CPU for small presets, else unchanged

    def __post_init__(self) -> None:
        check_config(self)
        _one_of("improvement.mixture", self.improvement.mixture, MIXTURES)
        _one_of("improvement.support", self.improvement.support, SUPPORTS)
        _one_of(
            "multiplier.constraint_states", self.multiplier.constraint_states, CONSTRAINT_STATES
        )
        if self.imagination.disagreement_penalty and not self.world_model.ensemble:
            raise ValueError(
                "imagination.disagreement_penalty has no effect without an ensemble that can "
                "disagree; set world_model.ensemble, for example to 5"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionary, the inverse of ``make_config(preset, dictionary)``."""
        return dataclasses.asdict(self)


# What small presets change of the settings above.
_SMALL: dict[str, dict[str, Any]] = {
    "debug": {
        "network": {"units": 32, "layers": 1, "bins": 31, "learning_rate": 1e-3, "warmup": 10},
        "imagination": {"starts": 32, "horizon": 5},
    },
    "cpu": {},
    # Tasks at 10 decisions per second.
    "route": {
        "forget_actions": 1.0,
        # Whoever is in danger in the data did not look, so that braking is rare there.
        "improvement": {"support_threshold": 0.01},
        "network": {"learning_rate": 2e-3},
        # 3 s ahead of an episode's first state, which is what gamma sees, nothing happens yet.
        "multiplier": {"constraint_states": "data"},
    },
}
SMALL_PRESETS = tuple(_SMALL)


def make_config(preset: str, overrides: Mapping[str, Any] | None = None) -> VLSafeConfig:
    """The settings of a preset with some of them replaced.

    Args:
        overrides: nested, such as ``{"imagination": {"horizon": 15}, "model_every": 2}``.

    Raises:
        ValueError: for an unknown preset or setting, or a value out of range.
    """
    if overrides is not None and not isinstance(overrides, Mapping):
        raise ValueError(
            f"config is {overrides!r}; expected nested settings such as "
            '{"imagination": {"horizon": 15}}'
        )
    base = find_preset(preset)
    config = VLSafeConfig(world_model=base.world_model, train=base.train)
    units = base.world_model.heads.units
    changes = _SMALL[preset] if preset in _SMALL else _large(units)
    settings = merge(config.to_dict(), changes)
    return config_from_dict(VLSafeConfig, merge(settings, overrides or {}))


def _large(units: int) -> dict[str, Any]:
    """What the other presets change: widths like the world model's, DreamerV3's schedules."""
    network = {"units": units, "layers": 3, "bins": 255, "bin_limit": 20.0}
    return {
        "network": {**network, "learning_rate": 4e-5, "warmup": 1000},
        "imagination": {"starts": 1024, "horizon": 15},
    }


def merge(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings with some of them replaced."""
    merged = dict(base)
    for key, value in overrides.items():
        nested = isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
        # `settings` of a multiplier belong to its kind, so they are replaced as a whole
        merged[key] = merge(base[key], value) if nested and key != "settings" else value
    return merged


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}; choose one of {', '.join(known)}")
