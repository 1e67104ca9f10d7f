"""Weights and tensors as NumPy ports read them (``numpy_references.py``), and how to compare."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy_references import Array, Layer
from torch import nn


def numbers(x: torch.Tensor) -> Array:
    return x.detach().double().numpy()


def close(x: torch.Tensor | None, expected: Any) -> None:
    """Agreement within what float32 allows."""
    assert x is not None
    np.testing.assert_allclose(numbers(x), expected, rtol=1e-4, atol=1e-5)


def randomise(module: nn.Module, std: float) -> None:
    """Random weights everywhere: zeros and ones could hide a missing term."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0.1, std)


def layers(net: nn.Module) -> list[Layer]:
    """An MLP's layers as the ports read them."""
    modules, found = list(net), []  # type: ignore[call-overload]
    for i, module in enumerate(modules):
        if isinstance(module, nn.Linear):
            norm = numbers(modules[i + 1].weight) if i + 1 < len(modules) else None
            found.append((numbers(module.weight).T, numbers(module.bias), norm))
    return found


def layer(linear: nn.Linear, norm: nn.Module | None = None) -> Layer:
    scale = None if norm is None else numbers(norm.weight)  # type: ignore[arg-type]
    return numbers(linear.weight).T, numbers(linear.bias), scale
