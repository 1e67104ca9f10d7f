"""What ``vlsafe train-risk`` is given beside numbers: a judge, an agent, a model to begin with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlsafe_agents.cli.environments import EnvChoice
    from vlsafe_agents.risk import RiskModel
    from vlsafe_agents.risk.judge import Judge
    from vlsafe_agents.risk.outcomes import Outcomes


def judge_of(
    events: str, scorer: str | None, threads: int
) -> tuple[Judge | None, dict[str, Any] | None]:
    """Who looks at the frames, and how settings tell it.

    Raises:
        ValueError: for a scorer where none is asked, and for one that can be no judge.
    """
    from vlsafe_agents.cli.scorers import load_scorer
    from vlsafe_agents.risk.judge import Judge
    from wrappers.scorer import BUNDLED

    if events != "judge":
        if scorer is not None:
            raise ValueError(f"--scorer {scorer} is a judge; say --events judge, too")
        return None, None
    spec = scorer or BUNDLED
    judge = Judge(load_scorer(spec, threads))
    return judge, {"scorer": spec, "identity": judge.scorer.identity}


def stated_policy(policy: Path | None) -> dict[str, str] | None:
    """How settings tell an agent from others."""
    from vlsafe_agents.training.run import MODEL_FILE
    from wrappers.files import file_sha256

    if policy is None:
        return None
    file = policy / MODEL_FILE
    if not file.is_file():
        raise FileNotFoundError(f"--policy: no {MODEL_FILE} in {policy}; give an agent's folder")
    return {"folder": str(policy), "sha256": file_sha256(file)}


def start_of(name: str | None) -> tuple[RiskModel | None, dict[str, str] | None]:
    """The risk model to begin with, and how settings tell it.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: for a file that holds none.
    """
    from vlsafe_agents.risk.bundled import bundled_folder, bundled_ids
    from vlsafe_agents.risk.model import MODEL_FILE, RiskModel
    from wrappers.files import file_sha256

    if name is None:
        return None, None
    file = (bundled_folder(name) if name in bundled_ids() else Path(name)) / MODEL_FILE
    if not file.is_file():
        raise FileNotFoundError(
            f"--start {name}: no {MODEL_FILE} there; give a folder of `vlsafe train-risk`, or one "
            f"of {', '.join(bundled_ids())}"
        )
    return RiskModel.load(file), {"model": name, "sha256": file_sha256(file)}


def beside_of(folders: Sequence[Path]) -> tuple[Outcomes | None, dict[str, Any] | None]:
    """The outcomes of other trainings, and how settings tell them.

    Raises:
        FileNotFoundError: where there are none.
        ValueError: for files that hold none.
    """
    from vlsafe_agents.risk.outcomes import Outcomes
    from vlsafe_agents.risk.training import OUTCOMES
    from wrappers.files import file_sha256

    files = list[Path]()
    for folder in folders:
        found = sorted((folder / OUTCOMES).glob("*.npz"))
        if not found:
            raise FileNotFoundError(
                f"--beside {folder}: no outcomes there; give a folder of `vlsafe train-risk`"
            )
        files += found
    if not files:
        return None, None
    hashes = "".join(file_sha256(file) for file in files)
    stated = {
        "folders": [str(folder) for folder in folders],
        "sha256": hashlib.sha256(hashes.encode()).hexdigest(),
    }
    return Outcomes.joined([Outcomes.load(file) for file in files]), stated


def check_ways(choice: EnvChoice) -> None:
    """Raise ``ValueError`` for an environment that does not know which ways vehicles may take."""
    from vlsafe_envs.registry import row_of

    if not row_of(choice.env_id).knows_ways:
        raise ValueError(
            f"--observation ways: {choice.env_id} does not know which ways vehicles may take; say "
            "--observation vehicles, or choose a road with a route"
        )


def check_crashes_end(choice: EnvChoice) -> None:
    """Raise ``ValueError`` for an environment in which a crash ends no episode.

    An event is a terminal step with a cost; no crash would be one.
    """
    from vlsafe_envs.options import option_defaults
    from vlsafe_envs.registry import row_of

    name = "crash_terminal"
    if {**option_defaults(row_of(choice.env_id)), **choice.kwargs}.get(name) is False:
        raise ValueError(
            f"in {choice.env_id} a crash ends no episode, so nothing could be learnt of crashes; "
            f"say --env-arg {name}=true"
        )
