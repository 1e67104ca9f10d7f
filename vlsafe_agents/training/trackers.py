"""Runs of experiment trackers, Weights & Biases or Trackio, that an agent's log goes to as well.

What they are sent is what ``progress.csv`` and TensorBoard have: the numbers that the logger of
Stable-Baselines3 records, each row at its timestep.
"""

from __future__ import annotations

import hashlib
import numbers
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter

from wrappers.checks import did_you_mean

TRACKERS = ("wandb", "trackio")  # packages, whose functions have the same names
PROJECT = "vlsafe"


class Run(Protocol):
    """What ``wandb.init`` and ``trackio.init`` return, as far as it is needed here."""

    def log(self, metrics: dict[str, Any], step: int | None = None) -> Any:
        """Keep numbers of one timestep."""

    def finish(self) -> Any:
        """End the run."""


class RunWriter(KVWriter):
    """A format of Stable-Baselines3's logger: its numbers go to a tracker's run.

    Args:
        finish: end the run when the logger is closed.
    """

    def __init__(self, run: Run, finish: bool = True) -> None:
        self._run, self._finish = run, finish

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, Any], step: int = 0
    ) -> None:
        """Send a row; what is no number (text, pictures, films) is left out."""
        found = {
            key: float(value) if not isinstance(value, numbers.Integral) else int(value)
            for key, value in key_values.items()
            if isinstance(value, numbers.Real) and not isinstance(value, bool)
        }
        if found:
            self._run.log(found, step=step)

    def close(self) -> None:
        """End the run, if it is this writer's."""
        if self._finish:
            self._run.finish()


class TrackerCallback(BaseCallback):
    """Sends the log of any algorithm of Stable-Baselines3, ours included, to a tracker's run.

    ``model.learn(20_000, callback=TrackerCallback(wandb.init(project="mine")))``.  The run stays
    open.
    """

    def __init__(self, run: Run, verbose: int = 0) -> None:
        super().__init__(verbose)
        self._writer = RunWriter(run, finish=False)

    def _on_training_start(self) -> None:
        self.logger.output_formats.append(self._writer)

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self.logger.output_formats.remove(self._writer)


def find_tracker(tracker: str) -> tuple[Any, str]:
    """The package of a tracker, and the project.

    Args:
        tracker: ``"wandb"`` or ``"trackio"``, or with a project, ``"wandb:mine"``.

    Raises:
        ValueError: for an unknown tracker.
        ImportError: where it is not installed.
    """
    name, _, project = tracker.partition(":")
    if name not in TRACKERS:
        raise ValueError(
            f"--track {tracker}: unknown tracker {name!r}; choose one of {', '.join(TRACKERS)}"
            f"{did_you_mean(name, TRACKERS)}"
        )
    try:
        return import_module(name), project or PROJECT
    except ImportError as error:
        raise ImportError(
            f"--track {tracker} needs {name}: pip install 'vlsafe[{name}]' ({error})"
        ) from error


def start_run(tracker: str, out: Path, config: Mapping[str, Any]) -> Run:
    """A tracker's run for a training in a folder; the same folder and settings go on in the same.

    Args:
        tracker: as of :func:`find_tracker`.
        out: folder of the agent, whose name the run has.
        config: settings that the run shows.

    Raises:
        ValueError, ImportError: as :func:`find_tracker`.
        RuntimeError: where the tracker starts none, as without an account that it needs.
    """
    module, project = find_tracker(tracker)
    same = hashlib.sha256(f"{out.resolve()} {sorted(config.items())}".encode()).hexdigest()[:12]
    if module.__name__ == "wandb":
        known = {"name": out.name, "id": same, "dir": str(out)}
    else:  # Trackio knows runs by their names
        known = {"name": f"{out.name}-{same}"}
    try:
        run: Run = module.init(project=project, config=dict(config), resume="allow", **known)
    except Exception as error:  # of a class of the tracker's own
        raise RuntimeError(f"--track {tracker}: no run was started: {error}") from error
    return run
