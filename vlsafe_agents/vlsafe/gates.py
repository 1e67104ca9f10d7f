"""Where the gate ``p`` of ``update="gated"`` comes from: ``VLSafe(safety=...)``.

================  ==================================================================================
``"score"``       the world model's prediction of the recorded safety score (VL-SAFE)
``"recorded"``    a head like the world model's, fitted to the recorded safety score: data with
                  other labels than those of a world model that is shared
a number          the same in every state
``"shuffled"``    such a head, fitted to recorded scores dealt to other frames
``"oracle"``      such a head, fitted to the simulator's truth: the score of the scorer "oracle"
``"reachability"``  1 minus the learned chance that a cost will come (RESPO, FOSP)
================  ==================================================================================

All but the first two are controls: they change p and nothing else.  Heads of their own are fitted
to features of the world model at no gradient to it, so that agents with different gates can share
one world model, and draw no random numbers that others would have drawn.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlsafe_agents.common.returns import reachability_return
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.vlsafe.batch import TensorBatch, masked_mean
from vlsafe_agents.vlsafe.config import VLSafeConfig
from vlsafe_agents.vlsafe.imagination import Dream
from vlsafe_agents.vlsafe.networks import MLP
from vlsafe_agents.vlsafe.policy_extraction import lookahead_gate
from vlsafe_agents.vlsafe.world_model import Imagined
from wrappers.checks import one_number
from wrappers.oracle import REQUIRED_KEYS, safety_degree

SCORE, RECORDED, ORACLE, SHUFFLED, REACHABILITY = SOURCES = (
    "score",
    "recorded",
    "oracle",
    "shuffled",
    "reachability",
)

_LEARNED = (RECORDED, ORACLE, SHUFFLED, REACHABILITY)  # these have weights of their own
OF_RECORDED_DRIVES = (RECORDED, ORACLE, SHUFFLED)  # what they learn is made of a whole data set

Source = str | float


def check_safety(safety: str | float | None, update: str) -> Source | None:
    """The source of the gate that a user asked for; None for agents that are blind to cost.

    Raises:
        ValueError: for an unknown name, a number outside [0, 1], and a source that ``update`` does
            not read.
    """
    if safety is None or safety == SCORE:
        return safety
    if isinstance(safety, str) and safety not in SOURCES:
        names = ", ".join(f'"{name}"' for name in SOURCES)
        raise ValueError(f"safety must be {names}, a number in [0, 1] or None; got {safety!r}")
    if not isinstance(safety, str):
        safety = one_number(safety, "safety", "VLSafe", low=0.0, high=1.0)
    if update != "gated":
        raise ValueError(
            f'safety={safety!r} has no effect with update="{update}", which has no gate; leave it '
            'out, or choose update="gated"'
        )
    return safety


def refuse_change(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Check that loading does not change which weights the gate has.

    Args:
        stored: the constructor's arguments in a file, ``wanted`` those that are loaded.

    Raises:
        ValueError: for a gate with weights that the file does not hold, or the reverse.
    """
    old, new = (
        x["safety"] if x["update"] == "gated" and x["safety"] in _LEARNED else None
        for x in (stored, wanted)
    )
    if old != new:
        raise ValueError(
            f"the file holds an agent with safety={stored['safety']!r}; a gate that is learned "
            "cannot be changed on loading: make another agent, which may take over this one's "
            "world model (adopt_world_model)"
        )


def with_gate(dataset: EpisodeDataset, source: Source | None, seed: int) -> EpisodeDataset:
    """The data with what a gate from ``source`` learns from them; None reads nothing.

    Args:
        seed: which deal of the scores "shuffled" takes.

    Raises:
        ValueError: where the data lack what the source is made of.
    """
    if source in (SCORE, RECORDED, SHUFFLED) and not dataset.has_safety_score:
        raise ValueError(
            f'the data set has no safety_score, which update="gated" with safety="{source}" '
            "needs; add it with `vlsafe label`, or choose another gate, such as "
            'safety="reachability", or update="lagrangian"'
        )
    if source == RECORDED:
        return dataset.with_gate_scores(dataset.safety_scores)
    if source == SHUFFLED:
        dealt = np.random.default_rng(seed).permutation(dataset.safety_scores)
        return dataset.with_gate_scores(dealt)
    if source == ORACLE:
        return dataset.with_gate_scores(_oracle_scores(dataset))
    return dataset


