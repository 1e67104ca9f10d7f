"""Algorithms of Stable-Baselines3 and sb3-contrib with their own arguments, checked."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

from stable_baselines3.common.base_class import BaseAlgorithm

from vlsafe_agents.common.frame_stack import StacksFrames, stack_env
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


class TakesStockArguments(StacksFrames):
    """Mixin, to be named before SB3's class: the constructor takes its arguments and checks them.

    Args:
        frame_stack: observations that the policy sees at once

    Raises:
        ValueError: for an argument out of range
    """

    _stock: ClassVar[type[BaseAlgorithm]]  # whose arguments they are

    def __init__(self, *args: Any, frame_stack: int = 1, **kwargs: Any) -> None:
        stock: Any = self._stock.__init__
        given = inspect.signature(stock).bind(self, *args, **kwargs)
        self._check_arguments({**given.arguments, "frame_stack": frame_stack})
        self.frame_stack = int(frame_stack)
        env = stack_env(type(self), given.arguments["env"], self.frame_stack)
        given.arguments["env"] = env
        super().__init__(*given.args[1:], **given.kwargs)

    def _check_arguments(self, given: Mapping[str, Any]) -> None:
        """Raise ``ValueError`` for an argument that SB3 would take without a word."""
        check_arguments(self._stock.__name__, given)
