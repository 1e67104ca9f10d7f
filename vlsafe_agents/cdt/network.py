"""The transformer over steps of four tokens: return to go, cost to go, observation, action."""

from __future__ import annotations

import math

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

TOKENS = 4  # of a step
_SEEN = 2  # place of the observation among them


def step_encoding(step: th.Tensor, width: int) -> th.Tensor:
    """Sines and cosines (..., width) of step numbers (...), with periods from 2 pi to 2 pi 10^4.

    Vaswani et al. 2017, section 3.5. They need no longest episode, as a table of vectors would.
    """
    rates = th.exp(th.arange(0, width, 2, device=step.device) * (-math.log(1e4) / width))
    angles = step.unsqueeze(-1) * rates  # (..., width / 2)
    return th.cat([angles.sin(), angles.cos()], -1)


class HistoryNetwork(nn.Module):
    """What a step's action depends on, made of the steps up to it.

    Each output reads its own step's return and cost to go and observation, all tokens of earlier
    steps, and nothing that comes later: parts of fewer than K steps need no padding mask.

    Args:
        features: size of an observation's features
        actions: size of an action's vector
        context: K, steps that are read at most
        width: of tokens; a multiple of `heads`, and even
        layers: of the transformer
        heads: of its attention
        dropout: share of its activations that are dropped while learning
    """

    to_go_mean: th.Tensor  # (2,), of return and of log(1 + cost) to go; a file keeps them
    to_go_std: th.Tensor  # (2,)

    def __init__(
        self,
        features: int,
        actions: int,
        context: int,
        width: int,
        layers: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.width = width
        self.embed_obs, self.embed_action = nn.Linear(features, width), nn.Linear(actions, width)
        self.embed_to_go = nn.ModuleList(nn.Linear(1, width) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(
            layer, layers, nn.LayerNorm(width), enable_nested_tensor=False
        )
        mask = nn.Transformer.generate_square_subsequent_mask(TOKENS * context)
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("to_go_mean", th.zeros(2))
        self.register_buffer("to_go_std", th.ones(2))
        self.outcome = nn.Sequential(*create_mlp(2 * features + actions, 2, [2 * width], nn.ReLU))

    def forward(
        self, features: th.Tensor, actions: th.Tensor, to_go: th.Tensor, step: th.Tensor
    ) -> th.Tensor:
        """Outputs (B, K, width), each for the action of its step.

        Args:
            features: of observations (B, K, F), K at most the context
            actions: vectors (B, K, A); a step's own does not matter to its output
            to_go: return and cost to go (B, K, 2)
            step: number of each step in its episode (B, K)
        """
        signals = (_signals(to_go) - self.to_go_mean) / self.to_go_std
        parts = [
            *(embed(signals[..., k : k + 1]) for k, embed in enumerate(self.embed_to_go)),
            self.embed_obs(features),
            self.embed_action(actions),
        ]
        where = step_encoding(step, self.width)
        tokens = th.stack([part + where for part in parts], 2)  # (B, K, 4, W)
        flat = self.norm(tokens).flatten(1, 2)  # (B, 4 K, W)
        count = flat.shape[1]
        mask = self.mask[:count, :count]  # type: ignore[index]
        found: th.Tensor = self.encoder(flat, mask=mask, is_causal=True)
        return found.unflatten(1, (-1, TOKENS))[:, :, _SEEN]

    def set_scales(self, to_go: th.Tensor) -> None:
        """Scale returns and costs to go by those of the data (R, 2): mean 0, deviation 1."""
        signals = _signals(to_go)
        std = signals.std(0, unbiased=False)
        self.to_go_mean.copy_(signals.mean(0))
        self.to_go_std.copy_(th.where(std > 1e-6, std, 1.0))

    def outcomes(self, features: th.Tensor, actions: th.Tensor, after: th.Tensor) -> th.Tensor:
        """Estimated reward and cost (..., 2) of steps, from the observations around them.

        Args:
            features: of observations (..., F)
            actions: vectors (..., A)
            after: features of the next observations (..., F)
        """
        found: th.Tensor = self.outcome(th.cat([features, after, actions], -1))
        return found


def _signals(to_go: th.Tensor) -> th.Tensor:
    """Return and cost to go (..., 2) as they are read; small costs are told apart by logarithms."""
    return th.stack([to_go[..., 0], to_go[..., 1].clamp_min(0.0).log1p()], -1)
