"""A shield around anybody's policy: actions that a risk model calls dangerous are replaced.

An action may be taken if, of the ways in which one could drive on after it, at least one keeps the
chance of a cost event below the threshold: while one could still stop, going on is fine.  Where the
proposed action may not be taken, the best of those that may is: of the beginnings of the tails and,
where they are few, of all actions.  Where none may, the least risky one is taken.  Of a model by a
judge's word all this holds with the danger in place of the chance.

Shielding by a learnt critic is that of Srinivasan et al. 2020 (Learning to be Safe, arXiv
2010.14603) and Thananjeyan et al. 2021 (Recovery RL, arXiv 2010.15920).  Departures: the critic is
of macro-actions after the action, not of the policy; it is learnt from a simulator's branches.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from vlsafe_agents.common.border import Array, action_dtype
from vlsafe_agents.common.vehicle_rows import VEHICLES, WAYS
from vlsafe_agents.risk.branching import few_actions
from vlsafe_agents.risk.model import Estimate, RiskModel, Seen
from wrappers.checks import one_number

Sense = Callable[[gym.Env[Any, Any]], Mapping[str, Array]]


class Decision(NamedTuple):
    """What a shield does in N states."""

    action: Array  # (N, *action_space.shape), to be taken
    replaced: npt.NDArray[np.bool_]  # (N,) whether that is not the proposed one
    risk: npt.NDArray[np.float32]  # (N,) chance of an event after the proposed action
    taken_risk: npt.NDArray[np.float32]  # (N,) after the one that is taken
    reward_change: npt.NDArray[np.float32]  # (N,) expected within the horizon, of replacing it


def decide(
    model: RiskModel, obs: Mapping[str, Array], proposed: Array, threshold: float
) -> Decision:
    """Let actions pass, or replace them.

    Args:
        obs: each ``(N, ...)``.
        proposed: ``(N, *action_space.shape)``.
        threshold: chance of an event from which on an action is not taken, in [0, 1].
    """
    return _decide(model, model.look(obs), proposed, threshold)


def _decide(model: RiskModel, seen: Seen, proposed: Array, threshold: float) -> Decision:
    proposed = np.asarray(proposed, action_dtype(model.action_space))
    tried = np.concatenate([proposed[:, None], _candidates(model, seen, len(proposed))], 1)
    estimate = model.estimate(seen, tried)  # (N, A, T)
    risk = estimate.risk.min(-1)  # (N, A)
    taken = np.where(risk[:, 0] < threshold, 0, _best(estimate, threshold))
    rows = np.arange(len(tried))
    reward = estimate.reward[..., 0]  # (N, A), driving on ahead
    return Decision(
        action=tried[rows, taken],
        replaced=taken > 0,
        risk=risk[:, 0],
        taken_risk=risk[rows, taken],
        reward_change=reward[rows, taken] - reward[:, 0],
    )


def best_actions(model: RiskModel, obs: Mapping[str, Array], threshold: float) -> Array:
    """What a risk model does where nobody proposes anything, ``(N, *action_space.shape)``.

    Of several tails the first leads ahead: its beginning is taken where it may be.  Rewards are not
    asked about that, since to wait now and go on later looks as good, and can be put off again.
    With a single tail, of the actions that may be taken the one with most reward is.
    """
    seen = model.look(obs)
    if len(model.tails) > 1:
        return _decide(model, seen, model.beginnings(seen)[:, 0], threshold).action
    tried = _candidates(model, seen, len(seen.features))
    best = _best(model.estimate(seen, tried), threshold)
    return tried[np.arange(len(tried)), best]


def _best(estimate: Estimate, threshold: float) -> Array:
    """Which action ``(N,)`` has most reward without danger, or is the least risky one."""
    risk = estimate.risk.min(-1)  # (N, A)
    reward = np.where(risk < threshold, estimate.reward[..., 0], -np.inf)  # driving on ahead
    return np.where(np.isfinite(reward).any(1), reward.argmax(1), risk.argmin(1))


def _candidates(model: RiskModel, seen: Seen, count: int) -> Array:
    """Actions ``(N, A, *shape)`` that may stand in for others."""
    begun, every = model.beginnings(seen), few_actions(model.action_space)
    if every is None:
        return begun
    return np.concatenate([begun, np.broadcast_to(every, (count, len(every)))], 1)


class SafetyShield(gym.Wrapper[Any, Any, Any, Any]):
    """An environment that does not take dangerous actions.

    Its ``info`` says after each step, besides the environment's: ``shield_risk``, the chance of an
    event after the proposed action; ``shield_replaced``, whether another one was taken;
    ``shield_reward_change``, the reward that this is expected to give or take.

    Args:
        env: with the action space of the risk model.
        model: or the path of its file, or of its folder.
        threshold: chance of an event from which on an action is not taken, in [0, 1]; None: the
            model's (``RiskConfig.threshold``).
        sense: what the risk model sees of the environment; None: the observation, or, where that
            lacks what the model sees, what the environment itself tells (``env.unwrapped.observe``,
            of the environments that come with vlsafe).
        log: a file to which every intervention is added as a line of JSON.

    Raises:
        ValueError: for another action space or a threshold out of range.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        model: RiskModel | str | Path,
        threshold: float | None = None,
        sense: Sense | None = None,
        log: str | Path | None = None,
    ) -> None:
        super().__init__(env)
        self.model = model if isinstance(model, RiskModel) else RiskModel.load(Path(model))
        check_actions(self.model, env.action_space, "the environment")
        self.threshold = shield_threshold(self.model, threshold)
        self.steps, self.replaced, self.episode = 0, 0, 0
        self._sense = _own_sense(env, self.model) if sense is None else sense
        self._log = None if log is None else Path(log)
        self._seen: Any = None

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        env: gym.Env[Any, Any],
        threshold: float | None = None,
        sense: Sense | None = None,
        log: str | Path | None = None,
        **where: Any,
    ) -> Self:
        """A shield by a trained risk model, such as ``"highway"``.

        Args:
            name: this and ``where`` as of :meth:`RiskModel.from_pretrained
                <vlsafe_agents.risk.RiskModel.from_pretrained>`, the others
                as of the class.

        Raises:
            as both
        """
        return cls(env, RiskModel.from_pretrained(name, **where), threshold, sense, log)

    def reset(self, **kwargs: Any) -> Any:
        """As the environment."""
        observation, info = self.env.reset(**kwargs)
        self._seen = observation
        self.episode += 1
        return observation, info

    def step(self, action: Any) -> Any:
        """Take the action, or another in its place."""
        seen = self._seen if self._sense is None else self._sense(self.env)
        named = _named(self.model, seen) or {}  # the model says what it misses
        obs = {name: np.asarray(part)[None] for name, part in named.items()}
        decision = decide(self.model, obs, np.asarray(action)[None], self.threshold)
        taken = action
        if decision.replaced[0]:
            taken = decision.action[0]
            taken = int(taken) if isinstance(self.action_space, gym.spaces.Discrete) else taken
            self._note(action, taken, decision)
        self.steps += 1
        self.replaced += int(decision.replaced[0])
        observation, reward, terminated, truncated, info = self.env.step(taken)
        self._seen = observation
        facts = {
            "shield_risk": float(decision.risk[0]),
            "shield_replaced": bool(decision.replaced[0]),
            "shield_reward_change": float(decision.reward_change[0]),
        }
        return observation, reward, terminated, truncated, info | facts

    def save_layer(self) -> Any:
        """What this wrapper keeps of an episode; see ``vlsafe_envs.snapshots``."""
        return self._seen

    def restore_layer(self, state: Any) -> None:
        """Inverse of :meth:`save_layer`."""
        self._seen = state

    def _note(self, action: Any, taken: Any, decision: Decision) -> None:
        if self._log is None:
            return
        entry = {
            "episode": self.episode,
            "step": self.steps,
            "proposed": np.asarray(action).tolist(),
            "taken": np.asarray(taken).tolist(),
            "risk": round(float(decision.risk[0]), 4),
            "taken_risk": round(float(decision.taken_risk[0]), 4),
            "reward_change": round(float(decision.reward_change[0]), 4),
        }
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


