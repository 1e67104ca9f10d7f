"""Recurrent state-space model of DreamerV3 (2024 release).

Symbols: B batch, T time, N imagined sequences, H horizon, A action, E embedding, D deterministic
state, S x K categorical latents, F = D + S * K features.

Time convention: ``action[t]`` is the action that led to observation ``t``.  Where ``is_first[t]``,
the previous state and the action are zero.

Differences from the release, which change no capability: the parts of the core's first layer that
read the hidden inputs are one dense matrix, as copying the inputs to every block amounts to; the
layers that read the action and the embedding are evaluated for all time steps at once.

The loop over time is left to autograd.  A backward pass written out by hand saved 6% (images) to 9%
(vectors) of the processor time of a world model's update (preset "cpu", one thread): too little for
its 290 lines.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vlsafe_agents.common.devices import drawn
from vlsafe_agents.common.distributions import categorical_kl, sample_one_hot
from vlsafe_agents.vlsafe.compiling import Compiled
from vlsafe_agents.vlsafe.config import RSSMConfig
from vlsafe_agents.vlsafe.networks import MLP, BlockLinear, NormSiLU, linear


class RSSMState(NamedTuple):
    """Latent state; ``logits`` are those that ``stoch`` was sampled from, where they are known."""

    deter: Tensor  # (..., D)
    stoch: Tensor  # (..., S, K), one-hot
    logits: Tensor | None = None  # (..., S, K), before unimix

    def detach(self) -> RSSMState:
        """The same values without gradients."""
        return RSSMState(*[None if x is None else x.detach() for x in self])  # type: ignore[arg-type]

    def split(self, size: int) -> list[RSSMState]:
        """Along the first axis, ``size`` states each."""
        parts = [None if x is None else x.split(size) for x in self]
        count = len(self.deter) // size
        return [RSSMState(*(None if x is None else x[i] for x in parts)) for i in range(count)]  # type: ignore[arg-type]

    def flatten(self) -> RSSMState:
        """Merge the first two axes: (B, T, ...) to (B * T, ...)."""
        return RSSMState(*[None if x is None else x.flatten(0, 1) for x in self])  # type: ignore[arg-type]


Step = Callable[..., RSSMState]  # see RSSM._posterior and RSSM._prior


class RSSM(nn.Module):
    """Next latent state from the action alone (prior) or with an observation (posterior)."""

    def __init__(self, action_size: int, embed_size: int, config: RSSMConfig) -> None:
        super().__init__()
        self.config = config
        deter, hidden = config.deter, config.hidden
        latent = config.stoch * config.classes
        self.deter_in, self.deter_norm = linear(deter, hidden), NormSiLU(hidden)
        self.stoch_in, self.stoch_norm = linear(latent, hidden), NormSiLU(hidden)
        self.action_in = nn.Sequential(
            linear(action_size, hidden), NormSiLU(hidden), linear(hidden, deter)
        )
        self.hidden_core = nn.Parameter(linear(2 * hidden, deter).weight.detach())
        self.deter_core = BlockLinear(deter, deter, config.blocks)
        self.core_norm = NormSiLU(deter)
        self.gates = BlockLinear(deter, 3 * deter, config.blocks)
        self.gates_bias = nn.Parameter(torch.zeros(3 * deter))
        self.prior_net = MLP(deter, hidden, config.prior_layers, latent)
        self.embed_in = linear(embed_size, hidden)
        self.deter_posterior = linear(deter, hidden, bias=False)
        self.posterior_norm = NormSiLU(hidden)
        self.logits = linear(hidden, latent)
        self._observe_step: Step = self._posterior
        self._imagine_step: Step = self._prior

    def compile_steps(self) -> None:
        """Compile what the loops over time repeat; acting, one step of any batch, stays eager."""
        self._observe_step = Compiled(self._posterior)
        self._imagine_step = Compiled(self._prior)

    def initial(self, batch: int, device: torch.device | str = "cpu") -> RSSMState:
        """State before the first observation: zeros, ``(batch, ...)``."""
        c = self.config
        return RSSMState(
            torch.zeros(batch, c.deter, device=device),
            torch.zeros(batch, c.stoch, c.classes, device=device),
        )

    def feat(self, state: RSSMState) -> Tensor:
        """What heads and policies read: ``(..., F)``."""
        return torch.cat([state.deter, state.stoch.flatten(-2)], -1)

    def observe(
        self, embed: Tensor, action: Tensor, is_first: Tensor, start: RSSMState | None = None
    ) -> RSSMState:
        """Posterior states of whole sequences.

        Args:
            embed: ``(B, T, E)``.
            action: ``(V * B, T, A)``, the action that led to each observation; V > 1: variants,
                each of all B sequences, reckoned side by side: one loop costs less than V.
            is_first: ``(B, T)`` bool.
            start: the states before, ``(V * B, ...)``; None: zeros.

        Returns:
            ``(V * B, T, ...)`` with logits.
        """
        (batch, time), variants = action.shape[:2], len(action) // len(embed)
        state = self.initial(batch, embed.device) if start is None else start
        first = is_first.repeat(variants, 1).transpose(0, 1).unsqueeze(-1)  # (T, V * B, 1)
        driven = self._driven(action.transpose(0, 1), first)  # (T, V * B, D)
        seen = self.embed_in(embed.transpose(0, 1)).repeat(1, variants, 1)  # (T, V * B, H)
        keep = (~first).to(embed.dtype)
        own = (time, variants, len(embed), self.config.stoch, 1)
        uniform = drawn(partial(torch.rand, device=embed.device), own, axis=2).flatten(1, 2)
        states = []
        for t in range(time):
            state = self._observe_step(state, keep[t], driven[t], seen[t], uniform[t])
            states.append(state)
        return RSSMState(*(torch.stack(parts, 1) for parts in zip(*states, strict=True)))

    def obs_step(
        self,
        state: RSSMState,
        action: Tensor,
        embed: Tensor,
        is_first: Tensor,
        deterministic: bool = False,
    ) -> RSSMState:
        """One step of :meth:`observe`, ``(B, ...)``; ``deterministic`` takes the mode."""
        first = is_first.unsqueeze(-1)  # (B, 1)
        # shape[0], as len() would be a constant in an exported graph
        uniform = self._uniform(embed.shape[0], embed.device, deterministic)
        driven, seen = self._driven(action, first), self.embed_in(embed)
        return self._posterior(state, (~first).to(embed.dtype), driven, seen, uniform)

    def img_step(self, state: RSSMState, action: Tensor) -> RSSMState:
        """One imagined step from the prior: ``(N, ...)`` in and out."""
        uniform = self._uniform(len(action), action.device, deterministic=False)
        return self._imagine_step(state, self._driven(action, None), uniform)

    def imagine(
        self, start: RSSMState, policy: Callable[[Tensor], Tensor], horizon: int
    ) -> tuple[Tensor, Tensor]:
        """Roll ``policy`` (features to action vectors) out in the prior.

        Returns:
            features ``(N, H + 1, F)`` and actions ``(N, H, A)``; action ``j`` is taken in state
            ``j``.
        """
        state, feats, actions = start, [self.feat(start)], []
        for _ in range(horizon):
            actions.append(policy(feats[-1]))
            state = self.img_step(state, actions[-1])
            feats.append(self.feat(state))
        return torch.stack(feats, 1), torch.stack(actions, 1)

    def prior(self, deter: Tensor) -> Tensor:
        """Logits ``(..., S, K)`` of the latents, from the deterministic state ``(..., D)``."""
        return self._split(self.prior_net(deter))

    def kl_losses(self, posterior: RSSMState) -> tuple[Tensor, Tensor, Tensor]:
        """Dynamics and representation losses with free bits, and the plain KL: each ``(B, T)``."""
        if posterior.logits is None:
            raise ValueError("kl_losses needs the posterior's logits; use the state from observe()")
        c, logits = self.config, posterior.logits
        prior = self.prior(posterior.deter)  # (B, T, S, K)
        dyn = categorical_kl(logits.detach(), prior, c.unimix)
        rep = categorical_kl(logits, prior.detach(), c.unimix)
        return dyn.clamp_min(c.free_nats), rep.clamp_min(c.free_nats), dyn.detach()

    def _driven(self, action: Tensor, is_first: Tensor | None) -> Tensor:
        """The action's part of the core's first layer, ``(..., A) -> (..., D)``."""
        action = action / action.abs().clamp_min(1.0)
        if is_first is not None:
            action = torch.where(is_first, 0.0, action)
        return self.action_in(action)

    def _core(self, deter: Tensor, stoch: Tensor, driven: Tensor) -> Tensor:
        """Block-diagonal gated recurrent unit: ``(B, D), (B, S * K), (B, D) -> (B, D)``."""
        from_deter = self.deter_norm(self.deter_in(deter))
        from_stoch = self.stoch_norm(self.stoch_in(stoch))
        hidden = torch.cat([from_deter, from_stoch], -1)
        x = torch.addmm(driven, hidden, self.hidden_core.t())
        x = self.core_norm(x + self.deter_core(deter))
        gates = (self.gates(x) + self.gates_bias).unflatten(
            -1, (self.config.blocks, 3, -1)
        )  # (B, G, 3, D / G)
        reset, update, candidate = gates.unbind(-2)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate).flatten(1)
        update = torch.sigmoid(update - 1).flatten(1)  # -1: remember by default
        return torch.lerp(deter, candidate, update)

    def _posterior(
        self, state: RSSMState, keep: Tensor, driven: Tensor, seen: Tensor, uniform: Tensor | None
    ) -> RSSMState:
        """The next state after an observation.

        Args:
            keep: ``(B, 1)``, 0 where an episode begins, else 1.
            driven: ``(B, D)``, the action's part of the core's first layer.
            seen: ``(B, H)``, the embedding's part of the posterior's first layer.
            uniform: random numbers ``(B, S, 1)``; None takes the mode.
        """
        deter = self._core(state.deter * keep, state.stoch.flatten(1) * keep, driven)
        x = torch.addmm(seen, deter, self.deter_posterior.weight.t())
        logits = self._split(self.logits(self.posterior_norm(x)))
        return RSSMState(deter, sample_one_hot(logits, uniform, self.config.unimix), logits)

    def _prior(self, state: RSSMState, driven: Tensor, uniform: Tensor) -> RSSMState:
        """The next imagined state; arguments as of :meth:`_posterior`."""
        deter = self._core(state.deter, state.stoch.flatten(1), driven)
        logits = self.prior(deter)
        return RSSMState(deter, sample_one_hot(logits, uniform, self.config.unimix), logits)

    def _uniform(self, batch: int, device: torch.device, deterministic: bool) -> Tensor | None:
        if deterministic:
            return None
        return drawn(partial(torch.rand, device=device), (batch, self.config.stoch, 1))

    def _split(self, x: Tensor) -> Tensor:
        return x.float().unflatten(-1, (self.config.stoch, self.config.classes))
