"""Stable-Baselines3's PPO as it is, but for files without pickles and checked arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from stable_baselines3 import PPO as StockPPO
from stable_baselines3.common.policies import BasePolicy

from vlsafe_agents.common.driving import DrivesOnPolicy
from vlsafe_agents.common.stock_arguments import TakesStockArguments
from vlsafe_agents.common.vehicle_policies import MultiInputPolicy
from wrappers.checks import one_number, whole_number

_WHOLE = {
    "n_critic_updates": 1,
    "cg_max_steps": 1,
    "line_search_max_iter": 1,
    "sub_sampling_factor": 1,
    "n_steps": 1,
    "batch_size": 1,
    "n_epochs": 1,
    "cost_window": 1,
    "frame_stack": 1,
}  # least values
_RANGES: dict[str, tuple[float, float | None]] = {
    "learning_rate": (0.0, None),
    "gamma": (0.0, 1.0),
    "gae_lambda": (0.0, 1.0),
    "clip_range": (0.0, None),
    "clip_range_vf": (0.0, None),
    "ent_coef": (0.0, None),
    "vf_coef": (0.0, None),
    "max_grad_norm": (0.0, None),
    "target_kl": (0.0, None),
    "cg_damping": (0.0, None),
    "line_search_shrinking_factor": (0.0, 1.0),
    "cost_gamma": (0.0, 1.0),
    "cost_gae_lambda": (0.0, 1.0),
    "cost_vf_coef": (0.0, None),
}


def check_arguments(where: str, arguments: Mapping[str, Any]) -> None:
    """Check what SB3 takes without a word; schedules and None are left alone.

    Raises:
        ValueError: naming the argument and what it may be.
    """
    for name, value in arguments.items():
        if name in _WHOLE:
            whole_number(value, name, where, low=_WHOLE[name])
        elif name in _RANGES and value is not None and not callable(value):
            one_number(value, name, where, *_RANGES[name])


class PPO(TakesStockArguments, DrivesOnPolicy, StockPPO):
    """Stable-Baselines3's PPO; takes its arguments.

    Args:
        frame_stack: observations that the policy sees at once, see
            :class:`~vlsafe_agents.common.frame_stack.StacksFrames`

    Raises:
        ValueError: for an argument out of range; while learning, if what the environment reports is
            not finite or not of Gymnasium's form.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        **StockPPO.policy_aliases,
        "MultiInputPolicy": MultiInputPolicy,
    }
    _stock = StockPPO

    def _check_arguments(self, given: Mapping[str, Any]) -> None:
        check_arguments("PPO", given)
