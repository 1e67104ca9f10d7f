"""What PPOLag is made with beyond a policy and an environment, and what it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import torch as th
from stable_baselines3.common.type_aliases import Schedule

from vlsafe_agents.ppo.ppo import check_arguments
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


def check_lag_arguments(
    advantage_normalization: str, own: Mapping[str, Any], ppo_kwargs: PPOKwargs
) -> None:
    """Check what `PPOLag` is given.

    Args:
        own: its own arguments that are numbers, by name

    Raises:
        ValueError: naming the argument and what it may be
    """
    if "rollout_buffer_class" in ppo_kwargs or "rollout_buffer_kwargs" in ppo_kwargs:
        raise ValueError("PPOLag brings its own rollout buffer; leave rollout_buffer_* out.")
    check_arguments("PPOLag", {**ppo_kwargs, **own})
    if advantage_normalization not in NORMALIZATIONS:
        raise ValueError(
            f"Unknown advantage_normalization {advantage_normalization!r}; choose one of "
            f"{NORMALIZATIONS}."
        )
    if advantage_normalization == "separate" and not ppo_kwargs.get("normalize_advantage", True):
        raise ValueError(
            'advantage_normalization="separate" has no effect with normalize_advantage=False; '
            "leave one of them out."
        )
