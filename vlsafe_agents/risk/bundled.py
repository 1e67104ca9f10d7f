"""Risk models that come with vlsafe, one for each of some environments.

Each is a folder as ``vlsafe train-risk`` leaves it, without the outcomes that it was learnt from,
and with ``card.md``: how it was made, and how it drives.  ``benchmarks/bundled_risk.py`` makes them
again.
"""

from __future__ import annotations

from pathlib import Path

from vlsafe_agents.risk.model import MODEL_FILE, RiskModel
from wrappers.checks import did_you_mean

BUNDLED = "bundled"  # stands for the folder of an environment's on the command line
FOLDER = Path(__file__).parent / "bundled_models"


def bundled_ids() -> tuple[str, ...]:
    """The environments that a risk model is bundled for."""
    return tuple(sorted(file.parent.name for file in FOLDER.glob(f"*/{MODEL_FILE}")))


def bundled_folder(env_id: str) -> Path:
    """The folder of the risk model that is bundled for an environment.

    Raises:
        ValueError: where there is none, naming those that there are.
    """
    known = bundled_ids()
    if env_id not in known:
        raise ValueError(
            f"no risk model is bundled for {env_id!r}; there are some for {', '.join(known)}"
            f"{did_you_mean(env_id, known)}; train one with `vlsafe train-risk`"
        )
    return FOLDER / env_id


def bundled_risk(env_id: str) -> RiskModel:
    """The risk model that is bundled for an environment, such as ``"VLSafe-Highway-v0"``.

    Raises:
        ValueError: where there is none, naming those that there are.
    """
    return RiskModel.load(bundled_folder(env_id))
