"""One agent of a report: what it is, how it drove, what its learning cost, its colour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_agents.evaluation.roles import UNKNOWN, Role
from vlsafe_agents.evaluation.stored import Figures, StoredEvaluation
from vlsafe_agents.foresight import Foresight

Columns = dict[str, npt.NDArray[np.float64]]
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class AgentRun:
    """What one agent left in the run folder; None or empty where it left nothing."""

    name: str  # folder name, and by what it was shielded
    role: Role = UNKNOWN
    evaluation: StoredEvaluation | None = None
    settings: Mapping[str, Any] | None = None  # that it was trained with
    costs: Figures = field(default_factory=dict)  # of learning
    progress: Columns = field(default_factory=dict)
    episodes: dict[str, Path] = field(default_factory=dict)  # file stem -> file
    open_loop: Arrays | None = None
    foresight: Foresight | None = None
    colour: str = "#8a8f98"
    mark: str = "o"  # in charts
    folder: Path = Path()
    shielded: bool = False  # the same agent, with its actions checked
    at_limits: tuple[StoredEvaluation, ...] = ()  # where it was asked to keep a cost limit

    @property
    def title(self) -> str:
        """What it is, as far as that is known, and its folder's name."""
        return self.role.titled(self.name)

    @property
    def is_driver(self) -> bool:
        """Whether it has not learned here, but came with the environments."""
        return self.role.key in ("expert", "driver") and not self.shielded

    @property
    def is_model_only(self) -> bool:
        """Whether it is a world model that policies share: nobody need drive by it."""
        return self.role.key == "world_model"

    def summary(self, metric: str) -> dict[str, float | None] | None:
        """``{"mean", "low", "high"}`` of a metric; None where it is not known or undefined."""
        entry = None if self.evaluation is None else self.evaluation.summary[metric]
        return None if entry is None or entry["mean"] is None else entry

    def mean(self, metric: str) -> float | None:
        """The mean of a metric; None where it is not known or undefined."""
        entry = self.summary(metric)
        return None if entry is None else entry["mean"]

    def drove_where(self, other: AgentRun) -> bool:
        """Whether both were evaluated in one environment, if perhaps on other seeds."""
        if self.evaluation is None or other.evaluation is None:
            return False
        return self.evaluation.differs_in(other.evaluation) in (None, "seeds")

    def training(self, key: str) -> float | None:
        """A figure of what learning cost, such as ``collisions_caused``; None: not known."""
        return self.costs.get(key)

    @property
    def world_model(self) -> str | None:
        """The folder of the finished world model that it shares, as its settings name it."""
        folder = (self.settings or {}).get("world_model")
        return folder if isinstance(folder, str) else None

    @property
    def model_folder(self) -> Path:
        """Where its world model was trained: one that it shares, or its own."""
        return Path(self.world_model or self.folder).resolve()

    @property
    def episode_count(self) -> int:
        """Evaluated episodes."""
        return 0 if self.evaluation is None else len(self.evaluation.records)


# Legible on light and dark ground; agents of one kind have the kind's own colour and others.
_COLOURS = {
    "Expert (rule-based)": "#7d8590",
    "Cost-blind": "#a371c9",
    "VLSafe gated": "#3b82d6",
    "VLSafe Lagrangian": "#1f9d8a",
    "PPO-Lag": "#d9822b",
    "PPO": "#c75d5d",
    "Risk planner": "#6a8f3c",
    "Behaviour cloning": "#a88b4c",
    "World model only": "#8a8f98",
}
_FURTHER = (
    "#b85c9e", "#6a8f3c", "#5fa8d3", "#c9a227", "#6f6fd8", "#3c8d93",
    "#d16f7e", "#9c6b4f", "#7fae86", "#8c5aa8", "#4f7cac", "#b5895b",
)  # fmt: skip


def coloured(agents: list[AgentRun]) -> list[AgentRun]:
    """The agents, each with a colour of its own as far as there are enough."""
    used: list[str] = []
    for agent in agents:
        choice = [_COLOURS.get(agent.role.label, _FURTHER[0]), *_FURTHER]
        unused = [colour for colour in choice if colour not in used]
        used.append(unused[0] if unused else choice[len(used) % len(choice)])
    return [replace(agent, colour=colour) for agent, colour in zip(agents, used, strict=True)]
