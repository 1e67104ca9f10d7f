"""The risk models that come with vlsafe: made, driven with, and described.

    python benchmarks/bundled_risk.py                       # all of them, about an hour of one core
    python benchmarks/bundled_risk.py VLSafe-Highway-v0 --folder runs/bundled

For each environment the commands ``vlsafe train-risk`` and ``vlsafe evaluate``, of the risk model
by itself and of the expert on the same seeds, in traffic as it was learnt from and 1.5 times as
dense.  What is in the folder already is not made again.  Model, settings and facts go into the
package, with a card that says how they came about and how the model drives.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from vlsafe_agents.cli.environments import EnvChoice
from vlsafe_agents.cli.policies import ShownVehicles
from vlsafe_agents.cli.train_risk import mixed
from vlsafe_agents.data.branching import Brancher
from vlsafe_agents.evaluation import read_evaluation
from vlsafe_agents.evaluation.stored import StoredEvaluation
from vlsafe_agents.report.tables import figure, interval, percent
from vlsafe_agents.risk.branching import BranchingConfig
from vlsafe_agents.risk.bundled import FOLDER
from vlsafe_agents.risk.examination import Examination, examine_on_new_drives
from vlsafe_agents.risk.model import MODEL_FILE
from vlsafe_agents.risk.run_folder import read_risk
from vlsafe_agents.risk.training import TrainingConfig
from vlsafe_agents.training.facts import TRAINING_FILE
from vlsafe_agents.training.settings import SETTINGS_FILE
from vlsafe_envs.drivers.macros import make_macro
from vlsafe_envs.options import option_defaults
from vlsafe_envs.registry import row_of
from vlsafe_envs.snapshots import branches
from wrappers.files import read_json, write_text

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
METRICS = {
    "collision_rate": percent,
    "off_road_rate": percent,
    "arrival_rate": percent,
    "mean_speed": figure,
    "standing": percent,
    "return": figure,
}
NAMES = ("collide", "leave the road", "arrive", "speed [m/s]", "standing", "return")


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


def examination_rows(env_id: str, folder: Path) -> list[str]:
    """A table of what came of actions that the model calls safe."""
    rows = [
        f"| traffic | drives | AUROC | actions with P < {SAFE:.0%} | crashes after these |",
        "|---|---|---|---|---|",
    ]
    for density in densities(env_id):
        for name, found in examined(env_id, folder, density).items():
            rate = found.event_rate
            rows.append(
                f"| density {density:g} | {name} | {found.auroc.value:.3f} | "
                f"{found.safe_actions:,} of {found.actions:,} | {found.events_after_safe}, "
                f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%}) |"
            )
    return rows


def row(name: str, found: StoredEvaluation) -> str:
    """A row of the card's table."""
    cells = []
    for metric, show in METRICS.items():
        entry: Any = found.summary.get(metric)
        if entry is None or entry["mean"] is None:
            cells.append("-")
        else:
            between = interval(entry, show)
            cells.append(show(entry["mean"]) + (f" ({between})" if between else ""))
    return f"| {name} | {' | '.join(cells)} |"


def card(env_id: str, folder: Path, commands: Sequence[str], episodes: int) -> str:
    """What is to be known of a model, in Markdown."""
    facts = read_json(folder / env_id / TRAINING_FILE)
    learnt = facts["simulated"]["learnt from"]
    rows = [f"| | {' | '.join(NAMES)} |", "|---" * (len(NAMES) + 1) + "|"]
    for density in densities(env_id):
        file = result_file(density)
        for name, place in (("risk model", env_id), ("expert (rules)", f"{env_id}-expert")):
            found = read_evaluation(folder / place / file)
            rows.append(row(f"{name}, density {density:g}", found))
    exam = facts["held_out"]["behind the shield"]
    return "\n".join(
        [
            f"# Risk model for {env_id}",
            "",
            "The chance of a collision, or of leaving the road, within some seconds after an "
            'action, from the set of vehicles around (`observation="vehicles"`). For '
            "`SafetyShield`, and to drive by itself.",
            "",
            f"Learnt from {learnt['states']:,} states, {learnt['branches']:,} branches of them "
            f"({learnt['branch_steps']:,} simulated steps, {learnt['branch_events']:,} crashes) "
            f"and {learnt['drive_steps']:,} steps of drives with {learnt['drive_events']:,} "
            "crashes, all in the simulator. On drives behind its shield that it did not learn "
            f"from: {exam['safe_actions']:,} of {exam['actions']:,} actions called safe, after "
            f"which {exam['events_after_safe']:,} crashes came.",
            "",
            f"By itself, {episodes} drives a row on seeds that nobody learnt from, 95% intervals; "
            "one training seed:",
            "",
            *rows,
            "",
            f"What came of single actions, branched from {STATES:,} states a density of other "
            "drives:",
            "",
            *examination_rows(env_id, folder),
            "",
            "It knows this environment's traffic and nobody else's, sees no pedestrians or lights, "
            "and its threshold is a chance in this simulator. Made by `python "
            "benchmarks/bundled_risk.py`, which runs:",
            "",
            "```bash",
            *(command.replace(str(folder), str(DEFAULT_FOLDER)) for command in commands),
            "```",
            "",
        ]
    )


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
        text = card(env_id, folder, commands, arguments.episodes)
        place = FOLDER / env_id
        place.mkdir(parents=True, exist_ok=True)
        for name in (MODEL_FILE, SETTINGS_FILE, TRAINING_FILE):
            shutil.copyfile(folder / env_id / name, place / name)
        write_text(place / "card.md", text)
        print(text)


if __name__ == "__main__":
    main()
