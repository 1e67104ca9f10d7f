"""The risk models that come with vlsafe: made, driven with, and described.

    python benchmarks/bundled_risk.py                       # all of them, about an hour of one core
    python benchmarks/bundled_risk.py VLSafe-Highway-v0 --folder runs/bundled

For each environment the commands ``vlsafe train-risk`` and ``vlsafe evaluate``, of the risk model
by itself and of the expert on the same seeds, in traffic as it was learnt from and 1.5 times as
dense.  What is in the folder already is not made again.  The model goes into the package as
``save_pretrained`` leaves it, with these drives in its card, and what came of single actions.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from vlsafe_agents.cli.environments import EnvChoice
from vlsafe_agents.cli.policies import ShownVehicles
from vlsafe_agents.cli.train_risk import mixed
from vlsafe_agents.data.branching import Brancher
from vlsafe_agents.pretrained.card import write_card
from vlsafe_agents.pretrained.kinds import RISK
from vlsafe_agents.pretrained.sources import CARD_FILE
from vlsafe_agents.risk import RiskModel
from vlsafe_agents.risk.branching import BranchingConfig
from vlsafe_agents.risk.examination import Examination, examine_on_new_drives
from vlsafe_agents.risk.run_folder import read_risk
from vlsafe_agents.risk.shared import FOLDER
from vlsafe_agents.risk.training import TrainingConfig
from vlsafe_envs.drivers.macros import make_macro
from vlsafe_envs.options import option_defaults
from vlsafe_envs.registry import row_of
from vlsafe_envs.snapshots import branches
from wrappers.files import read_text

DEFAULT_FOLDER = Path("runs/bundled_risk")
STATES, SAFE = 1000, 0.02  # of the examination: states, and a chance that counts as safe
EXAMINATION_SEED = 777
DENSER = 1.5  # times the density that was learnt from
LATER = ("--states", "5000", "--round-states", "2000", "--updates", "3000", "--horizon", "5")
HARD = ("--env-arg", "traffic=hard")
# By environment: its arguments, how the model is trained, and the threshold of its shield.
ROADS: dict[str, tuple[tuple[str, ...], tuple[str, ...], float]] = {
    "VLSafe-Highway-v0": ((), LATER, 0.02),
    "VLSafe-Merge-v0": ((), (), 0.02),
    "VLSafe-Roundabout-v0": ((), (), 0.05),
    "VLSafe-LeftTurn-v0": (HARD, ("--seed", "2"), 0.05),
    "VLSafe-RightTurn-v0": (HARD, (), 0.05),
}


def vlsafe(*arguments: str) -> str:
    """Run a command; returns it."""
    subprocess.run([sys.executable, "-m", "vlsafe_agents.cli.main", *arguments], check=True)
    return shlex.join(["vlsafe", *arguments])


def densities(env_id: str) -> tuple[float, float]:
    """As it is learnt from, and denser."""
    usual = float(option_defaults(row_of(env_id))["density"])
    return usual, round(DENSER * usual, 6)


def make(env_id: str, folder: Path, episodes: int) -> list[str]:
    """Train and drive, as far as it has not been done; returns the commands."""
    given, training, threshold = ROADS[env_id]
    risk, expert = folder / env_id, folder / f"{env_id}-expert"
    commands = [
        vlsafe(
            *("train-risk", "--env", env_id, *given, *training, "--threshold", str(threshold)),
            *("--out", str(risk)),
        )
    ]
    for density in densities(env_id):
        common = ("--density", str(density), "--episodes", str(episodes), "--scorer", "none")
        for who, more in (
            (str(risk), ()),
            ("expert", ("--env", env_id, *given, "--out", str(expert))),
        ):
            wanted = (risk if who != "expert" else expert) / result_file(density)
            drive = ("evaluate", who, *common, "--no-record", *more)
            commands.append(shlex.join(["vlsafe", *drive]) if wanted.exists() else vlsafe(*drive))
    return commands


def result_file(density: float) -> str:
    """How ``vlsafe evaluate`` names its result."""
    return f"evaluation_density_{density:g}.json"


def examined(env_id: str, folder: Path, density: float) -> dict[str, Examination]:
    """What came of actions in traffic of a density, branched from drives of nobody's training."""
    run = read_risk(folder / env_id)
    model, known = run.model, run.settings
    model.config = replace(model.config, threshold=SAFE)
    choice = EnvChoice(env_id, {**known["env"]["kwargs"], "density": density})
    env = ShownVehicles(choice.factory(observation="vehicles", scorer=None)())
    branching = BranchingConfig(
        tuple(known["tails"]),
        *(known[name] for name in ("frequency", "horizon", "hold_seconds", "every")),
        random_actions=known["random_actions"],
    )
    how = TrainingConfig(seed=EXAMINATION_SEED, model=model.config)
    drive, brancher = partial(mixed, known["mix"]), Brancher(branches, make_macro)
    place = folder / f"{env_id}-examined" / f"{density:g}"
    found = examine_on_new_drives(model, STATES, env, place, drive, brancher, branching, how)
    env.close()
    return {name: examination for name, (_, examination) in found.items()}


def examination_rows(env_id: str, folder: Path) -> list[dict[str, Any]]:
    """What came of actions that the model calls safe, as its card holds it."""
    rows = []
    for density in densities(env_id):
        for name, found in examined(env_id, folder, density).items():
            known = found.to_json()
            counts = {key: known[key] for key in ("safe_actions", "actions", "events_after_safe")}
            shown = {"auroc": known["auroc"]["value"], "rate": known["event_rate"]}
            rows.append({"density": density, "drives": name, "safe": SAFE, **counts, **shown})
    return rows


def pack(env_id: str, folder: Path, commands: list[str]) -> Path:
    """Put a trained model into the package, with its card; returns its folder."""
    run, place = folder / env_id, FOLDER / env_id
    RiskModel.from_pretrained(run).save_pretrained(place)
    drives = [
        folder / who / result_file(density)
        for density in densities(env_id)
        for who in (env_id, f"{env_id}-expert")
    ]
    typed = [command.replace(str(folder), str(DEFAULT_FOLDER)) for command in commands]
    told = RiskModel.load(run).told_in_card()
    facts = {"examined": examination_rows(env_id, folder), "commands": typed, "model": told}
    write_card(RISK, place, run, (), drives, **facts)
    return place


def main() -> None:
    """Make what is missing, and put it into the package."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("env_ids", nargs="*", choices=[*ROADS, []], default=[])
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--episodes", type=int, default=100)
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    for env_id in arguments.env_ids or ROADS:
        commands = make(env_id, folder, arguments.episodes)
        print(read_text(pack(env_id, folder, commands) / CARD_FILE))


if __name__ == "__main__":
    main()
