"""How good a risk model is, on outcomes that it was not trained on.

N branches of E drives.  Branches of one drive resemble each other, so intervals are over drives,
which are drawn with all their branches (``evaluation.resampling``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from vlsafe_agents.common.border import Array
from vlsafe_agents.common.json_values import plain
from vlsafe_agents.common.progress import PartProgress
from vlsafe_agents.data.branching import Brancher
from vlsafe_agents.data.driving import Drive
from vlsafe_agents.evaluation.resampling import Estimate, Ranking, episode_weights, weighted_share
from vlsafe_agents.risk.branching import BranchingConfig, branch_outcomes
from vlsafe_agents.risk.judge import NO_FRAME, Judge, name_of
from vlsafe_agents.risk.model import RiskModel
from vlsafe_agents.risk.outcomes import Outcomes
from vlsafe_agents.risk.training import CHUNK, TrainingConfig, behind_shield, outcome_chunks

HELD_OUT = "held_out"  # folder of the outcomes
RESAMPLES = 1000
CONFIDENCE = 0.95
_LEAST = 1e-7  # a chance is at least this, and at most 1 less it, where its logarithm is taken
_AT_ONCE = 1024  # branches

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Examination:
    """What came of branches, beside what a model had said; NaN where nothing can be said."""

    states: int
    drives: int
    branches: int  # of which it is known whether there was an event within the horizon
    events: int
    cross_entropy: Estimate  # [nat] a branch
    base_entropy: float  # [nat] of a constant, the share of events
    auroc: Estimate
    safe_actions: int  # actions with a tail of less risk than the model's threshold
    actions: int
    events_after_safe: int  # where the least risky tail had been driven after such an action
    event_rate: Estimate  # of them

    def to_json(self) -> dict[str, Any]:
        """Plain values, None for NaN."""
        return dict(plain(self))


@dataclass(frozen=True)
class Judgement:
    """What a judge's own look at branches has to do with events in them; NaN: cannot be said."""

    auroc: Estimate  # of 1 - p of the worst frame
    auroc_before: Estimate  # the last frame, which shows the event, left out
    mean_danger_event: float  # 1 - p of the worst frame, of branches with an event
    mean_danger_calm: float  # and without

    def to_json(self) -> dict[str, Any]:
        """Plain values, None for NaN."""
        return dict(plain(self))