class ShieldedPolicy:
    """A policy behind a shield, with the ``predict`` of Stable-Baselines3's.

    Args:
        policy: anything with ``predict`` and spaces; None: nobody proposes anything, and
            :func:`best_actions` are taken.
        model: its observations are among the policy's.
        threshold: as of :class:`SafetyShield`.

    Raises:
        ValueError: for another action space or a threshold out of range.
    """

    def __init__(self, policy: Any, model: RiskModel, threshold: float | None = None) -> None:
        self.policy, self.model = policy, model
        self.threshold = shield_threshold(model, threshold)
        if policy is not None:
            check_actions(model, policy.action_space, "the policy")
        self.observation_space = (policy or model).observation_space
        self.action_space = model.action_space

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Array, Any]:
        """Actions and the policy's next state, for one observation or a batch."""
        shown = _named(self.model, observation)
        if shown is None:
            raise ValueError(
                f"the shield sees {list(self.model.observation_space.spaces)}, the observation is "
                "no dictionary; shield the environment instead (SafetyShield with a `sense`)"
            )
        name, space = next(iter(self.model.observation_space.spaces.items()))
        single = np.ndim(shown[name]) == len(space.shape or ())
        obs = {k: np.asarray(x)[None] if single else np.asarray(x) for k, x in shown.items()}
        if self.policy is None:
            action = best_actions(self.model, obs, self.threshold)
            return action[0] if single else action, state
        proposed, state = self.policy.predict(observation, state, episode_start, deterministic)
        proposed = np.asarray(proposed)[None] if single else proposed
        action = decide(self.model, obs, proposed, self.threshold).action
        return action[0] if single else action, state


