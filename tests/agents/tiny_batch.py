"""Batches of one sequence, written by hand."""

from __future__ import annotations

import torch

from vlsafe_agents.vlsafe.batch import TensorBatch


def batch_of(**columns: list[float]) -> TensorBatch:
    """One sequence whose rows are given; what is left out is zero."""
    length = len(next(iter(columns.values())))
    zeros = torch.zeros(1, length)
    full = {name: torch.tensor([values]).float() for name, values in columns.items()}
    flags = {
        name: full.get(name, zeros).bool() for name in ("is_first", "is_terminal", "has_action")
    }
    action = torch.zeros(1, length, dtype=torch.int64)
    reward, cost = full.get("reward", zeros), full.get("cost", zeros)
    return TensorBatch({}, action, action, reward, cost, zeros, **flags, weight=zeros + 1)
