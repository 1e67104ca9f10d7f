"""The trained drivers that come with vlsafe: made, measured, described; and measured again.

    python benchmarks/bundled_drivers.py                    # hours of two cores
    python benchmarks/bundled_drivers.py merge left-turn    # these alone
    python benchmarks/bundled_drivers.py --measure          # drive those in the package: minutes
    python benchmarks/bundled_drivers.py --folder runs/x --steps 3000 --episodes 20   # a trial

The commands of ``ROADS`` and ``DRIVING`` record drives, label them and train; what is in the folder
already is not made again.  Each agent then goes into the package as ``save_pretrained`` leaves it,
drives there at the density of its data and at 1.5 times it, bare and behind the shield that is
bundled for its road, if there is one, beside the expert on the same seeds, and is held against the
agent that it was made from: share of recorded states in which both do the same, and their drives.
``--measure`` drives the packaged ones anew and says whether their cards hold.
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
from vlsafe_agents.evaluation.roles import role_of
from vlsafe_agents.pretrained import DRIVERS, driver_names
from vlsafe_agents.pretrained.card import COLUMNS, write_card
from vlsafe_agents.pretrained.kinds import AGENT
from vlsafe_agents.pretrained.sources import FACTS_FILE
from vlsafe_agents.report.tables import figure, interval
from vlsafe_agents.risk import bundled_ids
from vlsafe_agents.training import load_agent
from vlsafe_agents.training.settings import MODEL_FILE, SETTINGS_FILE
from vlsafe_envs.options import option_defaults
from vlsafe_envs.registry import row_of
from wrappers.files import file_sha256, read_json, write_json

DEFAULT_FOLDER = Path("runs/bundled_drivers")
DENSER = 1.5  # times the density of the recorded drives
COMPARED, STATES = (
    100,
    3000,
)  # recorded episodes that both precisions are asked about, until so many


@dataclass(frozen=True)
class Road:
    """Where drivers learn and are measured.

    Args:
        env_id: the environment.
        steps: that are recorded.
        mix: of the drivers that are recorded.
        learning: of ``vlsafe train``, for the world model and all drivers of the road.
        world_model: of ``vlsafe train``, for the world model alone.
        arguments: of the environment, ``key=value``.
        unseen: more of them while agents are measured.
        recorded: what is recorded of what is seen.
        labelled: whether the bundled scorer labels the drives.
        episodes: drives of each row of the card.
        compared: how many of these the agent in float32 drives, too.
    """

    env_id: str
    steps: int
    mix: str
    learning: tuple[str, ...]
    world_model: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    recorded: str = "multi"
    labelled: bool = False
    episodes: int = 300
    compared: int = 300

    def densities(self) -> tuple[float, float]:
        """As it is learnt from, and denser."""
        usual = float(option_defaults(row_of(self.env_id))["density"])
        return usual, round(DENSER * usual, 6)


@dataclass(frozen=True)
class Driver:
    """One agent of the package.

    Args:
        road: where it drives, of ``ROADS``; its folder below the run's.
        folder: where it is trained, below the road's.
        training: of ``vlsafe train``, beyond what all of the road have.
        notes: of its card.
    """

    road: str
    folder: str
    training: tuple[str, ...]
    notes: tuple[str, ...]


WARM = ("--config", "model_warmup=1.0")  # all updates go into the world model
ROADS: dict[str, Road] = {
    "highway": Road(
        "VLSafe-Highway-v0",
        120_000,
        "expert=0.5,noisy=0.2,aggressive=0.15,random=0.15",
        ("--observation", "image", "--cost", "vlm", "--cost-limit", "0.1"),
        ("--steps", "1000", *WARM),
        labelled=True,
    ),
    "merge": Road(
        "VLSafe-Merge-v0",
        40_000,
        "expert=0.5,noisy=0.2,aggressive=0.15,random=0.15",
        ("--observation", "vector", "--cost", "vlm", "--cost-limit", "0.1"),
        ("--steps", "600", *WARM),
        labelled=True,
        compared=100,
    ),
    "left-turn": Road(
        "VLSafe-LeftTurn-v0",
        40_000,
        "expert=0.5,noisy=0.25,aggressive=0.15,random=0.1",
        (
            *("--observation", "vehicles", "--cost", "env", "--cost-limit", "0.1"),
            *("--config", "prior_cost_limit=0.1"),
        ),
        ("--steps", "800", *WARM),
        arguments=("traffic=hard", "collision_cost=10"),
        recorded="all",
        labelled=True,
        compared=100,
    ),
    # not run yet: settings of docs/experiments.md, 2026-12-01
    "navigation": Road(
        "VLSafe-Navigation-v0",
        90_000,
        "expert=0.3,inattentive=0.45,noisy=0.15,aggressive=0.1",
        ("--observation", "vector", "--cost", "env", "--cost-limit", "1", "--preset", "route"),
        ("--steps", "2000", *WARM),
        arguments=("collision_cost=10",),
        unseen=("maps=test",),
        labelled=True,
        episodes=40,
        compared=10,
    ),
}
SHIELDED = "the rows behind the bundled shield show what that mends"
DRIVING: dict[str, Driver] = {
    "highway": Driver(
        "highway",
        "gated",
        ("--update", "gated", "--steps", "300"),
        (
            "In traffic 1.5 times as dense as recorded it crashes several times as often as at the "
            f"recorded density; {SHIELDED}.",
            "Its judge has seen drawings of these roads in its own training.",
        ),
    ),
    "highway-ppo-lag": Driver(
        "highway",
        "ppo_lag4",
        ("--algo", "ppo_lag", "--frame-stack", "4"),
        (
            "A baseline: it caused hundreds of crashes while it learnt.",
            "In traffic 1.5 times as dense as it was trained in it crashes several times as often "
            f"as there; {SHIELDED}.",
        ),
    ),
    "merge": Driver(
        "merge",
        "gated",
        ("--update", "gated", "--steps", "300"),
        (
            "At 1.5 times the density its collisions are those of the clone that it starts from "
            f"(5.3% of the same 300 drives), within the intervals; {SHIELDED}.",
            "Its judge has seen drawings of these roads in its own training.",
        ),
    ),
    "left-turn": Driver(
        "left-turn",
        "gated",
        ("--update", "gated", "--steps", "300"),
        (
            "It sees the vehicles as a set, of which the simulator tells it, and no picture.",
            "The bundled shield does it harm: at the density of the data it collides in 28 of 300 "
            "drives behind it, bare in one; 20 of the 28 times it stands, stopped in another's "
            "way.",
        ),
    ),
    "navigation": Driver("navigation", "gated", ("--update", "gated", "--steps", "400"), ()),
}


def vlsafe(*arguments: str) -> None:
    """Run a command, shown as it is typed."""
    print("$", shlex.join(["vlsafe", *arguments]), flush=True)
    subprocess.run([sys.executable, "-m", "vlsafe_agents.cli.main", *arguments], check=True)


def env_args(pairs: Sequence[str]) -> tuple[str, ...]:
    """Arguments of an environment as commands take them."""
    return tuple(part for pair in pairs for part in ("--env-arg", pair))


def train(driver: Driver, folder: Path, steps: int | None) -> None:
    """Record, label and train what is not there yet, in the road's folder."""
    road, data, out = ROADS[driver.road], folder / "d", folder / driver.folder
    if not any(data.glob("**/main_data.hdf5")):
        where = ("--env", road.env_id, *env_args(road.arguments), "--out", str(data))
        what = ("--steps", str(steps or road.steps), "--observation", road.recorded)
        vlsafe("collect", *where, *what, "--mix", road.mix)
        if road.labelled:
            vlsafe("label", str(data))
    if (out / MODEL_FILE).exists():
        return
    common, more = ("--data", str(data), *road.learning), tuple[str, ...]()
    if "--update" in driver.training:
        model = folder / "world_model"
        if not (model / MODEL_FILE).exists():
            vlsafe("train", "--out", str(model), *road.world_model, *common)
        more = ("--world-model", str(model))
    vlsafe("train", "--out", str(out), *driver.training, *more, *common)


