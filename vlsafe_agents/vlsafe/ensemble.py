"""How far a model can be believed: networks that agree where there are data."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlsafe_agents.common.distributions import unimix_probs
from vlsafe_agents.vlsafe.config import RSSMConfig
from vlsafe_agents.vlsafe.rssm import RSSMState


class DisagreementEnsemble(nn.Module):
    """One-step predictors of the latents: where they disagree, data are thin.

    ``members`` networks with one hidden layer that predict the next posterior's probabilities.

    After Plan2Explore (Sekar et al. 2020, arXiv 2005.05960), with categorical targets.  Features
    are stopped: the ensemble does not shape the world model.  Members differ in their initial
    weights only.
    """

    def __init__(self, in_size: int, units: int, config: RSSMConfig, members: int) -> None:
        super().__init__()
        if members < 2:
            raise ValueError(f"an ensemble needs at least 2 members to disagree; got {members}")
        self.config = config
        latent = config.stoch * config.classes
        self.weight_in = nn.Parameter(torch.randn(members, in_size, units) * in_size**-0.5)
        self.bias_in = nn.Parameter(torch.zeros(members, 1, units))
        self.weight_out = nn.Parameter(torch.randn(members, units, latent) * units**-0.5)
        self.bias_out = nn.Parameter(torch.zeros(members, 1, latent))

    def forward(self, feat: Tensor, action: Tensor) -> Tensor:
        """Logits ``(M, N, S, K)`` of the next latents, from ``(N, F)`` and ``(N, A)``."""
        x = torch.cat([feat, action], -1)  # (N, F + A)
        x = x.expand(len(self.weight_in), *x.shape)  # (M, N, F + A)
        hidden = F.silu(torch.baddbmm(self.bias_in, x, self.weight_in))
        out = torch.baddbmm(self.bias_out, hidden, self.weight_out)
        return out.unflatten(-1, (self.config.stoch, self.config.classes))

    def loss(self, feat: Tensor, action: Tensor, posterior: RSSMState, is_first: Tensor) -> Tensor:
        """Cross-entropy to the next posterior, ``(B, T)``, summed over S, averaged over members.

        Column ``t`` predicts state ``t`` from state ``t - 1``; 0 where there is no such step.
        """
        assert posterior.logits is not None
        target = unimix_probs(posterior.logits[:, 1:].detach(), self.config.unimix).flatten(0, 1)
        logits = self(feat[:, :-1].detach().flatten(0, 1), action[:, 1:].flatten(0, 1))
        entropy = -(target * F.log_softmax(logits, -1)).sum((-2, -1)).mean(0)  # (B * (T - 1),)
        steps = entropy.unflatten(0, (len(feat), -1)) * ~is_first[:, 1:]
        return F.pad(steps, (1, 0))

    @torch.no_grad()
    def disagreement(self, feat: Tensor, action: Tensor) -> Tensor:
        """Variance of the members' probabilities, averaged over the latents: ``(N, H)``.

        Args:
            feat: ``(N, H, F)``; ``action``: ``(N, H, A)``.
        """
        probs = F.softmax(self(feat.flatten(0, 1), action.flatten(0, 1)), -1)
        return probs.var(0).sum(-1).mean(-1).unflatten(0, feat.shape[:2])
