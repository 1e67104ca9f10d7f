"""Risk models that come with vlsafe, one for each of some environments.

Each is a folder as ``vlsafe train-risk`` leaves it, without the outcomes that it was learnt from,
and with ``card.md``: how it was made, and how it drives.  ``benchmarks/bundled_risk.py`` makes them
again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlsafe_agents.pretrained.bundle import Bundle
from vlsafe_agents.pretrained.sources import find_folder
from vlsafe_agents.risk.model import MODEL_FILE, RiskModel
from vlsafe_agents.training.facts import TRAINING_FILE
from vlsafe_agents.training.settings import SETTINGS_FILE

BUNDLED = "bundled"  # stands for the folder of an environment's on the command line
FOLDER = Path(__file__).parent / "bundled_models"
FILES = (MODEL_FILE, SETTINGS_FILE, TRAINING_FILE)  # of a repository of one
RISKS = Bundle(FOLDER, MODEL_FILE, "risk model", "train one with `vlsafe train-risk`")


def bundled_ids() -> tuple[str, ...]:
    """The environments that a risk model is bundled for."""
    return RISKS.names()


def bundled_folder(env_id: str) -> Path:
    """The folder of the risk model that is bundled for an environment.

    Raises:
        ValueError: where there is none, naming those that there are.
    """
    return RISKS.folder(env_id)


def bundled_risk(env_id: str) -> RiskModel:
    """The risk model that is bundled for an environment, such as ``"VLSafe-Highway-v0"``.

    Raises:
        ValueError: where there is none, naming those that there are.
    """
    return RiskModel.load(bundled_folder(env_id))


def pretrained_risk(name: str | Path, **where: Any) -> RiskModel:
    """A trained risk model.

    Args:
        name: of one that is bundled, ``"VLSafe-Highway-v0"`` or in short ``"highway"``; a folder of
            ``vlsafe train-risk``; or a Hugging Face repository, ``"owner/name"``.
        where: ``revision``, ``token``, ``cache_dir``, ``local_files_only``, as of
            ``VLSafe.from_pretrained``.

    Raises:
        ValueError, FileNotFoundError, OSError: as ``VLSafe.from_pretrained``.
    """
    return RiskModel.load(find_folder(name, RISKS, FILES, **where))