def drive(agent: str, out: Path, density: float, episodes: int, *more: str) -> Path:
    """Evaluate somebody, unless that has been done; returns the evaluation."""
    place = out / f"density_{density:g}"
    if not any(place.glob("evaluation*.json")):
        common = ("--density", str(density), "--episodes", str(episodes), "--out", str(place))
        vlsafe("evaluate", agent, *common, "--scorer", "none", "--no-record", *more)
    (file,) = place.glob("evaluation*.json")
    return file


def remembered_agreement(run: Path, packaged: Path, data: Path, out: Path) -> tuple[float, int]:
    """:func:`agreement`, which is not computed again for the same agent."""
    file, sha256 = out / "agreement.json", file_sha256(run / MODEL_FILE)
    known = read_json(file) if file.exists() else {}
    if known.get("sha256") != sha256:
        share, states = agreement(run, packaged, data)
        known = {"sha256": sha256, "share": share, "states": states}
        write_json(file, known)
    return known["share"], known["states"]


def agreement(whole: Path, packaged: Path, data: Path) -> tuple[float, int]:
    """Share of recorded states in which both agents' greedy actions are the same; how many states.

    Each keeps its own recurrent state along the recorded observations of an episode.
    """
    (first, settings, _), (second, _, _) = load_agent(whole), load_agent(packaged)
    env = gym.make(
        settings.env.env_id,
        observation=settings.observation,
        scorer=None,
        **settings.env.kwargs,
    )
    seen = env.observation_space
    env.close()
    drives = EpisodeDataset.from_minari(data, cost=settings.cost, observation_space=seen)
    same = states = 0
    for number in range(min(COMPARED, drives.num_episodes)):
        if states >= STATES:
            break
        rows = drives.episode_batch(number).obs  # each (1, T + 1, ...)
        memories: list[Any] = [None, None]
        for step in range(next(iter(rows.values())).shape[1]):
            actions, start = [], np.array([step == 0])
            now: Any = {name: array[:, step] for name, array in rows.items()}
            if not isinstance(seen, gym.spaces.Dict):
                (now,) = now.values()
            for place, agent in enumerate((first, second)):
                action, memories[place] = agent.predict(
                    now, memories[place], start, deterministic=True
                )
                actions.append(action)
            same += int(np.array_equal(*actions))
            states += 1
    return same / states, states


