"""A risk model from nothing: outcomes of mixed drives, then of drives behind its own shield.

States in which a shielded policy comes to stand are rare in recorded drives; branches from them are
what turns a shield that is safe and never lets go into one that gets there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from vlsafe_agents.common.progress import PartProgress
from vlsafe_agents.common.seeds import chunk_seeds
from vlsafe_agents.data.branching import Brancher
from vlsafe_agents.data.driving import Drive, Driver
from vlsafe_agents.detection.detector import Detector
from vlsafe_agents.risk.branching import BranchingConfig, branch_outcomes
from vlsafe_agents.risk.judge import Judge, name_of
from vlsafe_agents.risk.model import BEGINNINGS, MODEL_FILE, RiskConfig, RiskModel
from vlsafe_agents.risk.outcomes import Outcomes
from vlsafe_agents.risk.shield import ShieldedPolicy
from wrappers.checks import whole_number

OUTCOMES = "outcomes"  # folder of what the simulator showed
CHUNK = 500  # states a file: what a kill can lose
SLOW_CHUNK = 50  # where a state takes a second or more
THRESHOLDS = (0.5, 1.0, 2.0, 4.0)  # times the threshold: behind these shields drives are made


@dataclass(frozen=True)
class TrainingConfig:
    """How a risk model comes about.

    Args:
        states: branched from in mixed drives.
        rounds: of drives behind the shield of the model so far.
        round_states: branched from in each.
        seed: decides all episodes, first weights and batches.
        model: of the network and its updates.

    Raises:
        ValueError: for numbers out of range.
    """

    states: int = 6000
    rounds: int = 2
    round_states: int = 4000
    seed: int = 0
    model: RiskConfig = field(default_factory=RiskConfig)

    def __post_init__(self) -> None:
        whole_number(self.states, "states", "risk", low=1)
        whole_number(self.rounds, "rounds", "risk", low=0)
        whole_number(self.round_states, "round_states", "risk", low=1)
        whole_number(self.seed, "seed", "risk", low=0)


def train(
    env: gym.Env[Any, Any],
    folder: Path,
    drive: Drive,
    brancher: Brancher,
    branching: BranchingConfig,
    config: TrainingConfig,
    policy: Any = None,
    progress: PartProgress = lambda part, done, total: None,
    judge: Judge | None = None,
    detector: Detector | None = None,
    chunk: int = CHUNK,
    told: bool = False,
    start: RiskModel | None = None,
    beside: Outcomes | None = None,
) -> RiskModel:
    """Collect outcomes and learn from them; what is in ``folder`` already is not driven again.

    Args:
        env: shows dictionaries, and as ``last_observation`` the last of them.
        drive: makes the drivers of the first round.
        policy: has ``predict``; driven behind the shield; None: the model's best actions.
        judge: from whose word is learnt; None: from the simulator's, crashes.
        detector: the model looks at pictures by it, which the environment shows as well.
        chunk: states a file; other files hold other drives.
        told: whether the model is told how the tails begin; ``env`` then says it, as ``begin()``.
        start: whose weights each round's learning begins with, and behind whose shield half of the
            first round's drives are; None: small random weights, and none.
        beside: outcomes of another road, see :meth:`RiskModel.fit`.

    Raises:
        ValueError: where ``folder`` holds outcomes by another's word, and for a ``start`` or
            outcomes ``beside`` of other observations, actions or tails.

    Returns:
        The model, which is also in ``folder``.
    """
    model, found = None, list[Outcomes]()
    space = env.observation_space if detector is None else detector.shown
    kind = (space, env.action_space, branching.tails, config.model, config.seed, detector, told)
    if start is not None:
        RiskModel(*kind).begin_with(start)  # raises before hours of driving, as the next does
        start.told = told
        drive = partial(_one_of, (drive, partial(behind_shield, start, policy)))
    if beside is not None:
        _check_beside(beside, space, branching)
    for number in range(1 + config.rounds):
        if model is not None:
            drive = partial(behind_shield, model, policy)
        states = config.round_states if number else config.states
        title = f"round {number} of {config.rounds}"
        branch = partial(
            branch_outcomes, env, drive=drive, config=branching, brancher=brancher, judge=judge
        )
        chunks = (folder / OUTCOMES, number, states, config.seed, branch)
        found += outcome_chunks(*chunks, title, progress, name_of(judge), chunk)
        model = RiskModel(*kind)
        if start is not None:
            model.begin_with(start)
        hear = partial(_hear, progress, f"{title}: learning", config.model.updates)
        model.fit(Outcomes.joined(found), hear, beside)
    assert model is not None
    model.save(folder / MODEL_FILE)
    return model


def _check_beside(beside: Outcomes, space: gym.Space[Any], branching: BranchingConfig) -> None:
    """Raise ``ValueError`` for outcomes that cannot be learnt from together with the own ones."""
    parts = space.spaces if isinstance(space, gym.spaces.Dict) else {}
    mine = {name: part.shape for name, part in parts.items()}
    theirs = {name: column.shape[1:] for name, column in beside.obs.items()}
    if (theirs, beside.tails) != (mine, branching.tails):
        raise ValueError(
            f"outcomes of {beside.tails}, seen as {theirs}, cannot be learnt from beside those of "
            f"{branching.tails}, seen as {mine}; collect them with the same observation and actions"
        )


def _hear(progress: PartProgress, part: str, total: int, done: int, loss: float) -> None:
    progress(part, done, total)


def outcome_chunks(
    folder: Path,
    number: int,
    states: int,
    seed: int,
    branch: Callable[..., Outcomes],
    title: str,
    progress: PartProgress,
    judge: str = "",
    size: int = CHUNK,
) -> Iterator[Outcomes]:
    """Outcomes of a round, from files of ``size`` states as far as they are there.

    Raises:
        ValueError: for files by the word of another ``judge``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for chunk, done in enumerate(range(0, states, size)):
        count = min(size, states - done)
        file = folder / f"{number}_{chunk:04d}_{count}.npz"
        if not file.exists():
            seeds = chunk_seeds(seed, number, chunk)
            hear = partial(_hear_more, progress, f"{title}: driving", states, done)
            branch(seeds=seeds, states=count, progress=hear).save(file)
        found = Outcomes.load(file)
        found.check_judge(judge, file)
        yield found


