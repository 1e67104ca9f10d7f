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
        self._best_parameters: dict[str, Any] | None = None

    def check(self, loss: float, module: nn.Module) -> bool:
        """Take note of a validation loss; True if training should end."""
        if loss < self.best_loss:
            self.best_loss = loss
            self.checks_since_best = 0
            if self.patience is not None:
                self._best_parameters = copy.deepcopy(module.state_dict())
        else:
            self.checks_since_best += 1
        return self.patience is not None and self.checks_since_best >= self.patience

    def restore_best(self, module: nn.Module) -> None:
        """Put the best parameters back, if early stopping is on and has seen any."""
        if self._best_parameters is not None:
            module.load_state_dict(self._best_parameters)
