"""Sizes and training settings of the world model, with presets.

Every configuration is a frozen dataclass; :func:`config_from_dict` refuses unknown keys.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from wrappers.checks import one_number, whole_number

Config = TypeVar("Config")


@dataclass(frozen=True)
class RSSMConfig:
    """Sizes of the recurrent state-space model (DreamerV3, 2024 release)."""

    deter: int = 256  # D: size of the recurrent state; a multiple of `blocks`
    hidden: int = 128  # width of the layers around the core
    stoch: int = 16  # S: categorical variables
    classes: int = 16  # K: classes of each
    blocks: int = 4  # diagonal blocks of the recurrent weights
    prior_layers: int = 1  # layers that predict the prior
    unimix: float = 0.01  # share of the uniform distribution in prior and posterior
    free_nats: float = 1.0  # KL below this costs nothing [nat], summed over the S variables


@dataclass(frozen=True)
class ImageConfig:
    """Encoder and decoder of 64 x 64 images.

    Each stage folds ``stride x stride`` pixels into channels and applies a convolution of width
    ``kernel``; the decoder mirrors it.  ``kernel=1`` keeps patches apart, so that every layer is
    one matrix product, which is several times faster on a CPU.
    """

    strides: tuple[int, ...] = (4, 2, 2)
    channels: tuple[int, ...] = (24, 48, 96)
    kernel: int = 1
    norm: bool = False  # normalise inner layers too, not just the smallest map; slow on a CPU
    decoded_share: float = 0.5  # share of a batch's frames that the decoder is trained on
    standardise: bool = False  # the encoder's pixels to mean 0 and variance 1 of the data
    colour_weight: float = 0.0  # extra weight of coloured pixels (see ObservationModel)


@dataclass(frozen=True)
class HeadConfig:
    """Reward, cost, continue, safety-score heads and the vector encoder and decoder."""

    units: int = 128
    layers: int = 1
    vector_layers: int = 2
    standardise: bool = False  # vectors to mean 0 and variance 1 of the data, instead of symlog
    bins: int = 63  # of the two-hot reward and cost heads; odd
    bin_limit: float = 10.0  # largest bin, in symlog units


@dataclass(frozen=True)
class LossScales:
    """Weights of the world model's losses; a scale of 0 switches a loss off."""

    image: float = 1.0
    vector: float = 1.0
    reward: float = 1.0
    cost: float = 1.0
    cont: float = 1.0
    safety_score: float = 1.0
    dyn: float = 1.0
    rep: float = 0.1
    disagreement: float = 1.0


