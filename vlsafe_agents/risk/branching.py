"""Outcomes from a simulator: drives, and branches from their states under other actions.

At some decisions of a drive the simulator goes on several ways and comes back: an action is held
for ``hold_seconds``, then each tail drives on.  The actions are the drive's own, those with which
the tails begin, and some at random; of a ``Discrete`` space of a few, all.  States are chosen more
often where something is near, or, by a judge, where the frame looks dangerous.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from vlsafe_agents.common.border import Array, action_dtype
from vlsafe_agents.data.branching import Brancher, urgency
from vlsafe_agents.data.driving import Drive
from vlsafe_agents.risk.judge import NO_FRAME, Judge, name_of
from vlsafe_agents.risk.outcomes import Outcomes
from vlsafe_agents.vlsafe.actions import action_kind
from wrappers.checks import one_number, whole_number
from wrappers.safety_frames import SafetyFrames
from wrappers.scorer import Frames, Scores

FEW_ACTIONS = 6  # of a Discrete space that are all tried
_EVENLY = 0.5  # added to how urgent a state is, in [0, 1]: it may be chosen whatever is going on
_SELDOM = 0.05  # the same where somebody looks for urgent ones (``Brancher.urgency``)


@dataclass(frozen=True)
class BranchingConfig:
    """What is driven from the states of drives.

    Args:
        tails: macro-actions that drive on.
        frequency: decisions a second [Hz].
        horizon: how long a branch is at most [s].
        hold_seconds: how long its first action is held [s], one decision at least.
        every: mean time between two states of a drive where a contact is a second away [s]; it is
            twice as long where none is near, and two thirds of it at a contact.
        random_actions: tried in each state besides.

    Raises:
        ValueError: for numbers out of range, and for no tail.
    """

    tails: tuple[str, ...]
    frequency: float
    horizon: float = 6.0
    hold_seconds: float = 0.5
    every: float = 1.5
    random_actions: int = 1

    def __post_init__(self) -> None:
        if not self.tails or len(set(self.tails)) < len(self.tails):
            raise ValueError(f"branches: tails={self.tails!r}; give names, each once")
        one_number(self.frequency, "frequency", "branches", low=1e-3)
        one_number(self.horizon, "horizon", "branches", low=0.1)
        one_number(self.hold_seconds, "hold_seconds", "branches", low=0.0)
        one_number(self.every, "every", "branches", low=0.0)
        whole_number(self.random_actions, "random_actions", "branches", low=0)

    @property
    def held(self) -> int:
        """Decisions for which a branch's first action is held."""
        return max(1, round(self.hold_seconds * self.frequency))

    @property
    def decisions(self) -> int:
        """Decisions of a branch at most."""
        return max(self.held, round(self.horizon * self.frequency))


class Plan(NamedTuple):
    """An action that is held for a moment, and who drives on."""

    action: Any
    tail: int
    own: bool = False  # whether the tail begins with it


class Result(NamedTuple):
    """What came of a plan."""

    steps: int
    event: bool  # it ended in a terminal step with a cost
    over: bool  # the episode ended by itself
    reward: float
    frames: tuple[Frames, ...] = ()  # after each step, for a judge


@dataclass
class _Table:
    """Rows of outcomes, as they come."""

    obs: list[Mapping[str, Array]] = field(default_factory=list)
    drive_of: list[int] = field(default_factory=list)  # the drive of each state
    rows: list[tuple[int, Plan, Result]] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)  # (D,) of each row, where a judge is asked
    drives: int = 0
    drive_steps: int = 0
    drive_events: int = 0

    def judged(self, results: list[Result], judge: Judge, decisions: int) -> list[Result]:
        """Keep a judge's word on the frames of results, in one look at all; not the frames."""
        scores = judge.scores([frame for result in results for frame in result.frames])
        ends = np.cumsum([result.steps for result in results])
        for part in np.split(scores, ends[:-1]):
            self.scores.append(np.pad(part, (0, decisions - len(part)), constant_values=NO_FRAME))
        return [result._replace(frames=()) for result in results]

    def outcomes(
        self, config: BranchingConfig, space: gym.Space[Any], judge: Judge | None
    ) -> Outcomes:
        steps = np.array([result.steps for _, _, result in self.rows])
        seconds = (steps / config.frequency).astype(np.float32)
        event = np.array([result.event for _, _, result in self.rows], bool)
        over = np.array([result.over for _, _, result in self.rows], bool)
        actions = np.array([plan.action for _, plan, _ in self.rows], action_dtype(space))
        return Outcomes(
            obs={name: np.stack([seen[name] for seen in self.obs]) for name in self.obs[0]},
            state=np.array([state for state, _, _ in self.rows], np.int64),
            action=actions,
            tail=np.array([plan.tail for _, plan, _ in self.rows], np.int64),
            own=np.array([plan.own for _, plan, _ in self.rows], bool),
            event_time=np.where(event, seconds, np.inf).astype(np.float32),
            seconds=np.where(over, np.inf, seconds).astype(np.float32),
            reward=np.array([result.reward for _, _, result in self.rows], np.float32),
            tails=config.tails,
            drive=np.array(self.drive_of, np.int64),
            simulated=int(steps.sum()),
            drives=self.drives,
            drive_steps=self.drive_steps,
            drive_events=self.drive_events,
            judge=name_of(judge),
            scores=None if judge is None else np.stack(self.scores),
            interval=0.0 if judge is None else 1.0 / config.frequency,
        )


