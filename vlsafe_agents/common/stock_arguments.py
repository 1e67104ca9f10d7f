"""Algorithms of Stable-Baselines3 and sb3-contrib with their own arguments, checked."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

from stable_baselines3.common.base_class import BaseAlgorithm

from vlsafe_agents.common.frame_stack import StacksFrames, stack_env


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
        raise NotImplementedError
