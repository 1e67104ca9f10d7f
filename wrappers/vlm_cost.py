"""Puts a judge's safety score and the CMDP's cost into ``info``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from .frame_windows import FrameHistory, context_frames
from .scorer import Frames, Infos, SafetyScorer, check_scores, frame_size, make_scorer

COST_MODES = ("either", "env", "vlm")


def cost_from_score(safety_score: npt.ArrayLike, threshold: float = 0.5) -> npt.NDArray[np.float64]:
    """Cost in [0, 1] of a safety score p: ``clip((threshold - p) / threshold, 0, 1)``.

    Zero from ``threshold`` upwards, 1 at p = 0, linear between; NaN (no label) stays NaN.
    """
    _check_threshold(threshold)
    score = np.asarray(safety_score, np.float64)
    return np.clip((threshold - score) / threshold, 0.0, 1.0)


def combine_cost(
    mode: str,
    env_cost: npt.ArrayLike,
    safety_score: npt.ArrayLike,
    terminated: npt.ArrayLike,
    threshold: float = 0.5,
    terminal_weight: float = 10.0,
) -> npt.NDArray[np.float64]:
    """The CMDP's cost from simulator truth and the judge's score; arguments broadcast.

    ``"env"`` is ``env_cost``; ``"vlm"`` is :func:`cost_from_score`, times ``terminal_weight`` on a
    step that terminates the episode (the end cuts the stream of costs, so its last one must weigh
    for those that do not follow); ``"either"`` is the larger of the two.  Where the judge has no
    label (NaN), ``"vlm"`` is NaN and ``"either"`` is ``env_cost``.

    Raises ``ValueError`` for another mode.
    """
    if mode not in COST_MODES:
        raise ValueError(f"unknown cost mode {mode!r}; known: {', '.join(COST_MODES)}")
    env = np.asarray(env_cost, np.float64)
    if mode == "env":
        return env
    weight = np.where(np.asarray(terminated, bool), terminal_weight, 1.0)
    vlm = cost_from_score(safety_score, threshold) * weight
    return vlm if mode == "vlm" else np.fmax(env, vlm)


def _check_threshold(threshold: float) -> None:
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"threshold must lie in (0, 1], got {threshold}")


class FrameJudge:
    """A scorer, and how the cost is made from its scores; judges any number of frames in one call.

    Args:
        scorer: see :func:`make_scorer`.
        cost: ``"either"``, ``"vlm"`` or ``"env"``, see :func:`combine_cost`.
        threshold: safety score under which the judge's cost begins.
        terminal_weight: factor of the judge's cost on a terminating step.

    Raises ``ValueError`` for an unknown scorer or cost mode, or values out of range.
    """

    def __init__(
        self,
        scorer: str | SafetyScorer = "bundled",
        cost: str = "either",
        threshold: float = 0.5,
        terminal_weight: float = 10.0,
    ) -> None:
        if cost not in COST_MODES:
            raise ValueError(f"unknown cost mode {cost!r}; known: {', '.join(COST_MODES)}")
        _check_threshold(threshold)
        if terminal_weight < 0:
            raise ValueError(f"terminal_weight must not be negative, got {terminal_weight}")
        self.scorer = make_scorer(scorer)
        self.cost = cost
        self.threshold = threshold
        self.terminal_weight = terminal_weight

    @property
    def context_frames(self) -> int:
        """How many frames the scorer looks at to judge one, see :mod:`~.frame_windows`."""
        return context_frames(self.scorer)

    @property
    def frame_size(self) -> int | None:
        """Height and width [px] of the frames that the scorer looks at; ``None``: it takes any."""
        return frame_size(self.scorer)

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

        Raises ``ValueError`` when the scorer returns another shape or values outside [0, 1].
        """
        score = check_scores(self.scorer(frames, infos), len(infos)).astype(np.float64)
        if env_cost is None:
            env_cost = [float(info.get("env_cost", info.get("cost", 0.0))) for info in infos]
        truth = np.array(env_cost, np.float64)
        arguments = (truth, score, terminated, self.threshold, self.terminal_weight)
        return {
            "safety_score": score,
            "env_cost": truth,
            "vlm_cost": combine_cost("vlm", *arguments),
            "cost": combine_cost(self.cost, *arguments),
        }


class VLMCost(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Judges the frame of every step and writes ``safety_score``, ``vlm_cost`` and ``cost``.

    The frame is ``env.safety_frame()`` where some layer of ``env`` has that method, otherwise
    ``env.render()``, uint8 ``(H, W, 3)``.  An environment whose ``safety_frame_sizes`` hold the
    scorer's ``frame_size`` is asked for ``env.safety_frame(frame_size)``.

    ``info["env_cost"]`` is the simulator's own cost; an environment that only has ``info["cost"]``
    (Safety-Gymnasium's habit) gets it copied there, and one that has neither counts 0.
    Observations, rewards and episode ends are left alone.  A scorer of several frames sees those
    of the present episode.

    Args:
        env: any Gymnasium environment that can show an RGB frame.
        scorer: see :func:`make_scorer`.
        cost: ``"either"``, ``"vlm"`` or ``"env"``, see :func:`combine_cost`.
        threshold: safety score under which the judge's cost begins.
        terminal_weight: factor of the judge's cost on a terminating step.

    Raises:
        ValueError: unknown scorer or cost mode; threshold or weight out of range; an environment
            that renders nothing.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        scorer: str | SafetyScorer = "bundled",
        cost: str = "either",
        threshold: float = 0.5,
        terminal_weight: float = 10.0,
    ) -> None:
        gym.utils.RecordConstructorArgs.__init__(
            self, scorer=scorer, cost=cost, threshold=threshold, terminal_weight=terminal_weight
        )
        super().__init__(env)
        self.judge = FrameJudge(scorer, cost, threshold, terminal_weight)
        length = self.judge.context_frames
        self._history = FrameHistory(length) if length > 1 else None
        self._frame_sizes: Sequence[int] = ()  # that the environment can draw when asked to
        if env.has_wrapper_attr("safety_frame_sizes"):
            self._frame_sizes = env.get_wrapper_attr("safety_frame_sizes")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, self._judge(info, terminated=False, is_first=True)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, self._judge(info, bool(terminated))

    def _judge(
        self, info: Mapping[str, Any], terminated: bool, is_first: bool = False
    ) -> dict[str, Any]:
        """A copy of ``info`` with the score and the costs of the present frame."""
        frames = self._frame()[None]
        if self._history is not None:
            frames = self._history.push(frames, [is_first])
        verdict = self.judge(frames, [info], [terminated])
        return {**info, **{name: float(value[0]) for name, value in verdict.items()}}

    def _frame(self) -> Frames:
        if self.env.has_wrapper_attr("safety_frame"):
            draw, size = self.env.get_wrapper_attr("safety_frame"), self.judge.frame_size
            return np.asarray(draw(size) if size in self._frame_sizes else draw())
        frame = self.env.render()
        if not isinstance(frame, np.ndarray):
            raise ValueError(
                f"env.render() returned {type(frame).__name__}, not a frame; make the environment "
                'with render_mode="rgb_array" or give it a safety_frame() method'
            )
        return frame
