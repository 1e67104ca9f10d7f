"""Returns of another policy from recorded steps."""

from __future__ import annotations

import torch
from torch import Tensor


def retrace_return(
    signal: Tensor, discount: Tensor, value: Tensor, q: Tensor, trace: Tensor
) -> Tensor:
    """Retrace targets (Munos et al. 2016, arXiv 1606.02647, equation 4) for ``Q(o_t, a_t)``.

    ``G_t = x_{t+1} + d_{t+1} (V_{t+1} + c_{t+1} (G_{t+1} - Q_{t+1}))``: as long as the record does
    what the policy would do (``c`` near lambda), later rewards and crashes count as they happened;
    where they part, the critic takes over.  The last column bootstraps from ``V`` alone.

    All arguments are ``(B, M)``; column ``t`` belongs to the observation that step ``t`` leads to.

    Args:
        signal: reward or cost received there.
        discount: gamma, or 0 where the episode terminated.
        value: ``V`` there, under the policy.
        q: ``Q`` of the action recorded there.
        trace: ``lambda min(1, pi / pi_b)`` of that action; 0 where the episode's record ends.

    Returns:
        ``(B, M)``.
    """
    correction = torch.zeros_like(signal[:, 0])  # c (G - Q) of the next column
    returns: list[Tensor] = []
    for t in reversed(range(signal.shape[1])):
        if returns:
            correction = trace[:, t] * (returns[-1] - q[:, t])
        returns.append(signal[:, t] + discount[:, t] * (value[:, t] + correction))
    return torch.stack(returns[::-1], 1)
