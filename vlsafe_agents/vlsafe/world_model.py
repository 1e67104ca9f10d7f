"""World model: DreamerV3's, with heads for cost and safety score.

What it learns from recorded sequences: a recurrent latent state (:class:`RSSM`), and from its
features the observation, reward, cost, whether the episode goes on, and the safety score p.

Time convention (see :class:`TensorBatch`): everything with index ``t`` was received on arriving at
observation ``t``, so a head applied to the features of state ``t`` predicts what arrives with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from vlsafe_agents.common.devices import any_of_team
from vlsafe_agents.common.distributions import (
    symexp_bins,
    twohot_loss,
    twohot_mean,
)
from vlsafe_agents.common.vehicle_rows import VEHICLES
from vlsafe_agents.data.dataset import ENCODED
from vlsafe_agents.vlsafe.actions import action_kind
from vlsafe_agents.vlsafe.batch import (
    IMAGE,
    VECTOR,
    TensorBatch,
    exchange_actions,
    observation_spaces,
)
from vlsafe_agents.vlsafe.config import WorldModelConfig
from vlsafe_agents.vlsafe.ensemble import DisagreementEnsemble
from vlsafe_agents.vlsafe.networks import MLP
from vlsafe_agents.vlsafe.observation import ObservationModel
from vlsafe_agents.vlsafe.rssm import RSSM, RSSMState


class Heads(NamedTuple):
    """Expected values predicted for a state, each ``(...)``."""

    reward: Tensor
    cost: Tensor
    cont: Tensor  # P(not terminal)
    safety_score: Tensor  # in [0, 1], 1 = safe


class Imagined(NamedTuple):
    """Imagined trajectories; entry ``j`` of reward, cost and cont belongs to state ``j + 1``."""

    feat: Tensor  # (N, H + 1, F); state 0 is the start
    action: Tensor  # (N, H, A), one-hot or float; taken in state j
    reward: Tensor  # (N, H)
    cost: Tensor  # (N, H)
    cont: Tensor  # (N, H), P(state j + 1 is not terminal)
    safety_score: Tensor  # (N, H + 1)
    disagreement: Tensor | None = None  # (N, H), of the ensemble about state j + 1; None if off


class WorldModel(nn.Module):
    """Recurrent world model for images, vectors, a set of vehicles, or several of them.

    Args:
        observation_space: Box, or Dict of Boxes under any names.
        action_space: see :mod:`~vlsafe_agents.vlsafe.actions`.

    Raises:
        ValueError: for spaces that do not fit.
    """

    bins: Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        config: WorldModelConfig,
    ) -> None:
        super().__init__()
        self.config = config
        self.actions = action_kind(action_space)
        self.action_size = self.actions.size
        rssm = config.rssm
        self.feat_size = rssm.deter + rssm.stoch * rssm.classes
        observations = observation_spaces(observation_space)
        self.observation = ObservationModel(observations, self.feat_size, config)
        self.rssm = RSSM(self.action_size, self.observation.embed_size, rssm)
        heads = config.heads
        self.register_buffer("bins", symexp_bins(heads.bins, heads.bin_limit), persistent=False)
        sizes = (self.feat_size, heads.units, heads.layers)
        self.reward_head = MLP(*sizes, heads.bins, zero_output=True)
        self.cost_head = MLP(*sizes, heads.bins, zero_output=True)
        self.cont_head = MLP(*sizes, 1)
        self.safety_score_head = MLP(*sizes, 1)
        self.ensemble = (
            DisagreementEnsemble(
                self.feat_size + self.action_size, heads.units, rssm, config.ensemble
            )
            if config.ensemble
            else None
        )

    # --- acting -------------------------------------------------------------------------------

    def action_vector(self, action: Tensor) -> Tensor:
        """Recorded actions as vectors ``(..., A)``."""
        return self.actions.vector(action)

    def foreign_actions(
        self, batch: TensorBatch, share: float, context: TensorBatch | None = None
    ) -> tuple[Tensor, Tensor | None] | None:
        """Action vectors ``(B, T, A)`` and of the context, ``(B, K, A)``, some of other sequences.

        None if ``share`` is 0.  See :func:`~vlsafe_agents.vlsafe.batch.exchange_actions`.
        """
        if not share:
            return None
        action = batch.action
        before = 0 if context is None else context.action.shape[1]
        if context is not None:
            action = torch.cat([context.action, action], 1)
        foreign = exchange_actions(self.action_vector(action), share)  # (B, K + T, A)
        return foreign[:, before:], foreign[:, :before] if before else None

    def initial(self, batch: int, device: torch.device | str = "cpu") -> RSSMState:
        """State before the first observation, ``(batch, ...)``."""
        return self.rssm.initial(batch, device)

    @torch.no_grad()
    def observe_step(
        self,
        state: RSSMState,
        prev_action_vector: Tensor,
        obs: dict[str, Tensor],
        is_first: Tensor,
        deterministic: bool = False,
    ) -> RSSMState:
        """Posterior state after one observation; all arguments ``(B, ...)``.

        Args:
            deterministic: take the mode of the latents instead of a sample.
        """
        embed = self.observation.embed(self.observation.prepare(obs))
        return self.rssm.obs_step(state, prev_action_vector, embed, is_first, deterministic)

    def feat(self, state: RSSMState) -> Tensor:
        """Features ``(..., F)`` of a state."""
        return self.rssm.feat(state)

    def heads(self, feat: Tensor) -> Heads:
        """Expected values of every head for features ``(..., F)``."""
        return Heads(
            twohot_mean(self.reward_head(feat), self.bins),
            twohot_mean(self.cost_head(feat), self.bins),
            torch.sigmoid(self.cont_head(feat).squeeze(-1)),
            torch.sigmoid(self.safety_score_head(feat).squeeze(-1)),
        )

    def cost_chance(self, feat: Tensor) -> Tensor:
        """Chance ``(...)`` that features ``(..., F)`` come with a cost.

        What the cost head gives to bins above 0, which is all of it for costs of at least the first
        of them; ``config.cost_positive_weight`` (:meth:`loss`) is taken back: a predicted q stands
        for ``q / (q + w (1 - q))``.
        """
        probs = F.softmax(self.cost_head(feat), -1)  # (..., K)
        predicted = probs[..., len(self.bins) // 2 + 1 :].sum(-1)
        return predicted / (predicted + self.config.cost_positive_weight * (1.0 - predicted))

    @torch.no_grad()
    def embed(self, batch: TensorBatch) -> Tensor:
        """Embeddings ``(B, T, E)`` of recorded observations, without gradients."""
        if ENCODED in batch.obs:  # computed once, see VLSafe.train
            return batch.obs[ENCODED]
        embed = self.observation.embed(self.observation.prepare(batch.obs))
        return embed.unflatten(0, batch.reward.shape)

    @torch.no_grad()
    def observe(
        self,
        batch: TensorBatch,
        embed: Tensor | None = None,
        action: Tensor | None = None,
        start: RSSMState | None = None,
    ) -> RSSMState:
        """Posterior states ``(B, T, ...)`` of recorded sequences, without losses or gradients.

        Args:
            embed: what :meth:`embed` gives for the batch, where it is known already.
            action: action vectors ``(V * B, T, A)`` to reckon with instead of the recorded ones;
                states are then ``(V * B, T, ...)``, see :meth:`RSSM.observe`.
            start: the states before, ``(V * B, ...)``; None: zeros.
        """
        embed = self.embed(batch) if embed is None else embed
        action = self.action_vector(batch.action) if action is None else action
        return self.rssm.observe(embed, action, batch.is_first, start)

    @torch.no_grad()
    def burn_in(self, context: TensorBatch | None, *actions: Tensor | None) -> RSSMState | None:
        """States ``(V * B, ...)`` after the rows that come before a batch, without gradients.

        A sequence that begins in mid-episode would otherwise begin with a state that remembers
        nothing (Kapturowski et al. 2019, R2D2: burn-in; DreamerV3 stores latents with its replay).

        Args:
            context: those rows, ``(B, K, ...)``; without them there are no states.
            actions: V variants of the action vectors ``(B, K, A)``, None for the recorded ones.
        """
        if context is None:
            return None
        vectors = [self.action_vector(context.action) if x is None else x for x in actions]
        states = self.observe(context, action=torch.cat(vectors))
        return RSSMState(states.deter[:, -1], states.stoch[:, -1])

    # --- learning -----------------------------------------------------------------------------

    def loss(
        self,
        batch: TensorBatch,
        shaping: Callable[[Tensor], Tensor] | None = None,
        foreign: tuple[Tensor, Tensor | None] | None = None,
        context: TensorBatch | None = None,
    ) -> tuple[Tensor, RSSMState, dict[str, float]]:
        """Total loss, posterior states ``(B, T, ...)`` without gradients, and metrics.

        Args:
            shaping: one more loss, of the features ``(B, T, F)``, that the model is to serve.
            foreign: what :meth:`foreign_actions` gives; those features are then observed with
                these actions instead of the recorded ones.
            context: the rows before the batch, for :meth:`burn_in`; nothing is learned from them.

        The cost loss is multiplied by ``config.cost_positive_weight`` where the cost is positive,
        because such steps are rare.  This biases the predicted cost upwards: a true frequency f is
        predicted as ``w f / (w f + 1 - f)``.
        """
        shape = batch.reward.shape  # (B, T)
        action = self.action_vector(batch.action)
        inputs = self.observation.prepare(batch.obs)
        embed = self.observation.embed(inputs).unflatten(0, shape)  # (B, T, E)
        variants = [(action, None), *([foreign] if foreign is not None else [])]
        start = self.burn_in(context, *(before for _, before in variants))
        actions = torch.cat([vectors for vectors, _ in variants])  # (V * B, T, A)
        states = self.rssm.observe(embed, actions, batch.is_first, start)
        posterior, *others = states.split(len(embed))
        feat = self.feat(posterior)  # (B, T, F)

        dyn, rep, kl = self.rssm.kl_losses(posterior)
        losses = {"dyn": dyn, "rep": rep}
        reconstruction = self.observation.losses(feat.flatten(0, 1), inputs)
        losses |= {key: value.unflatten(0, shape) for key, value in reconstruction.items()}
        losses |= self._head_losses(feat, batch)
        if self.ensemble is not None:
            losses["disagreement"] = self.ensemble.loss(feat, action, posterior, batch.is_first)
        for key, value in losses.items():
            assert value.shape == shape, (key, value.shape, shape)
        scales = self.scales()
        assert set(losses) == set(scales), (sorted(losses), sorted(scales))
        means = {key: value.mean() for key, value in losses.items()}
        total = torch.stack([scales[key] * value for key, value in means.items()]).sum()
        if shaping is not None:
            total = total + shaping(self.feat(others[0]) if others else feat)
        for name, known in batch.known().items():
            if not any_of_team(bool(known.any())):
                del means[name]  # not learned: no figure to show
        metrics = {f"train/{key}_loss": value.item() for key, value in means.items()}
        metrics |= {"train/kl": kl.mean().item(), "train/model_loss": total.item()}
        return total, posterior.detach(), metrics

    def scales(self) -> dict[str, float]:
        """Weight of every loss that this model has."""
        absent = {IMAGE, VECTOR, VEHICLES} - set(self.observation.keys)
        if self.ensemble is None:
            absent.add("disagreement")
        return {k: v for k, v in vars(self.config.scales).items() if k not in absent}

    def _head_losses(self, feat: Tensor, batch: TensorBatch) -> dict[str, Tensor]:
        weight = torch.where(batch.cost > 0, self.config.cost_positive_weight, 1.0)
        going_on = (~batch.is_terminal).float()
        bce = F.binary_cross_entropy_with_logits
        losses = {
            "reward": twohot_loss(self.reward_head(feat), batch.reward, self.bins),
            "cost": weight * twohot_loss(self.cost_head(feat), batch.cost, self.bins),
            "cont": bce(self.cont_head(feat).squeeze(-1), going_on, reduction="none"),
            "safety_score": bce(
                self.safety_score_head(feat).squeeze(-1), batch.safety_score, reduction="none"
            ),
        }
        return losses | {name: losses[name] * known for name, known in batch.known().items()}

    # --- dreaming -----------------------------------------------------------------------------

    @torch.no_grad()
    def imagine(
        self, start: RSSMState, policy: Callable[[Tensor], Tensor], horizon: int
    ) -> Imagined:
        """Dream ``horizon`` steps from states ``(N, ...)``.

        Args:
            policy: features ``(N, F)`` to action vectors ``(N, A)``.
        """
        feat, action = self.rssm.imagine(start, policy, horizon)
        heads = self.heads(feat)
        disagreement = None
        if self.ensemble is not None:
            disagreement = self.ensemble.disagreement(feat[:, :-1], action)
        return Imagined(
            feat=feat,
            action=action,
            reward=heads.reward[:, 1:],
            cost=heads.cost[:, 1:],
            cont=heads.cont[:, 1:],
            safety_score=heads.safety_score,
            disagreement=disagreement,
        )

    @torch.no_grad()
    def open_loop(self, batch: TensorBatch, context: int = 5) -> dict[str, npt.NDArray[Any]]:
        """Observe ``context`` frames, then dream the rest with the recorded actions.

        Returns:
            arrays ``(B, T, ...)``: "<name>_truth" and "<name>_dream" of each observation (images
            uint8), "<name>_true" (NaN where not known) and "<name>_predicted" of reward, cost and
            safety_score.  The first ``context`` entries of a dream are reconstructions.

        Raises:
            ValueError: if an episode begins inside a sequence or ``context`` does not fit.
        """
        length = batch.reward.shape[1]
        if not 0 < context < length:
            raise ValueError(f"context must lie between 1 and {length - 1}; got {context}")
        if batch.is_first[:, 1:].any():
            raise ValueError(
                "open_loop needs sequences of one episode each; found a later is_first"
            )
        action = self.action_vector(batch.action)
        inputs = self.observation.prepare({k: v[:, :context] for k, v in batch.obs.items()})
        embed = self.observation.embed(inputs).unflatten(0, (-1, context))
        seen = self.rssm.observe(embed, action[:, :context], batch.is_first[:, :context])
        state = RSSMState(seen.deter[:, -1], seen.stoch[:, -1])
        feats = [*self.feat(seen).unbind(1)]
        for t in range(context, length):
            state = self.rssm.img_step(state, action[:, t])
            feats.append(self.feat(state))
        feat = torch.stack(feats, 1)  # (B, T, F)
        out: dict[str, npt.NDArray[Any]] = {}
        for key, dream in self.observation.decode(feat).items():
            out[f"{key}_truth"] = batch.obs[key].cpu().numpy()
            array = dream.cpu().numpy()
            is_image = key in self.observation.layouts
            out[f"{key}_dream"] = (array * 255).round().astype(np.uint8) if is_image else array
        heads = self.heads(feat)
        known = batch.known()
        for name in ("reward", "cost", "safety_score"):
            true = getattr(batch, name)
            true = true.where(known[name], torch.nan) if name in known else true
            out[f"{name}_true"] = true.cpu().numpy()
            out[f"{name}_predicted"] = getattr(heads, name).cpu().numpy()
        return out