def _oracle_scores(dataset: EpisodeDataset) -> npt.NDArray[np.float64]:
    try:
        truth = dataset.infos(REQUIRED_KEYS)
        times = truth["time_to_collision"], truth["headway"]
        return safety_degree(*times, truth["collision"], truth["off_road"])
    except ValueError as error:
        raise ValueError(
            f'{error}; safety="oracle" is made of the simulator\'s truth, infos '
            f"{', '.join(REQUIRED_KEYS)} of every frame, as `vlsafe collect` records them: collect "
            "the data again, or choose another gate"
        ) from error


# --- gates ----------------------------------------------------------------------------------------


class Gate(nn.Module):
    """p of imagined states, and what it is learned from; by itself nothing is."""

    looks_ahead = False  # whether p of a state depends on what is dreamt next

    def forward(self, imagined: Imagined) -> Tensor:
        """The p ``(N, H)`` of the imagined states but the last, without gradients."""
        raise NotImplementedError

    def recorded_loss(self, feat: Tensor, batch: TensorBatch) -> Tensor:
        """What is learned from recorded states ``(B, T, F)``, a scalar."""
        return feat.new_zeros(())

    def dream_loss(self, dream: Dream) -> Tensor:
        """What is learned in dreams, a scalar."""
        return dream.weight.new_zeros(())

    def follow(self, rate: float) -> None:
        """Let slow copies follow."""


class ConstantGate(Gate):
    """The same p in every state."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, imagined: Imagined) -> Tensor:
        return torch.full_like(imagined.reward, self.value)


class ScoreGate(Gate):
    """The lowest predicted safety score of the next ``lookahead`` states."""

    def __init__(self, lookahead: int) -> None:
        super().__init__()
        self.lookahead = lookahead
        self.looks_ahead = lookahead > 0

    def forward(self, imagined: Imagined) -> Tensor:
        return lookahead_gate(self.scores(imagined), imagined.cont, self.lookahead)

    def scores(self, imagined: Imagined) -> Tensor:
        """Safety scores ``(N, H + 1)`` of the imagined states."""
        return imagined.safety_score


class LearnedGate(ScoreGate):
    """As :class:`ScoreGate`, of scores that a head of its own predicts: :func:`with_gate`'s."""

    def __init__(self, feat_size: int, units: int, layers: int, lookahead: int) -> None:
        super().__init__(lookahead)
        self.head = MLP(feat_size, units, layers, 1)

    @torch.no_grad()
    def scores(self, imagined: Imagined) -> Tensor:
        return torch.sigmoid(self.head(imagined.feat).squeeze(-1))

    def recorded_loss(self, feat: Tensor, batch: TensorBatch) -> Tensor:
        """Cross-entropy with the scores that stand in place of the recorded ones, a scalar."""
        if batch.gate_score is None:
            raise ValueError(
                f"safety={', '.join(OF_RECORDED_DRIVES)} are made of a whole data set: call "
                'set_dataset; without one take "score", "reachability" or a number'
            )
        logits = self.head(feat.detach()).squeeze(-1)
        known = ~batch.gate_score.isnan()  # frames without a label teach nothing
        wanted = batch.gate_score.nan_to_num()
        loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        return masked_mean(loss, known.float())


