"""Ready-made settings of VLSafe, and settings as users give them: nested, some replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vlsafe_agents.common.typed_config import flatten, replaced, unflatten
from vlsafe_agents.vlsafe.config import (
    HeadConfig,
    ImageConfig,
    ImaginationConfig,
    ImprovementConfig,
    LossScales,
    MultiplierConfig,
    NetworkConfig,
    OnlineConfig,
    ResearchConfig,
    RSSMConfig,
    TrainConfig,
    VLSafeConfig,
    WorldModelConfig,
)


def make_config(preset: str, overrides: Mapping[str, Any] | None = None) -> VLSafeConfig:
    """The settings of a preset with some of them replaced.

    Args:
        overrides: nested, such as ``{"imagination": {"horizon": 15}, "model_every": 2}``; keys of
            November 2026 are understood (:func:`upgraded`).

    Raises:
        ValueError: for an unknown preset or setting, or a value out of range.
    """
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
    return changed(PRESETS[preset], overrides)


def changed(config: VLSafeConfig, overrides: Mapping[str, Any] | None) -> VLSafeConfig:
    """``config`` with some settings replaced, as in :func:`make_config`."""
    if overrides is not None and not isinstance(overrides, Mapping):
        raise ValueError(
            f"config is {overrides!r}; expected nested settings such as "
            '{"imagination": {"horizon": 15}}'
        )
    return replaced(config, upgraded(overrides or {}))


def online_config(config: VLSafeConfig) -> VLSafeConfig:
    """The settings that hold while an agent drives: no phases, and ``online.support_threshold``."""
    improvement = replace(config.improvement, support_threshold=config.online.support_threshold)
    return replace(
        config, improvement=improvement, model_warmup=0.0, critic_warmup=0.0, model_every=1
    )


def _dreamer(depth: int, deter: int) -> VLSafeConfig:
    """DreamerV3's sizes and settings: one ``depth`` sets channels, widths and classes.

    Values of danijar/dreamerv3@e3f0224, ``dreamerv3/configs.yaml``, which are also those of
    NM512/r2dreamer@546e4fa; what departs is in docs/algorithms.md, and a test holds both lists.
    """
    units = 16 * depth
    rssm = RSSMConfig(deter=deter, hidden=units, stoch=32, classes=depth, blocks=8, prior_layers=2)
    image = ImageConfig(
        strides=(2, 2, 2, 2),
        channels=(2 * depth, 3 * depth, 4 * depth, 4 * depth),
        kernel=3,
        norm=True,
        decoded_share=1.0,
    )
    heads = HeadConfig(units=units, layers=1, vector_layers=3, bins=255, bin_limit=20.0)
    return VLSafeConfig(
        WorldModelConfig(rssm, image, heads),
        network=NetworkConfig(
            units=units, layers=3, bins=255, bin_limit=20.0, learning_rate=4e-5, warmup=1000
        ),
        imagination=ImaginationConfig(starts=1024, horizon=15, gamma=1 - 1 / 333),
        research=ResearchConfig(anchor=0.3),
        shaping=0.0,
    )


# One core of a laptop.  Many small categoricals learn in a fraction of the updates that few
# large ones need: at the start each carries a little, and together that is already much.
_CPU = VLSafeConfig(
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

PRESETS: dict[str, VLSafeConfig] = {
    # Whole pipeline in seconds; too small to be useful.
    "debug": VLSafeConfig(
        WorldModelConfig(
            rssm=RSSMConfig(deter=32, hidden=16, stoch=4, classes=4, blocks=2),
            image=ImageConfig(strides=(8, 2), channels=(16, 16), decoded_share=1.0),
            heads=HeadConfig(units=16, layers=1, vector_layers=1, bins=15),
        ),
        TrainConfig(batch_size=4, sequence_length=8, learning_rate=1e-3, warmup=10),
        NetworkConfig(units=32, layers=1, bins=31, learning_rate=1e-3, warmup=10),
        ImaginationConfig(starts=32, horizon=5),
        online=OnlineConfig(train_ratio=8.0, learning_starts=64),
    ),
    "cpu": _CPU,
    # "cpu" for tasks at 10 decisions per second.
    "route": replace(
        _CPU,
        network=NetworkConfig(learning_rate=2e-3),
        # Whoever is in danger in the data did not look, so that braking is rare there.
        improvement=ImprovementConfig(support_threshold=0.01),
        # 3 s ahead of an episode's first state, which is what gamma sees, nothing happens yet.
        multiplier=MultiplierConfig(constraint_states="data"),
        forget_actions=1.0,
    ),
    "12M": _dreamer(depth=16, deter=2048),
    "25M": _dreamer(depth=24, deter=3072),
    "50M": _dreamer(depth=32, deter=4096),
}
SMALL_PRESETS = ("debug", "cpu", "route")  # more threads than one only slow their tiny kernels


# --- settings of earlier versions -----------------------------------------------------------------

# Old place to new place.  Agents' files, settings.json and commands in docs/experiments.md of
# November 2026 have the old ones.
_MOVED = {
    "unsafe_ends": "research.unsafe_ends",
    "imagination.imagined": "research.imagined",
    "imagination.anchor": "research.anchor",
    "imagination.disagreement_penalty": "research.disagreement_penalty",
    "improvement.normalise_gate": "research.normalise_gate",
    "improvement.feasible_only": "research.feasible_only",
    "improvement.data_share": "research.data_share",
}
# Switches without a gain in docs/experiments.md, with the value that all agents now learn by.
_REMOVED = {"improvement.mixture": "arithmetic", "improvement.support": "behaviour"}
_WITHOUT_EFFECT = ("improvement.cloning_scale", "improvement.entropy_scale")  # of `support`


def upgraded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings of any version with the keys of this one.

    Raises:
        ValueError: for a switch that there is no more, unless it is at what is done now.
    """
    flat = flatten(values)
    kind = flat.get("multiplier.kind", "plain")
    if any(key.startswith("multiplier.settings.") for key in flat) and kind == "plain":
        flat.setdefault("multiplier.settings.learning_rate", 0.05)  # they were replaced as a whole
    new: dict[str, Any] = {}
    for key, value in flat.items():
        if key in _WITHOUT_EFFECT or (key in _REMOVED and value == _REMOVED[key]):
            continue
        if key in _REMOVED:
            raise ValueError(
                f"{key}={value!r} is no setting any more (see docs/algorithms.md). "
                "Agents that were trained with it are read by versions up to 29 November 2026"
            )
        key = _MOVED.get(key, key).replace("multiplier.settings.", f"multiplier.{kind}.")
        new[key] = value
    return unflatten(new)