def _hear_more(progress: PartProgress, part: str, total: int, before: int, done: int) -> None:
    progress(part, before + done, total)


class _ShieldedDriver:
    """Drives an environment that keeps its last observation."""

    def __init__(self, env: Any, policy: ShieldedPolicy) -> None:
        self._env, self._policy, self._told = env, policy, policy.model.told
        self.reset()

    def reset(self) -> None:
        """An episode begins."""
        self._state, self._start = None, np.ones(1, bool)

    def act(self) -> Any:
        """The action that the shield lets pass, or its own."""
        shown = self._env.last_observation
        if self._told:
            shown = {**shown, BEGINNINGS: self._env.begin()}
        seen = {name: np.asarray(part)[None] for name, part in shown.items()}
        action, self._state = self._policy.predict(seen, self._state, self._start, True)
        self._start = np.zeros(1, bool)
        discrete = isinstance(self._policy.action_space, gym.spaces.Discrete)
        return int(action[0]) if discrete else action[0]


def _one_of(drives: Sequence[Drive], env: Any, rng: np.random.Generator) -> Driver:
    return drives[int(rng.integers(len(drives)))](env, rng)


def behind_shield(model: RiskModel, policy: Any, env: Any, rng: np.random.Generator) -> Driver:
    """Drives ``env``, which keeps its last observation, behind a shield of some threshold."""
    level = min(1.0, model.config.threshold * float(rng.choice(THRESHOLDS)))
    return _ShieldedDriver(env, ShieldedPolicy(policy, model, level))
