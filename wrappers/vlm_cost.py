"""Puts a scorer's safety score and the CMDP's cost into ``info``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal, SupportsFloat, get_args

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from wrappers.checks import check_numbers, one_cost, one_number, reset_values, step_values
from wrappers.combinator import Wrapper
from wrappers.frame_windows import FrameHistory
from wrappers.registry import make_scorer
from wrappers.safety_frames import SafetyFrames
from wrappers.scorer import BUNDLED, Frames, Infos, SafetyScorer, check_scores, frame_size

CostMode = Literal["either", "env", "vlm"]
COST_MODES = get_args(CostMode)


def cost_from_score(safety_score: npt.ArrayLike, threshold: float = 0.5) -> npt.NDArray[np.float64]:
    """Cost in [0, 1] of a safety score p: ``clip((threshold - p) / threshold, 0, 1)``.

    Zero from ``threshold`` upwards, 1 at p = 0, linear between; NaN (no label) stays NaN.
    """
    _check_threshold(threshold)
    score = np.asarray(safety_score, np.float64)
    return np.clip((threshold - score) / threshold, 0.0, 1.0)


def check_cost_mode(mode: str) -> None:
    """Refuse what is none of :data:`COST_MODES`.

    Raises:
        ValueError: for another mode; the message names them.
    """
    if not isinstance(mode, str) or mode not in COST_MODES:
        raise ValueError(f"unknown cost mode {mode!r}; known: {', '.join(COST_MODES)}")


def combine_cost(
    mode: str,
    env_cost: npt.ArrayLike,
    safety_score: npt.ArrayLike,
    terminated: npt.ArrayLike,
    threshold: float = 0.5,
    terminal_weight: float = 10.0,
) -> npt.NDArray[np.float64]:
    """The CMDP's cost from simulator truth and the safety score; arguments broadcast.

    ``"env"`` is ``env_cost``; ``"vlm"`` is :func:`cost_from_score`, times ``terminal_weight`` on a
    step that terminates the episode (the end cuts the stream of costs, so its last one must weigh
    for those that do not follow); ``"either"`` is the larger of the two.  Where there is no
    label (NaN), ``"vlm"`` is NaN and ``"either"`` is ``env_cost``.

    Raises:
        ValueError: for another mode.
    """
    check_cost_mode(mode)
    env = np.asarray(env_cost, np.float64)
    if mode == "env":
        return env
    weight = np.where(np.asarray(terminated, bool), terminal_weight, 1.0)
    vlm = cost_from_score(safety_score, threshold) * weight
    return vlm if mode == "vlm" else np.fmax(env, vlm)


def _check_threshold(threshold: float) -> None:
    if one_number(threshold, "threshold", low=0.0, high=1.0) == 0.0:
        raise ValueError("threshold is 0, so that nothing would ever cost; expected one above 0")


def reported_cost(info: Mapping[str, Any], where: str = "") -> float | None:
    """The simulator's own cost: ``info["env_cost"]``, or else ``info["cost"]``; ``None`` for none.

    Raises:
        ValueError: for a cost that is negative or no number.
    """
    name = next((name for name in ("env_cost", "cost") if name in info), None)
    if name is None:
        return None
    return one_cost(info[name], f"info[{name!r}]", where)


class FrameCost(Wrapper):
    """A scorer, and how the cost is made from its scores, for any number of frames in one call.

    Args:
        scorer: see :func:`make_scorer`.
        cost: ``"either"``, ``"vlm"`` or ``"env"``, see :func:`combine_cost`.
        threshold: safety score under which its cost begins.
        terminal_weight: factor of that cost on a terminating step.

    Raises:
        ValueError: for an unknown scorer or cost mode, or values out of range.
    """

    def __init__(
        self,
        scorer: str | SafetyScorer | Callable[..., Any] = "bundled",
        cost: str = "either",
        threshold: float = 0.5,
        terminal_weight: float = 10.0,
    ) -> None:
        check_cost_mode(cost)
        _check_threshold(threshold)
        one_number(terminal_weight, "terminal_weight", low=0.0)
        super().__init__(make_scorer(scorer))
        self.cost = cost
        self.threshold = threshold
        self.terminal_weight = terminal_weight

    def __call__(
        self,
        frames: Frames,
        infos: Infos,
        terminated: npt.ArrayLike,
        env_cost: npt.ArrayLike | None = None,
    ) -> dict[str, npt.NDArray[np.float64]]:
        """``safety_score``, ``env_cost``, ``vlm_cost`` and ``cost``, each ``(N,)``.

        ``frames (N, H, W, 3)`` and ``terminated (N,)`` have one row a step, as ``infos`` have one
        mapping; the simulator's cost is ``env_cost (N,)`` where that is given (then ``infos`` are
        only handed on to the scorer), or their ``env_cost``, else their ``cost``, else 0.  With
        ``context_frames`` k above 1 windows ``(N, k, H, W, 3)`` take the place of frames.

        Raises:
            ValueError: when the scorer returns another shape or values outside [0, 1], and for
                costs that are negative or no numbers.
        """
        score = check_scores(self.scorer(frames, infos), len(infos)).astype(np.float64)
        if env_cost is None:
            costs = [reported_cost(info, f"environment {n}") for n, info in enumerate(infos)]
            env_cost = [0.0 if cost is None else cost for cost in costs]
        truth = np.array(env_cost, np.float64)
        check_numbers(truth, "env_cost", low=0.0)
        arguments = (truth, score, terminated, self.threshold, self.terminal_weight)
        return {
            "safety_score": score,
            "env_cost": truth,
            "vlm_cost": combine_cost("vlm", *arguments),
            "cost": combine_cost(self.cost, *arguments),
        }


FrameJudge = FrameCost  # its name before


class VLMCost(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Scores the frame of every step and writes ``safety_score``, ``vlm_cost`` and ``cost``.

    What the frame is, :class:`~.safety_frames.SafetyFrames` says.

    ``info["env_cost"]`` is the simulator's own cost; an environment that only has ``info["cost"]``
    (Safety-Gymnasium's habit) gets it copied there, and one that has neither counts 0, with a
    warning.  Observations, rewards and episode ends are left alone, but must be of Gymnasium's
    form and finite.  A scorer of several frames sees those of the present episode.

    Warns where the bundled scorer is to score other pictures than those that it knows.

    Args:
        env: any Gymnasium environment that can show an RGB frame.
        scorer: see :func:`make_scorer`.
        cost: ``"either"``, ``"vlm"`` or ``"env"``, see :func:`combine_cost`.
        threshold: safety score under which its cost begins.
        terminal_weight: factor of that cost on a terminating step.

    Raises:
        TypeError: for what is no Gymnasium environment.
        ValueError: unknown scorer or cost mode; threshold or weight out of range; an environment
            that renders nothing, whose costs are negative or no numbers, whose ``step`` is not
            Gymnasium's, or, with ``cost="env"``, that reports no cost.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        scorer: str | SafetyScorer | Callable[..., Any] = "bundled",
        cost: str = "either",
        threshold: float = 0.5,
        terminal_weight: float = 10.0,
    ) -> None:
        gym.utils.RecordConstructorArgs.__init__(
            self, scorer=scorer, cost=cost, threshold=threshold, terminal_weight=terminal_weight
        )
        if not isinstance(env, gym.Env):
            raise TypeError(
                f"VLMCost wraps one Gymnasium environment, not a {type(env).__name__}; wrap each "
                "environment before they are put together"
            )
        super().__init__(env)
        self.frame_cost = FrameCost(scorer, cost, threshold, terminal_weight)
        length = self.frame_cost.context_frames
        self._history = FrameHistory(length) if length > 1 else None
        self._frame = SafetyFrames(env, frame_size(self.frame_cost.scorer))
        self._name = type(env.unwrapped).__name__ if env.spec is None else env.spec.id
        self._step = 0
        self._cost_missed = False
        # in this order: some scorers hash their weights, or ask a server, to say who they are
        if not self._frame.drawn_for_scorers and _is_bundled(self.frame_cost.scorer.identity):
            warnings.warn(
                "the bundled scorer has only seen the drawings of vlsafe's own roads, which this "
                f"environment, {self._name}, does not offer (it has no safety_frame()): what it "
                "says of its pictures may mean nothing. Give another scorer "
                "(docs/scorers.md), or compare its scores with the simulator's costs first",
                stacklevel=2,
            )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        self._step = 0
        result = self.env.reset(seed=seed, options=options)
        observation, info = reset_values(result, self._where)
        return observation, self._with_costs(info, terminated=False)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        self._step += 1
        observation, reward, terminated, truncated, info = step_values(
            self.env.step(action), self._where
        )
        return observation, reward, terminated, truncated, self._with_costs(info, terminated)

    def save_layer(self) -> dict[str, Any]:
        """What this wrapper keeps of an episode, without the environment inside."""
        frames = None if self._history is None else self._history.save()
        return {"length": self.frame_cost.context_frames, "step": self._step, "frames": frames}

    def restore_layer(self, state: Mapping[str, Any]) -> None:
        """Inverse of :meth:`save_layer`.

        Raises:
            ValueError: for the state of a wrapper whose scorer looks at another number of frames.
        """
        if state["length"] != self.frame_cost.context_frames:
            raise ValueError(
                f"the scorer looked at {state['length']} frames at once where this was saved, here "
                f"it looks at {self.frame_cost.context_frames}: use the same scorer"
            )
        self._step = state["step"]
        if self._history is not None:
            self._history.restore(state["frames"])

    @property
    def _where(self) -> str:
        """Names the present step, for messages."""
        return f"{self._name}, " + (f"step {self._step}" if self._step else "reset")

    def _with_costs(self, info: dict[str, Any], terminated: bool) -> dict[str, Any]:
        """A copy of ``info`` with the score and the costs of the present frame."""
        frames = self._frame()[None]
        if self._history is not None:
            frames = self._history.push(frames, [self._step == 0])
        verdict = self.frame_cost(frames, [info], [terminated], [self._env_cost(info)])
        return {**info, **{name: float(value[0]) for name, value in verdict.items()}}

    def _env_cost(self, info: Mapping[str, Any]) -> float:
        """The simulator's own cost; a missing one, but for the reset's, is told once."""
        cost = reported_cost(info, self._where)
        if cost is None and self._step and not self._cost_missed:
            self._cost_missed = True
            message = (
                f"{self._where}: the environment reports neither info['env_cost'] nor info['cost']"
            )
            if self.frame_cost.cost == "env":
                raise ValueError(f"{message}, of which cost='env' is made; use cost='vlm'")
            warnings.warn(f"{message}: its own cost counts as 0", stacklevel=4)
        return 0.0 if cost is None else cost


def _is_bundled(identity: Any) -> bool:
    """Whether the bundled scorer is one of those that an identity names."""
    if isinstance(identity, Mapping):
        own = identity.get("name") == "clip" and identity.get("model") == BUNDLED
        return own or any(_is_bundled(part) for part in identity.values())
    return isinstance(identity, list | tuple) and any(_is_bundled(part) for part in identity)
