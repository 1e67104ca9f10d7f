"""The folder that ``vlsafe train-risk`` writes: whose it is, the model, and what it cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vlsafe_agents.common.typed_config import changed_keys
from vlsafe_agents.common.vehicle_rows import VEHICLES, WAYS
from vlsafe_agents.detection.figures import finds
from vlsafe_agents.evaluation.roles import RISK_PLANNER, role_of
from vlsafe_agents.risk.branching import BranchingConfig
from vlsafe_agents.risk.examination import Examination, judgement
from vlsafe_agents.risk.model import RiskModel
from vlsafe_agents.risk.outcomes import Outcomes
from vlsafe_agents.risk.training import TrainingConfig
from vlsafe_agents.training.facts import TRAINING_FILE
from vlsafe_agents.training.settings import SETTINGS_FILE, EnvName
from wrappers.files import read_json, write_json


@dataclass(frozen=True)
class RiskRun:
    """A finished training."""

    model: RiskModel
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]  # what it cost, and how good the model is

    @property
    def threshold(self) -> float:
        """Of the shield behind which was driven."""
        return self.model.config.threshold

    @property
    def observation(self) -> str:
        """What the model looks at."""
        if self.model.detector is not None:
            return "image"
        return WAYS if WAYS in self.model.observation_space.spaces else VEHICLES


def settings_of(
    env: EnvName,
    mix: Mapping[str, float],
    policy: Mapping[str, str] | None,
    branching: BranchingConfig,
    training: TrainingConfig,
    held_out: int,
    judge: Mapping[str, Any] | None = None,
    seeing: Mapping[str, Any] | None = None,
    start: Mapping[str, str] | None = None,
    ways: bool = False,
    beside: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """All that decides what comes out, as ``settings.json`` holds it.

    Args:
        held_out: states that the model is examined on.
        judge: who was asked; None: nobody.
        seeing: how its detector comes about; None: it is shown the vehicles.
        start: which risk model it begins with; None: none.
        ways: whether it sees the ways that vehicles may take.
        beside: whose outcomes it learns from as well; None: nobody's.
    """
    given = {
        "algo": RISK_PLANNER.key,
        "env": {"env_id": env.env_id, "kwargs": env.kwargs},
        "mix": dict(mix),
        "policy": policy,
        **asdict(branching),
        **asdict(training),
        "held_out": held_out,
        **({} if judge is None else {"judge": judge}),
        **({} if seeing is None else {"detection": seeing}),
        **({} if start is None else {"start": start}),
        **({"observation": WAYS} if ways else {}),
        **({} if beside is None else {"beside": beside}),
    }
    found: dict[str, Any] = json.loads(json.dumps(given))
    return found


def facts_of(
    model: RiskModel,
    examined: Mapping[str, tuple[Outcomes, Examination]],
    config: TrainingConfig,
    seconds: float | None,
    attempts: tuple[int, int] | None,
    beside: Outcomes | None = None,
) -> dict[str, Any]:
    """What a training cost, as ``training.json`` holds it, and how good the model is.

    Collisions caused are all events, also those of leaving the road, in drives and in branches,
    held-out ones too.

    Args:
        examined: on which outcomes, by whose drives they are.
        seconds: that it took [s]; None: not known.
        attempts: steps and events that were simulated in all, more than there are outcomes of where
            an attempt was killed; None: not known.
        beside: outcomes of another road that were learnt from as well; None: none.
    """
    held_out = {name: outcomes.counts for name, (outcomes, _) in examined.items()}
    parts = [model.facts, *held_out.values()]
    steps = sum(part["drive_steps"] + part["branch_steps"] for part in parts)
    events = sum(part["drive_events"] + part["branch_events"] for part in parts)
    all_steps, all_events = attempts or (steps, events)
    pictures = {} if model.detector is None else {"pictures": model.detector.facts}
    others = {} if beside is None else {"learnt beside": beside.counts}
    more = [*pictures.values(), *others.values()]
    more_steps = sum(part["drive_steps"] + part.get("branch_steps", 0) for part in more)
    more_events = sum(part["drive_events"] + part.get("branch_events", 0) for part in more)
    found = {
        name: finds(model.detector, outcomes.obs).to_json()
        for name, (outcomes, _) in examined.items()
        if model.detector is not None
    }
    updates = config.model.updates * (1 + config.rounds)
    return {
        "env_steps": all_steps + more_steps,
        "env_steps_lost": None if attempts is None else all_steps - steps,
        "collisions_caused": all_events + more_events,
        "dataset_steps": 0,
        "dataset_collisions": 0,
        "gradient_steps": updates + (model.detector.config.updates if model.detector else 0),
        "wall_s": seconds,
        "detector": found,
        "simulated": {
            **pictures,
            "learnt from": model.facts,
            **others,
            **{f"held out, {name}": counts for name, counts in held_out.items()},
        },
        "held_out": {name: examination.to_json() for name, (_, examination) in examined.items()},
        "judgement": {
            name: judgement(outcomes, config.model.horizon, config.seed).to_json()
            for name, (outcomes, _) in examined.items()
            if outcomes.judge
        },
    }


def claim(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Mark a folder as that of these settings; returns whether they have been trained there.

    Raises:
        FileExistsError: where it holds something of other settings.
    """
    file = folder / SETTINGS_FILE
    if file.exists():
        changed = changed_keys(read_json(file), settings)
        if changed:
            raise FileExistsError(
                f"{folder} holds something of another {', '.join(changed)}; choose another --out, "
                "or go on with its settings"
            )
        return (folder / TRAINING_FILE).exists()
    folder.mkdir(parents=True, exist_ok=True)
    write_json(file, settings)
    return False


def read_risk(folder: Path) -> RiskRun:
    """What a finished training has left.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: for damaged files.
    """
    remedy = "train a risk model with `vlsafe train-risk`"
    settings = read_json(folder / SETTINGS_FILE, remedy=remedy)
    if role_of("agent", None, settings) != RISK_PLANNER:
        raise ValueError(f"{folder} holds no risk model but an agent; {remedy}")
    facts = read_json(folder / TRAINING_FILE, remedy="finish it with the same `vlsafe train-risk`")
    return RiskRun(RiskModel.load(folder), settings, facts)