def examine_on_new_drives(
    model: RiskModel,
    states: int,
    env: gym.Env[Any, Any],
    folder: Path,
    drive: Drive,
    brancher: Brancher,
    branching: BranchingConfig,
    config: TrainingConfig,
    policy: Any = None,
    progress: PartProgress = lambda part, done, total: None,
    judge: Judge | None = None,
    chunk: int = CHUNK,
) -> dict[str, tuple[Outcomes, Examination]]:
    """Branch from states of drives after training, half of them behind the shield, and compare.

    Args:
        states: in all.
        env: and all that follows: as of :func:`~vlsafe_agents.risk.training.train`; what is in
            ``folder`` already is not driven again.

    Returns:
        Outcomes and what they say, by whose drives they are.
    """
    shielded = partial(behind_shield, model, policy)
    halves: dict[str, Drive] = {"mixed drives": drive, "behind the shield": shielded}
    found = {}
    for number, (name, driven) in enumerate(halves.items(), 1 + config.rounds):
        branch = partial(
            branch_outcomes, env, drive=driven, config=branching, brancher=brancher, judge=judge
        )
        count = max(1, states // 2)
        title = f"examination, {name}"
        chunks = (folder / HELD_OUT, number, count, config.seed, branch)
        found_here = outcome_chunks(*chunks, title, progress, name_of(judge), chunk)
        outcomes = Outcomes.joined(list(found_here))
        found[name] = outcomes, examine(model, outcomes, config.seed)
    return found


def examine(model: RiskModel, outcomes: Outcomes, seed: int = 0) -> Examination:
    """Compare a model with the events of outcomes, whoever's word it has learnt from.

    Args:
        outcomes: with the model's tails, of other drives than it was trained on.
        seed: of the resamples.

    Raises:
        ValueError: where nothing is known of the model's horizon.
    """
    known = np.flatnonzero(outcomes.known(model.config.horizon))
    if not len(known):
        raise ValueError(f"no outcome says what comes within {model.config.horizon} s")
    seen = outcomes.select(known)
    risk = predicted(model, seen)
    event = seen.event_time <= model.config.horizon
    drives, drive = np.unique(seen.drive[seen.state], return_inverse=True)
    weights = episode_weights(np.zeros(len(drives), np.int64), RESAMPLES, seed)
    clipped = risk.clip(_LEAST, 1 - _LEAST)
    loss = -np.where(event, np.log(clipped), np.log1p(-clipped))
    ranking = Ranking(risk, event, drive)
    share = float(event.mean().clip(_LEAST, 1 - _LEAST))
    best = _least_risky(seen, risk)
    safe = best[risk[best] < model.config.threshold]
    return Examination(
        states=len(np.unique(seen.state)),
        drives=len(drives),
        branches=len(seen),
        events=int(event.sum()),
        cross_entropy=_known(_mean(loss, drive, weights), drives),
        base_entropy=-share * np.log(share) - (1 - share) * np.log1p(-share),
        auroc=_known(Estimate.of(float(ranking()[0][0]), ranking(weights)[0], CONFIDENCE), drives),
        safe_actions=len(safe),
        actions=len(best),
        events_after_safe=int(event[safe].sum()),
        event_rate=weighted_share(event[safe], drive[safe], weights, CONFIDENCE),
    )


def judgement(outcomes: Outcomes, horizon: float, seed: int = 0) -> Judgement:
    """Compare what a judge said of outcomes with the events in them.

    Args:
        outcomes: of which a judge was asked.
        horizon: [s] that counts.
        seed: of the resamples.
    """
    assert outcomes.scores is not None
    kept = np.flatnonzero(~np.isnan(outcomes.targets(horizon)))
    seen = outcomes.select(kept)
    danger, event = seen.targets(horizon), seen.event_time <= horizon
    before = _without_events(seen).targets(horizon)
    left = np.flatnonzero(~np.isnan(before))  # not those that end in their first step
    return Judgement(
        auroc=_ranking(danger, event, seen, seed),
        auroc_before=_ranking(before[left], event[left], seen.select(left), seed),
        mean_danger_event=float(danger[event].mean()) if event.any() else math.nan,
        mean_danger_calm=float(danger[~event].mean()) if not event.all() else math.nan,
    )


def _without_events(outcomes: Outcomes) -> Outcomes:
    """The same without the judge's word on the frames that show an event."""
    assert outcomes.scores is not None
    scores, rows = outcomes.scores.copy(), np.flatnonzero(np.isfinite(outcomes.event_time))
    last = np.round(outcomes.event_time[rows] / outcomes.interval).astype(np.int64) - 1
    scores[rows, last] = NO_FRAME
    return replace(outcomes, scores=scores)


def _ranking(risk: Array, event: Array, outcomes: Outcomes, seed: int) -> Estimate:
    """AUROC of a risk ``(N,)``, with an interval over drives."""
    if not len(risk):
        return Estimate(math.nan, math.nan, math.nan)
    drives, drive = np.unique(outcomes.drive[outcomes.state], return_inverse=True)
    weights = episode_weights(np.zeros(len(drives), np.int64), RESAMPLES, seed)
    ranking = Ranking(risk, event, drive)
    return _known(Estimate.of(float(ranking()[0][0]), ranking(weights)[0], CONFIDENCE), drives)


def predicted(model: RiskModel, outcomes: Outcomes) -> Floats:
    """The chance ``(N,)`` of an event that a model gives each branch."""
    risk = np.empty(len(outcomes))
    for begin in range(0, len(outcomes), _AT_ONCE):
        part = slice(begin, begin + _AT_ONCE)
        obs = {name: column[outcomes.state[part]] for name, column in outcomes.obs.items()}
        found = model.estimate(obs, outcomes.action[part][:, None]).risk[:, 0]  # (B, T)
        risk[part] = np.take_along_axis(found, outcomes.tail[part][:, None], 1)[:, 0]
    return risk


def _least_risky(outcomes: Outcomes, risk: Floats) -> npt.NDArray[np.int64]:
    """Of each action in each state the branch whose tail is least risky: a shield counts on it."""
    flat = outcomes.action.reshape(len(outcomes), -1)
    _, group = np.unique(
        np.column_stack([outcomes.state, flat.astype(np.float64)]), axis=0, return_inverse=True
    )
    order = np.lexsort((risk, group.reshape(-1)))
    first = np.flatnonzero(np.diff(group.reshape(-1)[order], prepend=-1))
    return order[first]


def _mean(values: Floats, drive: npt.NDArray[np.int64], weights: Floats) -> Estimate:
    count = weights.shape[1]
    sums, numbers = np.bincount(drive, values, count), np.bincount(drive, minlength=count)
    replicates = (weights @ sums) / (weights @ numbers)
    return Estimate.of(float(values.mean()), replicates, CONFIDENCE)


def _known(estimate: Estimate, drives: npt.NDArray[np.int64]) -> Estimate:
    """Without an interval where there is one drive only, of which nothing can be resampled."""
    return estimate if len(drives) > 1 else Estimate(estimate.value, math.nan, math.nan)
