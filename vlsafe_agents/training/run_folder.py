"""What is in an agent's folder before it is trained there."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from vlsafe_agents.common.typed_config import changed_keys
from vlsafe_agents.training.facts import TRAINING_FILE
from vlsafe_agents.training.settings import (
    MODEL_FILE,
    SETTINGS_FILE,
    TrainSettings,
    read_settings,
)
from wrappers.files import read_json


def _remove_agent(out: Path) -> None:
    """Remove an agent's folder, and nothing else.

    Raises:
        FileExistsError: for a folder with other contents, which were not made by training.
    """
    if not out.exists():
        return
    if not (out / SETTINGS_FILE).exists() and any(out.iterdir()):
        raise FileExistsError(
            f"{out} holds no agent (no {SETTINGS_FILE}), so --overwrite does not remove it; choose "
            "another --out"
        )
    shutil.rmtree(out)


def is_finished(settings: TrainSettings, out: Path, overwrite: bool) -> bool:
    """Whether these settings have been trained to the end in ``out``; says so.

    Args:
        overwrite: remove what is there first.

    Raises:
        FileExistsError: where there is an agent, or the beginning of one, of other settings.
    """
    from vlsafe_agents.training.checkpoints import CHECKPOINT

    if overwrite:
        _remove_agent(out)
    trained = [name for name in (MODEL_FILE, CHECKPOINT) if (out / name).exists()]
    if not (out / SETTINGS_FILE).exists() or not trained:
        return False  # a run that was ended before its first checkpoint leaves nothing to lose
    changed = changed_keys(read_settings(out).to_json(), settings.to_json())
    if changed:
        raise FileExistsError(
            f"{out} holds an agent with another {', '.join(changed)}; choose another --out or use "
            "--overwrite"
        )
    finished = MODEL_FILE in trained and (out / TRAINING_FILE).exists()
    if finished:
        print(f"{out} is trained already; --overwrite trains it again", file=sys.stderr)
    return finished


def read_facts(folder: Path) -> dict[str, Any]:
    """What learning has cost, of an agent that is trained."""
    remedy = f"train the agent again with `vlsafe train --out {folder} --overwrite`"
    return dict(read_json(folder / TRAINING_FILE, remedy=remedy))
