"""``vlsafe demo --quick``: trained drivers on the same seeds, in some seconds."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlsafe_agents.cli.environments import default_id
from vlsafe_agents.cli.subjects import Given, Subject, find_subject
from vlsafe_agents.pretrained.bundle import short_name
from vlsafe_agents.pretrained.sources import PREFIX, driver_names

DENSITY = 1.95  # 1.5 times that of the drives that were learnt from: there drivers differ
EPISODES = 30
SCORER = "bundled"


@dataclass(frozen=True)
class Competitor:
    """Who drives: as ``vlsafe evaluate`` names it, and the name under its panel."""

    agent: str
    folder: str
    title: str
    shielded: bool = False

    def arguments(self, out: Path) -> dict[str, Any]:
        """Of ``vlsafe evaluate``."""
        found: dict[str, Any] = {"density": DENSITY, "out": out / self.folder}
        if self.agent == "expert":
            found["env"] = default_id()
        if self.shielded:
            found["shield"] = Path("bundled")
        return found


def competitors() -> list[Competitor]:
    """Everybody that comes with vlsafe for this road, best known first."""
    from vlsafe_agents.risk.bundled import bundled_folder

    trained = f"{PREFIX}{short_name(default_id())}"
    found = [Competitor("expert", "expert", "expert (rules)")]
    if f"{trained}-ppo-lag".removeprefix(PREFIX) in driver_names():
        found.append(Competitor(f"{trained}-ppo-lag", "ppo_lag", "PPO-Lag"))
    found.append(Competitor(trained, "vlsafe", "VLSafe"))
    found.append(Competitor(trained, "vlsafe", "VLSafe + shield", shielded=True))
    found.append(Competitor(str(bundled_folder(default_id())), "risk_planner", "risk planner"))
    return found


def quick_demo(out: Path, gif: Path | None, episodes: int = EPISODES) -> dict[str, Any]:
    """Drive, compare, show side by side, report."""
    from vlsafe_agents.cli.compare import compare
    from vlsafe_agents.cli.report import report
    from vlsafe_agents.cli.tables import say
    from wrappers.files import write_json

    everybody = competitors()
    files = [_evaluated(who, out, episodes) for who in everybody]
    write_json(out / "run.json", {"command": shlex.join(["vlsafe", "demo", "--quick"])})
    comparison = compare(files)
    picture = _shown(everybody, files, out)
    if gif is not None:
        shutil.copyfile(picture, gif)
    report([out])
    say(f"\nSide by side, with the scorer's p under each: {picture.resolve()}")
    page = (out / "report.html").resolve()
    say(f"The report, one file for any browser: {page}")
    return {"report": page, "picture": picture.resolve(), "comparison": comparison}


def _evaluated(who: Competitor, out: Path, episodes: int) -> Path:
    """Drive the seeds of every evaluation; returns the file."""
    from vlsafe_agents.cli.evaluate import evaluate
    from vlsafe_agents.cli.tables import say

    given = who.arguments(out)
    options = [part for key, value in given.items() for part in (f"--{key}", str(value))]
    more = ("--episodes", str(episodes), "--scorer", "none", "--no-record")
    say(f"[demo] {shlex.join(('vlsafe', 'evaluate', who.agent, *options, *more))}")
    evaluate(who.agent, episodes=episodes, scorer="none", record=False, **given)
    pattern = "evaluation*shield*.json" if who.shielded else "evaluation*.json"
    found = sorted((out / who.folder).glob(pattern), key=lambda file: len(file.name))
    return found[0]


def _shown(everybody: Sequence[Competitor], files: Sequence[Path], out: Path) -> Path:
    """Drive two of the seeds again, with the scorer, and draw everybody beside each other."""
    from vlsafe_agents.cli.tables import say
    from vlsafe_agents.evaluation import read_evaluation
    from vlsafe_agents.report.side_by_side import GIF_FILE, Scene, write_gif

    outcomes = [read_evaluation(file) for file in files]
    crashed = [[bool(record.collision) for record in found.records] for found in outcomes]
    say("[demo] the first seed, and the first on which some crash and others do not, once more")
    scenes = []
    for seed, why in _seeds(outcomes[0].seeds, crashed):
        title = f"{default_id()}, density {DENSITY:g}, seed {seed} ({why})"
        drives = {who.title: _drive(who, out, seed) for who in everybody}
        scenes.append(Scene(title, drives))
    return write_gif(scenes, out / GIF_FILE)


def _seeds(seeds: Sequence[int], crashed: Sequence[Sequence[bool]]) -> list[tuple[int, str]]:
    """The first seed, and the first on which drivers differ in whether they crash."""
    found = [(seeds[0], "the first of all")]
    for seed, outcomes in zip(seeds, zip(*crashed, strict=True), strict=True):
        if len(set(outcomes)) > 1 and seed != seeds[0]:
            return [*found, (seed, "chosen: the first on which they differ")]
    return found


def _drive(who: Competitor, out: Path, seed: int) -> dict[str, Any]:
    """One drive with its frames and scores."""
    from vlsafe_agents.evaluation.episode import run_episode
    from vlsafe_agents.evaluation.recording import EpisodeTrace, load_recording

    subject = _subject(who, out)
    env = subject.factory(subject.env.with_kwargs({"density": DENSITY}), SCORER)()
    trace = EpisodeTrace()
    try:
        record = run_episode(subject.agent, env, seed, trace=trace)
    finally:
        env.close()
    path = out / who.folder / "side_by_side" / f"{who.folder}{'_shield' * who.shielded}_{seed}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    trace.save(path, record)
    return load_recording(path)


def _subject(who: Competitor, out: Path) -> Subject:
    given = who.arguments(out)
    own = Given(given["out"], None, given.get("env"), [], {}, False, given.get("shield"))
    return find_subject(who.agent, None, False, own)
