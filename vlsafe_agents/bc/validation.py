"""Watching the loss on held-out episodes."""

from __future__ import annotations

import copy
import math
from typing import Any

from torch import nn


class EarlyStopping:
    """Keeps the parameters of the lowest validation loss and says when patience is over.

    Args:
        patience: checks without improvement that end the training; None never ends it
    """

    def __init__(self, patience: int | None) -> None:
        if patience is not None and patience < 1:
            raise ValueError(f"patience must be at least 1 or None, got {patience}.")
        self.patience = patience
        self.best_loss = math.inf
        self.checks_since_best = 0
        self._best: dict[str, Any] | None = None  # parameters
        self._latest: dict[str, Any] | None = None  # those that made way for the best

    @property
    def over(self) -> bool:
        """Whether training has ended, or should."""
        return self.patience is not None and self.checks_since_best >= self.patience

    def check(self, loss: float, module: nn.Module) -> None:
        """Take note of a validation loss."""
        if loss < self.best_loss:
            self.best_loss = loss
            self.checks_since_best = 0
            if self.patience is not None:
                self._best = copy.deepcopy(module.state_dict())
        else:
            self.checks_since_best += 1

    def restore_best(self, module: nn.Module) -> None:
        """Put the best parameters in place, if early stopping is on and has seen any."""
        if self._best is not None:
            self._latest = copy.deepcopy(module.state_dict())
            module.load_state_dict(self._best)

    def restore_latest(self, module: nn.Module) -> None:
        """Put back what made way for the best parameters, so that training can go on."""
        if self._latest is not None:
            module.load_state_dict(self._latest)
            self._latest = None

    def state_dict(self) -> dict[str, Any]:
        """All of it, parameters included."""
        return {
            "best_loss": self.best_loss,
            "checks_since_best": self.checks_since_best,
            "best": self._best,
            "latest": self._latest,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.best_loss = float(state["best_loss"])
        self.checks_since_best = int(state["checks_since_best"])
        self._best, self._latest = state["best"], state["latest"]