def _own_sense(env: gym.Env[Any, Any], model: RiskModel) -> Sense | None:
    """How a model sees an environment that can tell more than it shows; None: by what it shows."""
    wanted, space = model.observation_space.spaces, env.observation_space
    shown = space.spaces if isinstance(space, gym.spaces.Dict) else {}
    alone = len(wanted) == 1 and space.shape == next(iter(wanted.values())).shape
    if set(wanted) <= set(shown) or alone or not hasattr(env.unwrapped, "observe"):
        return None
    kind = "image" if "image" in wanted else WAYS if WAYS in wanted else VEHICLES
    return partial(_observed, kind)


def _observed(kind: str, env: Any) -> Mapping[str, Array]:
    seen = env.unwrapped.observe(kind)
    return seen if isinstance(seen, Mapping) else {kind: seen}


def _named(model: RiskModel, observation: Any) -> Mapping[str, Any] | None:
    """An observation by its parts' names; None where one without a name is none of the model's."""
    if isinstance(observation, Mapping):
        return observation
    (name, space), *others = model.observation_space.spaces.items()
    shape = np.shape(observation)
    if others or space.shape not in (shape, shape[1:]):
        return None
    return {name: observation}


def shield_threshold(model: RiskModel, given: float | None, name: str = "threshold") -> float:
    """The threshold that is given under ``name``, or else the model's, in [0, 1]."""
    value = model.config.threshold if given is None else given
    return one_number(value, name, "the shield", 0.0, 1.0)


def check_actions(model: RiskModel, space: gym.Space[Any], whose: str) -> None:
    """Raise ``ValueError`` for another action space than the risk model's."""
    if space != model.action_space:
        raise ValueError(
            f"the risk model is of actions {model.action_space}, {whose} has {space}; train one "
            "for it with `vlsafe train-risk`"
        )
