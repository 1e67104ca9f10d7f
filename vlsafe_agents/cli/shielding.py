"""The shield of ``vlsafe evaluate --shield``: a risk model around whatever is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlsafe_agents.cli.environments import AnyEnv
    from vlsafe_agents.risk.run_folder import RiskRun

OPTION = "--shield-threshold"
_ADDED = ("env_steps", "collisions_caused", "gradient_steps", "wall_s")


@dataclass(frozen=True)
class Shield:
    """A trained risk model and the chance of an event from which on it steps in."""

    folder: Path
    run: RiskRun
    threshold: float
    sha256: str  # of the model's file

    @property
    def stated(self) -> dict[str, Any]:
        """What an evaluation says of it."""
        return {"model": str(self.folder), "sha256": self.sha256, "threshold": self.threshold}

    def env(self, make_env: Callable[[], Any]) -> Callable[[], Any]:
        """``make_env`` with the shield around what it makes."""
        sees = partial(_seen, self.run.observation, self.run.model.told)
        return partial(_shielded, make_env, self.run.model, self.threshold, sees)

    def vector(self, make_envs: Callable[[int], Any]) -> Callable[[int], Any]:
        """The same for several environments that are stepped together."""
        return partial(
            _shielded_together, make_envs, self.run.model, self.threshold, self.run.observation
        )

    def costs(self, training: Mapping[str, Any], has_learned: bool) -> dict[str, Any]:
        """What the agent's learning cost, and the risk model's with it."""
        from vlsafe_agents.training.facts import add, figures

        own = figures(self.run.facts)
        if not has_learned:
            return dict(own)
        return {**training, **{k: add(training.get(k), own.get(k)) for k in _ADDED}}


def read_shield(
    folder: Path, threshold: float | None, choice: AnyEnv, option: str = "--shield"
) -> Shield:
    """The shield of a folder, or of the one that is bundled, for an environment.

    Args:
        folder: or "bundled".
        threshold: None: the one that it was trained with.
        option: which named the folder.

    Raises:
        FileNotFoundError: where there is no finished risk model.
        ValueError: where it was trained in another environment, and for a threshold out of range.
    """
    from vlsafe_agents.cli.environments import EnvChoice
    from vlsafe_agents.risk.bundled import BUNDLED, bundled_folder
    from vlsafe_agents.risk.model import MODEL_FILE
    from vlsafe_agents.risk.run_folder import read_risk
    from vlsafe_agents.risk.shield import shield_threshold
    from wrappers.files import file_sha256

    place = bundled_folder(choice.env_id) if str(folder) == BUNDLED else folder
    run, sha256 = read_risk(place), file_sha256(place / MODEL_FILE)
    learned = run.settings["env"]["env_id"]
    if not isinstance(choice, EnvChoice) or choice.env_id != learned:
        raise ValueError(
            f"{option} {folder}: its risks are those of {learned}, not of {choice.env_id}; train "
            "one there with `vlsafe train-risk`"
        )
    return Shield(folder, run, shield_threshold(run.model, threshold, OPTION), sha256)


def _shielded(make_env: Callable[[], Any], model: Any, threshold: float, sees: Any) -> Any:
    from vlsafe_agents.risk import SafetyShield

    return SafetyShield(make_env(), model, threshold, sees)


def _seen(kind: str, told: bool, env: Any) -> Any:
    from vlsafe_envs.drivers.macros import tail_beginnings

    seen = _named(kind, env.unwrapped.observe(kind))
    return {**seen, "beginnings": tail_beginnings(env)} if told else seen


def _named(kind: str, seen: Any) -> Mapping[str, Any]:
    return seen if isinstance(seen, Mapping) else {kind: seen}


def _shielded_together(
    make_envs: Callable[[int], Any], model: Any, threshold: float, kind: str, num_envs: int
) -> Any:
    from vlsafe_agents.risk import ShieldedVectorEnv

    return ShieldedVectorEnv(make_envs(num_envs), model, partial(seen_by_all, kind), threshold)


def seen_by_all(kind: str, envs: Any) -> Any:
    """What a risk model sees in environments that are stepped together, a mapping for each."""
    return [_named(kind, seen) for seen in envs.call("observe", kind)]
