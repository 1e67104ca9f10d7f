"""The trained drivers that come with vlsafe: made, measured, described; and measured again.

    python benchmarks/bundled_drivers.py                    # hours of two cores
    python benchmarks/bundled_drivers.py --measure          # drive those in the package: minutes
    python benchmarks/bundled_drivers.py --folder runs/x --steps 3000 --episodes 20   # a trial

The commands of ``COMMANDS`` record drives, label them and train; what is in the folder already is
not made again.  Each agent then goes into the package as ``save_pretrained`` leaves it, drives
there at the density of its data and at 1.5 times it beside the expert on the same seeds, and is
held against the agent that it was made from: share of recorded states in which both do the same,
and their drives.  ``--measure`` drives the packaged ones anew and says whether their cards hold.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import vlsafe_envs  # noqa: F401  # registers the ids
from vlsafe_agents.data import EpisodeDataset
from vlsafe_agents.evaluation import read_evaluation
from vlsafe_agents.pretrained import DRIVERS, driver_names
from vlsafe_agents.pretrained.card import METRICS, write_card
from vlsafe_agents.pretrained.sources import FACTS_FILE
from vlsafe_agents.report.tables import figure, interval
from vlsafe_agents.training import load_agent
from vlsafe_agents.training.settings import MODEL_FILE
from vlsafe_envs.options import option_defaults
from vlsafe_envs.registry import row_of
from wrappers.files import file_sha256, read_json, write_json

DEFAULT_FOLDER = Path("runs/bundled_drivers")
ENV_ID = "VLSafe-Highway-v0"
STEPS, EPISODES, DENSER = 120_000, 300, 1.5
MIX = "expert=0.5,noisy=0.2,aggressive=0.15,random=0.15"
COMPARED = 100  # recorded episodes whose states both precisions are asked about


@dataclass(frozen=True)
class Driver:
    """One agent of the package.

    Args:
        folder: where it is trained, below the run's.
        training: of ``vlsafe train``, beyond the data and the cost.
        notes: of its card.
    """

    folder: str
    training: tuple[str, ...]
    notes: tuple[str, ...]


WORLD_MODEL = ("--steps", "1000", "--config", "model_warmup=1.0")
DRIVING: dict[str, Driver] = {
    "highway": Driver(
        "gated",
        ("--update", "gated", "--steps", "300"),
        (
            "In traffic 1.5 times as dense as recorded it crashes several times as often as at the "
            "recorded density; the row behind the bundled shield shows what that mends.",
            "Its judge has seen drawings of these roads in its own training.",
        ),
    ),
    "highway-ppo-lag": Driver(
        "ppo_lag4",
        ("--algo", "ppo_lag", "--frame-stack", "4"),
        (
            "A baseline: it caused hundreds of crashes while it learnt.",
            "In traffic 1.5 times as dense as it was trained in it crashes several times as often "
            "as there; the row behind the bundled shield shows what that mends.",
        ),
    ),
}


def vlsafe(*arguments: str) -> None:
    """Run a command, shown as it is typed."""
    print("$", shlex.join(["vlsafe", *arguments]), flush=True)
    subprocess.run([sys.executable, "-m", "vlsafe_agents.cli.main", *arguments], check=True)


def densities() -> tuple[float, float]:
    """As it is learnt from, and denser."""
    usual = float(option_defaults(row_of(ENV_ID))["density"])
    return usual, round(DENSER * usual, 6)


def train(folder: Path, names: Sequence[str], steps: int) -> None:
    """Record, label and train what is not there yet."""
    data = str(folder / "d")
    common = ("--data", data, "--observation", "image", "--cost", "vlm", "--cost-limit", "0.1")
    if not any(folder.glob("d/**/main_data.hdf5")):
        vlsafe("collect", "--out", data, "--steps", str(steps), "--mix", MIX)
        vlsafe("label", data)
    for name in names:
        driver = DRIVING[name]
        if (folder / driver.folder / MODEL_FILE).exists():
            continue
        more: tuple[str, ...] = ()
        if "--update" in driver.training:
            model = folder / "world_model"
            if not (model / MODEL_FILE).exists():
                vlsafe("train", "--out", str(model), *WORLD_MODEL, *common)
            more = ("--world-model", str(model))
        vlsafe("train", "--out", str(folder / driver.folder), *driver.training, *more, *common)


def measure(agent: str, out: Path, episodes: int, *more: str) -> list[Path]:
    """Drive at both densities; returns the evaluations."""
    files = []
    for density in densities():
        files.append(out / f"evaluation_density_{density:g}.json")
        common = ("--density", str(density), "--episodes", str(episodes), "--out", str(out))
        if not files[-1].exists():
            vlsafe("evaluate", agent, *common, "--scorer", "none", "--no-record", *more)
    return files


def measure_shielded(agent: str, out: Path, episodes: int) -> Path:
    """Drive in denser traffic behind the bundled shield; returns the evaluation."""
    density, pattern = densities()[1], "evaluation*shield*.json"
    if not any(out.glob(pattern)):
        common = ("--density", str(density), "--episodes", str(episodes), "--out", str(out))
        more = ("--shield", "bundled", "--scorer", "none", "--no-record")
        vlsafe("evaluate", agent, *common, *more)
    (file,) = out.glob(pattern)
    return file


def remembered_agreement(name: str, folder: Path, whole: Path) -> tuple[float, int]:
    """:func:`agreement`, which is not computed again for the same agent."""
    file = folder / "measured" / f"{name}-float32" / "agreement.json"
    sha256 = file_sha256(whole / MODEL_FILE)
    known = read_json(file) if file.exists() else {}
    if known.get("sha256") != sha256:
        share, states = agreement(whole, DRIVERS.root / name, folder / "d")
        known = {"sha256": sha256, "share": share, "states": states}
        write_json(file, known)
    return known["share"], known["states"]


def agreement(whole: Path, packaged: Path, data: Path) -> tuple[float, int]:
    """Share of recorded states in which both agents' greedy actions are the same; how many states.

    Each keeps its own recurrent state along the recorded observations of an episode.
    """
    (first, _, _), (second, _, _) = load_agent(whole), load_agent(packaged)
    seen = gym.make(ENV_ID, observation="image", scorer=None).observation_space
    drives = EpisodeDataset.from_minari(data, cost="vlm", observation_space=seen)
    same = states = 0
    for number in range(min(COMPARED, drives.num_episodes)):
        (rows,) = drives.episode_batch(number).obs.values()  # (1, T + 1, ...)
        memories: list[Any] = [None, None]
        for step in range(rows.shape[1]):
            actions, start = [], np.array([step == 0])
            for place, agent in enumerate((first, second)):
                action, memories[place] = agent.predict(
                    rows[:, step], memories[place], start, deterministic=True
                )
                actions.append(action)
            same += int(np.array_equal(*actions))
            states += 1
    return same / states, states


def make(name: str, folder: Path, episodes: int) -> None:
    """Put a trained agent into the package, with its card."""
    driver, place = DRIVING[name], DRIVERS.root / name
    run, measured = folder / driver.folder, folder / "measured"
    shutil.rmtree(place, ignore_errors=True)
    load_agent(run)[0].save_pretrained(place)
    write_card(place, run, driver.notes)  # settings, which the evaluation reads
    ours = measure(f"pretrained:{name}", measured / name, episodes)
    expert = measure("expert", measured / "expert", episodes, "--env", ENV_ID)
    before = measure(str(run), measured / f"{name}-float32", episodes)
    share, states = remembered_agreement(name, folder, run)
    drives = [_alike(one, other) for one, other in zip(ours, before, strict=True)]
    same = ", ".join(
        f"at density {density:g} in {alike} of {total} drives"
        for density, (alike, total) in zip(densities(), drives, strict=True)
    )
    precision = (
        f"Its matrices are float16; the agent that it was made from (float32) takes the same "
        f"greedy action in {share:.2%} of {states:,} recorded states, and has the same return and "
        f"outcome {same}."
    )
    if share < 0.99:
        raise SystemExit(f"{name}: {precision}")
    shielded = measure_shielded(f"pretrained:{name}", measured / name, episodes)
    rows = [*(file for pair in zip(ours, expert, strict=True) for file in pair), shielded]
    write_card(place, run, (*driver.notes, precision), rows)
    print((place / "README.md").read_text(encoding="utf-8"))


def _alike(one: Path, other: Path) -> tuple[int, int]:
    """In how many drives of two evaluations return and collision are the same, and of how many."""
    pairs = list(zip(read_evaluation(one).records, read_evaluation(other).records, strict=True))
    same = [a.collision == b.collision and a.episode_return == b.episode_return for a, b in pairs]
    return sum(same), len(pairs)


def check(name: str, out: Path, episodes: int) -> bool:
    """Measure a packaged driver and hold it against its card; whether the card holds."""
    from vlsafe_agents.evaluation.roles import role_of

    settings = read_json(DRIVERS.root / name / "settings.json")
    label = role_of("agent", None, settings).label
    stated = read_json(DRIVERS.root / name / FACTS_FILE)["evaluations"]
    stated = [found for found in stated if found["who"] == label and not found["conditions"]]
    holds = True
    for file, card in zip(measure(f"pretrained:{name}", out, episodes), stated, strict=True):
        found = read_evaluation(file)
        for metric in METRICS:
            old, new = card["summary"][metric], found.summary[metric]
            if old["mean"] is None or new["mean"] is None:
                continue
            # the same drives give the same figures, another platform's overlap; of a few drives
            # without a crash the interval of a rare cost says nothing
            exact = found.seeds[-1] == card["seeds"][1] and old["mean"] == new["mean"]
            overlap = new["low"] <= old["high"] and old["low"] <= new["high"]
            few = len(found.records) < card["episodes"]
            holds = holds and (overlap or few)
            verdict = "the same" if exact else "agrees" if overlap else "DIFFERS"
            verdict = f"not judged, {len(found.records)} drives" if few else verdict
            print(
                f"{name}, {file.stem}, {metric}: card {figure(old['mean'])} "
                f"({interval(old, figure)}), now {figure(new['mean'])} ({interval(new, figure)}): "
                f"{verdict}"
            )
    return holds


def main() -> None:
    """Make what is missing, or measure what is there."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*DRIVING, []], default=[])
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--episodes", type=int, default=EPISODES)
    parser.add_argument("--measure", action="store_true", help="drive the packaged ones anew")
    given = parser.parse_args()
    names: list[str] = given.names or list(driver_names() if given.measure else DRIVING)
    if given.measure:
        held = [check(name, given.folder / "again" / name, given.episodes) for name in names]
        sys.exit(0 if all(held) else 1)
    train(given.folder, names, given.steps)
    for name in names:
        make(name, given.folder, given.episodes)


if __name__ == "__main__":
    main()
