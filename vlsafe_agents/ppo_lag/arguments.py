"""What PPOLag and TRPOLag are made with beyond a policy and an environment, and what it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import torch as th
from stable_baselines3.common.type_aliases import Schedule

from vlsafe_agents.common.stock_arguments import check_arguments
from vlsafe_agents.ppo_lag.advantages import NORMALIZATIONS


class PPOKwargs(TypedDict, total=False):
    """Arguments of SB3's `PPO` that `PPOLag` passes on unchanged; see there for their meaning."""

    learning_rate: float | Schedule
    n_steps: int
    batch_size: int
    n_epochs: int
    gamma: float
    gae_lambda: float
    clip_range: float | Schedule
    clip_range_vf: float | Schedule | None
    normalize_advantage: bool
    ent_coef: float
    vf_coef: float
    max_grad_norm: float
    use_sde: bool
    sde_sample_freq: int
    target_kl: float | None
    stats_window_size: int
    tensorboard_log: str | None
    policy_kwargs: dict[str, Any] | None
    verbose: int
    seed: int | None
    device: th.device | str
    _init_setup_model: bool


class TRPOKwargs(TypedDict, total=False):
    """Arguments of sb3-contrib's `TRPO` that `TRPOLag` passes on unchanged."""

    learning_rate: float | Schedule
    n_steps: int
    batch_size: int
    gamma: float
    cg_max_steps: int
    cg_damping: float
    line_search_shrinking_factor: float
    line_search_max_iter: int
    n_critic_updates: int
    gae_lambda: float
    use_sde: bool
    sde_sample_freq: int
    normalize_advantage: bool
    target_kl: float
    sub_sampling_factor: int
    stats_window_size: int
    tensorboard_log: str | None
    policy_kwargs: dict[str, Any] | None
    verbose: int
    seed: int | None
    device: th.device | str
    _init_setup_model: bool


def check_lag_arguments(
    who: str, advantage_normalization: str, own: Mapping[str, Any], given: Mapping[str, Any]
) -> None:
    """Check what `PPOLag` or `TRPOLag` is given.

    Args:
        who: of the two, for messages
        own: its own arguments that are numbers, by name
        given: SB3's arguments

    Raises:
        ValueError: naming the argument and what it may be
    """
    if "rollout_buffer_class" in given or "rollout_buffer_kwargs" in given:
        raise ValueError(f"{who} brings its own rollout buffer; leave rollout_buffer_* out.")
    check_arguments(who, {**given, **own})
    if advantage_normalization not in NORMALIZATIONS:
        raise ValueError(
            f"Unknown advantage_normalization {advantage_normalization!r}; choose one of "
            f"{NORMALIZATIONS}."
        )
    if advantage_normalization == "separate" and not given.get("normalize_advantage", True):
        raise ValueError(
            'advantage_normalization="separate" has no effect with normalize_advantage=False; '
            "leave one of them out."
        )
