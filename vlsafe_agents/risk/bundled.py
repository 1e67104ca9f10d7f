"""Risk models that come with vlsafe, one for each of some environments.

Each is a shared folder (:mod:`vlsafe_agents.risk.shared`); ``benchmarks/bundled_risk.py`` makes
them again.
"""

from __future__ import annotations

from pathlib import Path

from vlsafe_agents.risk.model import RiskModel
from vlsafe_agents.risk.shared import RISKS

BUNDLED = "bundled"  # stands for the folder of an environment's on the command line


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