def branch_outcomes(
    env: gym.Env[Any, Any],
    seeds: Iterable[int],
    drive: Drive,
    config: BranchingConfig,
    brancher: Brancher,
    states: int,
    progress: Callable[[int], None] = lambda done: None,
    judge: Judge | None = None,
) -> Outcomes:
    """Drive one episode after another until there are ``states`` states, and branch from them.

    Args:
        env: its observations are dictionaries of arrays.
        seeds: of the episodes, each of which decides all that is random in it.
        drive: ``(env, rng)``: who drives an episode.
        progress: hears how many states there are.
        judge: looks at all frames; None: nobody does.

    Raises:
        ValueError: where the seeds are used up before.
    """
    table = _Table()
    for seed in seeds:
        _drive_one(env, seed, drive, config, brancher, states, table, judge)
        progress(min(len(table.obs), states))
        if len(table.obs) >= states:
            return table.outcomes(config, env.action_space, judge)
    raise ValueError(f"{len(table.obs)} states from all seeds, {states} were asked for; give more")


def _drive_one(
    env: gym.Env[Any, Any],
    seed: int,
    drive: Drive,
    config: BranchingConfig,
    brancher: Brancher,
    states: int,
    table: _Table,
    judge: Judge | None,
) -> None:
    show = None if judge is None else judge.frames_of(env)
    rng = np.random.default_rng([seed, 4])
    observation, info = env.reset(seed=seed)
    driver = drive(env, np.random.default_rng([seed, 1]))
    driver.reset()
    over = False
    while not over and len(table.obs) < states:
        action = driver.act()
        drawn = rng.random() * config.every * config.frequency
        if judge is None or show is None:
            chance = _chance(env, info, brancher)
        else:
            chance = _EVENLY + judge.danger(show())
        if drawn < chance:
            plans = _plans(env, action, config, brancher, rng)
            results = list(brancher.branches(env, plans, _Attempt(config, brancher, seed, show)))
            if judge is not None:
                results = table.judged(results, judge, config.decisions)
            table.rows += [(len(table.obs), p, r) for p, r in zip(plans, results, strict=True)]
            table.drive_of.append(table.drives)
            table.obs.append({name: np.array(part) for name, part in observation.items()})
        observation, _, terminated, truncated, info = env.step(action)
        table.drive_steps += 1
        over = terminated or truncated
        table.drive_events += bool(terminated and info["cost"] > 0)
    table.drives += 1


def _chance(env: gym.Env[Any, Any], info: Mapping[str, Any], brancher: Brancher) -> float:
    """How likely branches leave from here, times ``every`` in decisions."""
    if brancher.urgency is None:
        return _EVENLY + urgency(info)
    return _SELDOM + brancher.urgency(env, info)


def _plans(
    env: gym.Env[Any, Any],
    action: Any,
    config: BranchingConfig,
    brancher: Brancher,
    rng: np.random.Generator,
) -> list[Plan]:
    """What is tried in a state, each once."""
    begun = [brancher.make_macro(name, env, rng).act() for name in config.tails]
    plans = [Plan(one, tail, True) for tail, one in enumerate(begun)]
    tried = [begun[0], *_tried(env.action_space, action, config, rng)]
    plans += [Plan(one, tail) for one in tried for tail in range(len(begun))]
    kept: dict[tuple[bytes, int], Plan] = {}
    for plan in plans:
        kept.setdefault((np.asarray(plan.action, np.float32).tobytes(), plan.tail), plan)
    return list(kept.values())


def _tried(
    space: gym.Space[Any], action: Any, config: BranchingConfig, rng: np.random.Generator
) -> list[Any]:
    """The drive's own action and some at random; all, where they are few."""
    every = few_actions(space)
    if every is not None:
        return every.tolist()
    if isinstance(space, gym.spaces.Discrete):
        draws = rng.integers(space.start, space.start + space.n, config.random_actions)
        return [int(one) for one in (action, *draws)]
    kind = action_kind(space)
    vectors = rng.uniform(-1.0, 1.0, (config.random_actions, kind.size))
    return [action, *kind.to_env(vectors)]


def few_actions(space: gym.Space[Any]) -> Array | None:
    """All actions of a ``Discrete`` space, where they are few; else None."""
    if not isinstance(space, gym.spaces.Discrete) or space.n > FEW_ACTIONS:
        return None
    return np.arange(space.start, space.start + space.n)


@dataclass(frozen=True)
class _Attempt:
    """Drives a plan from where ``env`` is."""

    config: BranchingConfig
    brancher: Brancher
    seed: int
    show: SafetyFrames | None  # the frames for a judge

    def __call__(self, env: gym.Env[Any, Any], plan: Plan) -> Result:
        total, driver, frames = 0.0, None, list[Frames]()
        for step in range(self.config.decisions):
            if step < self.config.held:
                action = plan.action
            else:
                if driver is None:
                    rng = np.random.default_rng([self.seed, 5, plan.tail])
                    driver = self.brancher.make_macro(self.config.tails[plan.tail], env, rng)
                action = driver.act()
            _, reward, terminated, truncated, info = env.step(action)
            total += float(reward)
            if self.show is not None:
                frames.append(self.show())
            if terminated or truncated:
                break
        event = bool(terminated and info["cost"] > 0)
        return Result(step + 1, event, bool(terminated), total, tuple(frames))
