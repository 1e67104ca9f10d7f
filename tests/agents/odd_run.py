"""A run folder in which nothing is called what it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from report_run import ENV, SETTINGS, VLSAFE, add_agent, records, settings, unreported

from vlsafe_agents.evaluation import Evaluation, summarise

MODEL_COSTS = {"gradient_steps": 6_000, "wall_s": 1_200.0, "env_steps": 0, "collisions_caused": 0}
# folder: what it is
ODD = {
    "zoo": "Expert (rule-based)",
    "investigated": "PPO",  # holds "gated"
    "expert-blind": "PPO",
    "subcase": "PPO-Lag",  # holds "bc"
    "my-ppo": "VLSafe gated",
    "gated $1$ <b>": "VLSafe gated",  # of one algorithm with the last
    "_hidden": "VLSafe Lagrangian",
    "ppo_lag": "Cost-blind",
    "p half": "VLSafe gated, p = 0.5",
    "[red]bc": "td3",
    "model": "World model only",
}


def make_odd_run(root: Path) -> Path:
    """Agents of odd names, a stock SB3 agent, and one in an environment that reports little."""
    model = root / "model"
    share = {"update": "gated", **VLSAFE}
    trained = {
        "investigated": settings("ppo"),
        "expert-blind": settings("ppo"),
        "subcase": settings("ppo_lag"),
        "my-ppo": settings("vlsafe", model, **share),
        "gated $1$ <b>": settings("vlsafe", model, **share),
        "_hidden": settings("vlsafe", root / "gone", **{**share, "update": "lagrangian"}),
        "ppo_lag": settings("vlsafe", **{**share, "safety": None}),
        "p half": settings("vlsafe", **{**share, "safety": 0.5}),
        "[red]bc": settings("td3"),
    }
    for place, (name, facts) in enumerate(trained.items()):
        caused = {"investigated": 7, "subcase": 412}.get(name, 0)
        add_agent(root, name, 0.05 * place, 20.0 + 0.1 * place, caused, facts)
    add_agent(root, "zoo", 0.01, 21.0, agent="expert")
    model.mkdir()
    only = SETTINGS["vlsafe-gated"] | {"config": {"model_warmup": 1.0}}
    (model / "settings.json").write_text(json.dumps(only))
    (model / "training.json").write_text(json.dumps(MODEL_COSTS))
    write_stock_agent(root / "vlsafe_gated")
    write_foreign_evaluation(root / "foreign_expert" / "evaluation.json")
    return root


def write_stock_agent(folder: Path) -> None:
    """A stock SB3 agent, saved and evaluated from Python: nobody said what learning cost."""
    folder.mkdir()
    (folder / "model.zip").write_bytes(b"PK")
    episodes = records(0.2, 19.0)
    found = Evaluation(episodes, summarise(episodes))
    found.write_json(folder / "evaluation.json", "stock", str(ENV["env_id"]), {"density": 1.5})


def write_foreign_evaluation(path: Path) -> None:
    """Somebody's environment, which reports a cost and a speed."""
    blank = [replace(record, distance=None) for record in records(0.0, 9.0)]
    found = Evaluation(blank, summarise(blank)).to_json("mine", "Elsewhere-v0", {}, kind="agent")
    path.parent.mkdir()
    names = ("collision", "off_road", "vlm_cost", "collision_speed")
    path.write_text(json.dumps(unreported(found, *names)))
