"""One drive as arrays, and the rule that makes the training cost of its steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

CostMode = Literal["vlm", "env", "either"]
Array = npt.NDArray[Any]


def check_cost_mode(mode: str) -> None:
    """Raise ``ValueError`` unless ``mode`` is one of "vlm", "env" and "either"."""
    if mode not in get_args(CostMode):
        raise ValueError(f"unknown cost mode {mode!r}; choose one of {get_args(CostMode)}")


def training_cost(
    mode: CostMode,
    env_cost: Array,
    safety_score: Array | None,
    terminated: Array,
    threshold: float = 0.5,
    terminal_weight: float = 10.0,
) -> npt.NDArray[np.float32]:
    """The CMDP's cost from simulator truth and the judge's opinion; all arrays are ``(N,)``.

    ``"env"``: ``env_cost``.  ``"vlm"``: ``clip((threshold - p) / threshold, 0, 1)``, times
    ``terminal_weight`` where the episode terminated, because termination cuts the cost stream.
    ``"either"``: the larger of the two.  The same rule as the online wrapper's.

    Raises ``ValueError`` for an unknown mode and when the mode needs a missing ``safety_score``.
    """
    check_cost_mode(mode)
    env_cost = np.asarray(env_cost, np.float32)
    if mode == "env":
        return env_cost.copy()
    if safety_score is None:
        raise ValueError(
            f"cost={mode!r} needs the judge's safety_score, which these data do not have; "
            "add it with `vlsafe label`, or use cost='env'"
        )
    doubt = np.clip((threshold - np.asarray(safety_score, np.float64)) / threshold, 0.0, 1.0)
    vlm_cost = (doubt * np.where(terminated, terminal_weight, 1.0)).astype(np.float32)
    return vlm_cost if mode == "vlm" else np.maximum(env_cost, vlm_cost)


@dataclass(frozen=True)
class Episode:
    """A drive of T steps: T + 1 observations, the reset's included, and T actions.

    Costs and scores have T + 1 entries like Minari's infos: entry t was received on arriving at
    observation t, so that ``reward[t]`` (T entries) belongs with ``env_cost[t + 1]``.

    Raises ``ValueError`` on construction for wrong lengths, NaN or infinite numbers, negative
    costs and scores outside [0, 1].
    """

    obs: dict[str, Array]  # each (T + 1, ...)
    action: Array  # (T,) int64 or (T, A) float32
    reward: Array  # (T,)
    env_cost: Array  # (T + 1,), simulator truth, entry 0 belongs to the reset
    terminated: bool
    safety_score: Array | None = None  # (T + 1,) in [0, 1], 1 = safe
    seed: int | None = None
    driver: str = ""
    infos: dict[str, Array] = field(default_factory=dict)  # each (T + 1, ...), anything else

    def __post_init__(self) -> None:
        steps = len(self.action)
        if steps == 0:
            raise ValueError("an episode needs at least one step; this one has none")
        if not self.obs:
            raise ValueError("an episode needs at least one observation kind; obs is empty")
        rows = {f"obs[{name!r}]": array for name, array in self.obs.items()}
        rows["env_cost"] = self.env_cost
        if self.safety_score is not None:
            rows["safety_score"] = self.safety_score
        rows.update({f"infos[{name!r}]": array for name, array in self.infos.items()})
        for name, array in rows.items():
            if len(array) != steps + 1:
                raise ValueError(
                    f"{name} has {len(array)} entries, expected {steps + 1}: one more than the "
                    f"{steps} actions, because the reset's observation counts"
                )
        if len(self.reward) != steps:
            raise ValueError(f"reward has {len(self.reward)} entries, expected {steps}")
        check_numbers("reward", self.reward)
        check_numbers("env_cost", self.env_cost, low=0.0)
        if self.safety_score is not None:
            check_numbers("safety_score", self.safety_score, low=0.0, high=1.0)

    @property
    def num_steps(self) -> int:
        """Steps T, one fewer than the observations."""
        return len(self.action)

    @property
    def unsafe_steps(self) -> int:
        """Steps with a cost by simulator truth."""
        return int((self.env_cost[1:] > 0).sum())


def check_numbers(
    name: str, values: Array, low: float | None = None, high: float | None = None
) -> None:
    """Raise ``ValueError`` that names the first entry that is not finite or outside the range."""
    bad = ~np.isfinite(values)
    if low is not None:
        bad |= values < low
    if high is not None:
        bad |= values > high
    if bad.any():
        where = int(np.flatnonzero(np.asarray(bad).reshape(-1))[0])
        value = np.asarray(values).reshape(-1)[where]
        kind = (
            ""
            if low is None
            else f" of at least {low}" + ("" if high is None else f", at most {high}")
        )
        raise ValueError(f"{name} holds {value} at entry {where}; expected a finite number{kind}")