def make(name: str, folder: Path, episodes: int | None) -> None:
    """Put a trained agent into the package, with its card."""
    driver, place = DRIVING[name], DRIVERS.root / name
    road, run, measured = ROADS[driver.road], folder / driver.folder, folder / "measured"
    drives, unseen = episodes or road.episodes, env_args(road.unseen)
    shutil.rmtree(place, ignore_errors=True)
    load_agent(run)[0].save_pretrained(place)
    write_card(AGENT, place, run, driver.notes)  # settings, which the evaluation reads
    own, rows, alike = f"pretrained:{name}", list[Path](), list[str]()
    for density in road.densities():
        rows.append(drive(own, measured / name, density, drives, *unseen))
        where = ("--env", road.env_id, *env_args(road.arguments), *unseen)
        rows.append(drive("expert", measured / "expert", density, drives, *where))
        few = min(drives, road.compared)
        whole = drive(str(run), measured / f"{name}-float32", density, few, *unseen)
        alike.append(f"at density {density:g} in {_alike(rows[-2], whole)} of {few} drives")
    share, states = remembered_agreement(run, place, folder / "d", measured / f"{name}-float32")
    precision = (
        f"Its matrices are float16; the agent that it was made from (float32) takes the same "
        f"greedy action in {share:.2%} of {states:,} recorded states, and has the same return and "
        f"outcome {', '.join(alike)}."
    )
    if share < 0.99:
        raise SystemExit(f"{name}: {precision}")
    if road.env_id in bundled_ids():
        shielded = (measured / f"{name}-shielded", "--shield", "bundled")
        for density in road.densities():
            rows.append(drive(own, shielded[0], density, drives, *shielded[1:], *unseen))
    write_card(AGENT, place, run, (*driver.notes, precision), rows)
    print((place / "README.md").read_text(encoding="utf-8"))


def _alike(one: Path, other: Path) -> int:
    """In how many drives of the second evaluation return and collision are those of the first."""
    pairs = zip(read_evaluation(one).records, read_evaluation(other).records, strict=False)
    same = [a.collision == b.collision and a.episode_return == b.episode_return for a, b in pairs]
    return sum(same)


def check(name: str, out: Path, episodes: int | None) -> bool:
    """Measure a packaged driver and hold it against its card; whether the card holds."""
    road, place = ROADS[DRIVING[name].road], DRIVERS.root / name
    label = role_of("agent", None, read_json(place / SETTINGS_FILE)).label
    stated = read_json(place / FACTS_FILE)["evaluations"]
    holds = True
    for card in (found for found in stated if found["who"] == label):
        shielded = "shield" in card["conditions"]
        more = (*env_args(road.unseen), *(("--shield", "bundled") if shielded else ()))
        to, density = out / ("shielded" if shielded else "bare"), card["env_kwargs"]["density"]
        file = drive(f"pretrained:{name}", to, density, episodes or card["episodes"], *more)
        found = read_evaluation(file)
        for metric in COLUMNS:
            old, new = card["summary"].get(metric), found.summary[metric]
            if old is None or old["mean"] is None or new["mean"] is None:
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
                f"{name}, {to.name}, density {density:g}, {metric}: card {figure(old['mean'])} "
                f"({interval(old, figure)}), now {figure(new['mean'])} ({interval(new, figure)}): "
                f"{verdict}"
            )
    return holds


def main() -> None:
    """Make what is missing, or measure what is there."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*DRIVING, []], default=[])
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--steps", type=int, help="to be recorded; else as the road says")
    parser.add_argument("--episodes", type=int, help="of a row; else as the road says")
    parser.add_argument("--measure", action="store_true", help="drive the packaged ones anew")
    given = parser.parse_args()
    names: list[str] = given.names or list(driver_names() if given.measure else DRIVING)
    if given.measure:
        held = [check(name, given.folder / "again" / name, given.episodes) for name in names]
        sys.exit(0 if all(held) else 1)
    for name in names:
        folder = given.folder / DRIVING[name].road
        train(DRIVING[name], folder, given.steps)
        make(name, folder, given.episodes)


if __name__ == "__main__":
    main()
