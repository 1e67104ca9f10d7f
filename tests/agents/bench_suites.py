"""Small suites of programs that take no time, and evaluations that nobody has driven."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlsafe_agents.bench.cells import Cell, in_folder
from vlsafe_agents.bench.engines import Processes
from vlsafe_agents.bench.run import Progress, Runner
from vlsafe_agents.evaluation import EpisodeRecord, Evaluation, summarise


def program(name: str, code: str, needs: Sequence[Cell] = (), **more: Any) -> Cell:
    """A cell that runs Python code in its folder, which has to leave ``made``."""
    folder = f"made/{name}"
    start = "import os, time; os.makedirs({folder!r}, exist_ok=True); os.chdir({folder!r})\n"
    return Cell(
        name=name,
        command="command",
        folder=folder,
        product="made",
        arguments=(sys.executable, "-c", start.format(folder=f"{{out}}/{folder}") + code),
        needs=tuple(needs),
        **more,
    )


MAKES = "open('made', 'a').write('x')"  # one letter each time that it runs


def run(cells: Sequence[Cell], out: Path, engine: Any = None, slots: int = 2) -> Progress:
    """Run cells; what is said is not kept."""
    out.mkdir(exist_ok=True)
    return runner(cells, out, engine, slots).run()


def runner(
    cells: Sequence[Cell], out: Path, engine: Any = None, slots: int = 2, say: Any = None
) -> Runner:
    """Runs cells as they are."""
    return Runner(
        cells,
        out,
        engine or Processes(slots),
        slots,
        lambda cell: [str(in_folder(word, out)) for word in cell.arguments],
        lambda cell: f"again {cell.name}",
        say or (lambda text: None),
    )


def record(seed: int, collision: bool, reward: float, speed: float = 20.0) -> EpisodeRecord:
    """A drive of which only these matter."""
    return EpisodeRecord(
        seed=seed,
        episode_return=reward,
        cost=10.0 * collision,
        env_cost=10.0 * collision,
        vlm_cost=None,
        collision=collision,
        off_road=False,
        arrived=None,
        steps=40,
        distance=40 * speed,
        mean_speed=speed,
        collision_speed=speed if collision else None,
        standing=0,
    )


def write_suite(
    out: Path, rows: Mapping[str, Sequence[Sequence[EpisodeRecord]]], tasks: Sequence[str]
) -> None:
    """The folder of a finished suite: on each task every row drove these records, by seed."""
    lines = []
    for task in tasks:
        for name, runs in rows.items():
            for seed, records in enumerate(runs):
                path = out / "env" / "drives" / task / f"seed{seed}" / name / "evaluation.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                driver = name == "expert"
                settings = None if driver else {"algo": name}
                training = {} if driver else {"env_steps": 1000 * (seed + 1)}
                training |= {} if driver else {"collisions_caused": 5 * seed}
                Evaluation(list(records), summarise(records)).write_json(
                    path, name, "VLSafe-Highway-v0", {"density": 1.3}, training,
                    "driver" if driver else "agent", settings,
                )  # fmt: skip
                lines.append(
                    {
                        "cell": f"evaluate env/{task}/seed{seed}/{name}",
                        "status": "done",
                        "environment": "env",
                        "condition": task,
                        "algorithm": name,
                        "seed": None if driver else seed,
                        "needs": [],
                        "evaluation": str(path.relative_to(out)),
                        "cpu_s": 3.0,
                        "commit": "abc",
                        "versions": {"numpy": "2"},
                    }
                )
    facts = {
        "name": "made-up",
        "about": "Nobody has driven.",
        "reference": "expert" if "expert" in rows else None,
        "algorithms": dict.fromkeys(rows, ""),
        "command": "vlsafe bench made-up.yaml --out made-up",
    }
    (out / "suite.json").write_text(json.dumps(facts))
    (out / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
