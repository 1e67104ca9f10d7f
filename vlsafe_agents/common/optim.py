"""LaProp with adaptive gradient clipping: the optimiser of DreamerV3's 2024 release."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def _plain(method: Any) -> Any:
    """A method without PyTorch's decorator, which imports the compiler at the first call.

    That takes 1.7 s of each process that loads an agent, and nothing here is compiled.
    """
    return getattr(method, "__wrapped__", method)


class LaProp(Optimizer):
    """LaProp (Ziyin et al. 2020, arXiv 2002.04839) after adaptive gradient clipping.

    One step, tensor by tensor:

    1. AGC (Brock et al. 2021, arXiv 2102.06171): the gradient's norm is limited to ``clip`` times
       the parameter's norm, which counts as at least ``clip_floor``.  As in DreamerV3 the norms
       are of whole tensors, not of rows.
    2. The gradient is divided by the bias-corrected root of its mean square (``beta2``).
    3. Momentum (``beta1``, bias-corrected) is taken of that *normalised* gradient: this order is
       what distinguishes LaProp from Adam.

    Args:
        lr: learning rate after the warm-up.
        warmup: steps over which the learning rate rises linearly from 0, counted for each tensor
            from the first gradient that it gets.  Departure from DreamerV3, where all parts learn
            from the first step on: an actor that rests at first would have none left.
        clip: limit of the ratio of norms; 0 switches AGC off.

    Raises:
        ValueError: for a negative learning rate or warm-up, or betas outside [0, 1).
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 4e-5,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-20,
        clip: float = 0.3,
        clip_floor: float = 1e-3,
        warmup: int = 1000,
    ) -> None:
        if lr < 0 or warmup < 0:
            raise ValueError(f"lr and warmup must not be negative; got lr={lr}, warmup={warmup}")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must lie in [0, 1); got {betas}")
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "clip": clip,
            "clip_floor": clip_floor,
            "warmup": warmup,
        }
        _plain(Optimizer.__init__)(self, params, defaults)

    add_param_group = _plain(Optimizer.add_param_group)
    zero_grad = _plain(Optimizer.zero_grad)
    state_dict = _plain(Optimizer.state_dict)
    load_state_dict = _plain(Optimizer.load_state_dict)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._update(group, params)
        return loss

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        beta1, beta2 = group["betas"]
        grads = [p.grad for p in params if p.grad is not None]
        if group["clip"]:
            grads = _clip_adaptively(params, grads, group["clip"], group["clip_floor"])
        for p in params:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
                self.state[p]["square"] = torch.zeros_like(p)
                self.state[p]["step"] = 0
            self.state[p]["step"] += 1
        momenta = [self.state[p]["momentum"] for p in params]
        squares = [self.state[p]["square"] for p in params]
        steps = [self.state[p]["step"] for p in params]  # a tensor may have had no gradient before

        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, grads, grads, 1 - beta2)
        roots = torch._foreach_div(squares, [1 - beta2**n for n in steps])
        torch._foreach_sqrt_(roots)
        torch._foreach_add_(roots, group["eps"])
        torch._foreach_mul_(momenta, beta1)
        torch._foreach_addcdiv_(momenta, grads, roots, 1 - beta1)
        rises = [min(1.0, n / group["warmup"]) if group["warmup"] else 1.0 for n in steps]
        scaled = torch._foreach_div(
            momenta, [(1 - beta1**n) / rise for n, rise in zip(steps, rises, strict=True)]
        )
        torch._foreach_add_(params, scaled, alpha=-group["lr"])


def _clip_adaptively(
    params: list[Tensor], grads: list[Tensor], clip: float, floor: float
) -> list[Tensor]:
    """Gradients whose norm is at most ``clip * max(|parameter|, floor)``, tensor by tensor."""
    limits = torch.stack(torch._foreach_norm(params)).clamp_min(floor) * clip
    norms = torch.stack(torch._foreach_norm(grads))
    scales = (limits / norms.clamp_min(1e-30)).clamp_max(1.0)
    return list(torch._foreach_mul(grads, list(scales.unbind())))