@dataclass(frozen=True)
class WorldModelConfig:
    """Everything that defines a :class:`~vlsafe_agents.vlsafe.world_model.WorldModel`."""

    rssm: RSSMConfig = field(default_factory=RSSMConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    heads: HeadConfig = field(default_factory=HeadConfig)
    scales: LossScales = field(default_factory=LossScales)
    cost_positive_weight: float = 2.0  # weight of the cost loss where cost > 0 (see loss())
    ensemble: int = 0  # members of the disagreement ensemble; 0 switches it off


@dataclass(frozen=True)
class TrainConfig:
    """How the world model is fitted."""

    batch_size: int = 16  # B
    sequence_length: int = 64  # T
    learning_rate: float = 4e-5
    warmup: int = 1000  # [gradient steps]
    clip: float = 0.3  # adaptive gradient clipping


@dataclass(frozen=True)
class Preset:
    """A world model's sizes together with training settings that fit them."""

    world_model: WorldModelConfig
    train: TrainConfig


def _paper_preset(depth: int, deter: int) -> Preset:
    """DreamerV3's own sizes: one ``depth`` sets channels, width and classes."""
    return Preset(
        WorldModelConfig(
            rssm=RSSMConfig(
                deter=deter,
                hidden=16 * depth,
                stoch=32,
                classes=depth,
                blocks=8,
                prior_layers=2,
            ),
            image=ImageConfig(
                strides=(2, 2, 2, 2),
                channels=(2 * depth, 3 * depth, 4 * depth, 4 * depth),
                kernel=3,
                norm=True,
                decoded_share=1.0,
            ),
            heads=HeadConfig(units=16 * depth, layers=1, vector_layers=3, bins=255, bin_limit=20.0),
        ),
        TrainConfig(),
    )


# One core of a laptop.  Many small categoricals learn in a fraction of the updates that few
# large ones need: at the start each carries a little, and together that is already much.
_CPU = Preset(
    WorldModelConfig(
        rssm=RSSMConfig(stoch=48, classes=8),
        image=ImageConfig(standardise=True, decoded_share=0.25, colour_weight=8.0),
        heads=HeadConfig(standardise=True),
        # Heads share their features with thousands of pixels: without weights, danger is
        # learned last.
        scales=LossScales(vector=5.0, reward=10.0, cost=20.0, cont=10.0, safety_score=10.0),
    ),
    TrainConfig(batch_size=64, sequence_length=16, learning_rate=4e-3, warmup=100),
)

PRESETS: dict[str, Preset] = {
    # Whole pipeline in seconds; too small to be useful.
    "debug": Preset(
        WorldModelConfig(
            rssm=RSSMConfig(deter=32, hidden=16, stoch=4, classes=4, blocks=2),
            image=ImageConfig(strides=(8, 2), channels=(16, 16), decoded_share=1.0),
            heads=HeadConfig(units=16, layers=1, vector_layers=1, bins=15),
        ),
        TrainConfig(batch_size=4, sequence_length=8, learning_rate=1e-3, warmup=10),
    ),
    "cpu": _CPU,
    "route": _CPU,  # the same model; what differs is how it is used, see `settings`
    "12M": _paper_preset(depth=16, deter=2048),
    "25M": _paper_preset(depth=24, deter=3072),
    "50M": _paper_preset(depth=32, deter=4096),
}


def find_preset(name: str) -> Preset:
    """Look a preset up by name.

    Raises:
        ValueError: naming the known presets.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; known: {', '.join(PRESETS)}")
    return PRESETS[name]


def config_from_dict(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """Build dataclass ``cls`` from nested mappings, the inverse of ``dataclasses.asdict``.

    Left-out keys take their defaults; lists become tuples.

    Raises:
        ValueError: for a key that ``cls`` does not have.
    """
    hints = get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in names:
            raise ValueError(f"{cls.__name__} has no setting {key!r}; it has: {', '.join(names)}")
        if dataclasses.is_dataclass(hints[key]) and isinstance(value, Mapping):
            value = config_from_dict(hints[key], value)
        arguments[key] = tuple(value) if isinstance(value, list) else value
    return cls(**arguments)


_SHARES = (
    *("unimix", "decoded_share", "slow_rate", "lambda_", "explore", "support_threshold"),
    *("data_share", "model_warmup", "critic_warmup", "forget_actions", "unsafe_ends"),
)
# Ranges of numbers, of which others are at least 0.
_RANGES: dict[str, tuple[float, float | None]] = {
    **dict.fromkeys(_SHARES, (0.0, 1.0)),
    "gamma": (1e-3, 1.0),
    "bin_limit": (1e-3, None),
    "episode_steps": (1.0, None),
}
# Least values of whole numbers, where 0 makes no sense.
_LEAST = {
    **dict.fromkeys(("deter", "hidden", "stoch", "blocks", "units", "kernel", "batch_size"), 1),
    **dict.fromkeys(("strides", "channels", "starts", "horizon", "candidates", "torch_threads"), 1),
    **dict.fromkeys(("classes", "sequence_length"), 2),
    "bins": 3,
}


def check_config(config: Any, path: str = "") -> None:
    """Check types and ranges of a dataclass's fields, and of those inside.

    Raises:
        ValueError: naming the field as it is typed, such as ``imagination.gamma``.
    """
    for name, hint in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(hint) and isinstance(value, hint):  # type: ignore[arg-type]
            check_config(value, f"{path}{name}.")
        else:
            _check(value, name, f"{path}{name}", hint)


def _check(value: Any, name: str, path: str, hint: Any) -> None:
    options = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    kind = options[0]
    if value is None and NoneType in options:
        return
    if kind is int:
        whole_number(value, path, "config", low=_LEAST.get(name, 0))
    elif kind is float:
        one_number(value, path, "config", *_RANGES.get(name, (0.0, None)))
    elif get_origin(kind) is tuple and isinstance(value, tuple) and value:
        for entry in value:
            whole_number(entry, path, "config", low=_LEAST.get(name, 0))
    elif get_origin(kind) is dict and isinstance(value, Mapping):
        for key, entry in value.items():
            one_number(entry, f"{path}.{key}", "config")
    elif get_origin(kind) is not None or not isinstance(value, kind):
        wanted = getattr(get_origin(kind) or kind, "__name__", str(kind))
        raise ValueError(f"config: {path} is {value!r}; expected a {wanted}")