class ReachabilityGate(Gate):
    """1 minus the chance that a cost comes, now or later, before time is up.

    The reachability estimation function of RESPO (Ganai et al. 2023, arXiv 2309.13528), by which
    FOSP (arXiv 2407.04942) weighs cost against reward and in whose place VL-SAFE put the VLM's
    score.  ``now``, the chance of a cost on arriving at a state, is fitted to recorded costs;
    ``ever`` to :func:`~vlsafe_agents.common.returns.reachability_return` of dreams under the
    actor.  Discounted by ``gamma``: time is up after ``1 / (1 - gamma)`` steps on average.

    Departures from FOSP's code: its targets compare the estimate with 0 instead of the cost, and
    its percentile normalisation leaves [0, 1].  p does not look ahead any further: the estimate
    does already.
    """

    def __init__(
        self, feat_size: int, units: int, layers: int, gamma: float, lambda_: float
    ) -> None:
        super().__init__()
        self.gamma, self.lambda_ = gamma, lambda_
        self.now = MLP(feat_size, units, layers, 1)
        self.ever = MLP(feat_size, units, layers, 1)
        self.slow_ever = copy.deepcopy(self.ever).requires_grad_(False)

    @torch.no_grad()
    def forward(self, imagined: Imagined) -> Tensor:
        return 1.0 - torch.sigmoid(self.slow_ever(imagined.feat[:, :-1]).squeeze(-1))

    def recorded_loss(self, feat: Tensor, batch: TensorBatch) -> Tensor:
        """Cross-entropy of ``now`` with whether there was a cost, a scalar."""
        logits = self.now(feat.detach()).squeeze(-1)
        costly = (batch.cost > 0).float()
        loss = F.binary_cross_entropy_with_logits(logits, costly, reduction="none")
        return masked_mean(loss, batch.weight)

    def dream_loss(self, dream: Dream) -> Tensor:
        """Cross-entropy of ``ever`` with its lambda-returns, a scalar.

        Terminal states count as often as they are reached: targets of the states before them read
        ``ever`` there.  Where a dream explores, its first state says nothing about the actor.
        """
        feat, cont = dream.imagined.feat, dream.imagined.cont  # (N, H + 1, F), (N, H)
        with torch.no_grad():
            unsafe = torch.sigmoid(self.now(feat[:, :-1]).squeeze(-1))  # (N, H)
            value = torch.sigmoid(self.slow_ever(feat).squeeze(-1))  # (N, H + 1)
            alive = torch.cat([torch.ones_like(cont[:, :1]), cont[:, :-1]], 1)  # (N, H)
            target = reachability_return(unsafe, alive, value, self.gamma, self.lambda_)
            reached = torch.cat([dream.weight[:, :1], dream.weight[:, :-1]], 1)  # (N, H)
            reached[dream.explored, 0] = 0.0
            reached = dream.rows[:, None] * reached
        logits = self.ever(feat[:, :-1]).squeeze(-1)
        loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return masked_mean(loss, reached)

    @torch.no_grad()
    def follow(self, rate: float) -> None:
        slow = list(self.slow_ever.parameters())
        torch._foreach_lerp_([p.data for p in slow], [p.data for p in self.ever.parameters()], rate)


def make_gate(source: Source, feat_size: int, config: VLSafeConfig) -> Gate:
    """The gate of a source, at no effect on the random numbers that others draw.

    Raises:
        ValueError: as :func:`check_safety`.
    """
    if not isinstance(source, str):
        return ConstantGate(one_number(source, "a constant gate", "", low=0.0, high=1.0))
    check_safety(source, "gated")
    lookahead, net = config.improvement.gate_lookahead, config.network
    if source == SCORE:
        return ScoreGate(lookahead)
    with torch.random.fork_rng(devices=[]):
        if source == REACHABILITY:
            gamma, lambda_ = config.imagination.gamma, config.imagination.lambda_
            return ReachabilityGate(feat_size, net.units, net.layers, gamma, lambda_)
        return LearnedGate(feat_size, net.units, net.layers, lookahead)
