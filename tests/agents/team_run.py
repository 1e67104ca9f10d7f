"""Trains small agents, alone or as one of a team, and prints every figure of every update.

    python team_run.py figures CASE ...
    torchrun --nproc-per-node 2 team_run.py figures CASE ...
    torchrun --nproc-per-node 2 team_run.py train FOLDER UPDATE

The last trains into a folder; the second process is asked to stop at an update (-1: never).
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from speed_limit import SpeedLimit, record
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from vlsafe_agents.common.devices import gathered, is_writer, joined
from vlsafe_agents.data import Episode, EpisodeDataset
from vlsafe_agents.training import EnvName, TrainSettings, train
from vlsafe_agents.vlsafe import VLSafe

UPDATES = 12
SMALL = {
    "train": {"batch_size": 4, "sequence_length": 8, "warmup": 0},
    "imagination": {"starts": 12, "horizon": 4},
    "model_warmup": 0.34,
    "critic_warmup": 0.25,
}


def pictures(episodes: int) -> EpisodeDataset:
    """Random drives with images and vectors."""
    rng = np.random.default_rng(0)
    space = spaces.Dict(
        image=spaces.Box(0, 255, (16, 16, 3), np.uint8),
        vector=spaces.Box(-np.inf, np.inf, (3,), np.float32),
    )
    found = []
    for number in range(episodes):
        steps = 6 + number % 5
        obs = {
            "image": rng.integers(0, 256, (steps + 1, 16, 16, 3), dtype=np.uint8),
            "vector": rng.standard_normal((steps + 1, 3), np.float32),
        }
        ends = number % 3 == 0
        cost = np.zeros(steps + 1)
        cost[-1] = ends
        score = rng.random(steps + 1)
        actions, rewards = rng.integers(3, size=steps), rng.random(steps)
        found.append(Episode(obs, actions, rewards, cost, ends, score))
    return EpisodeDataset.from_arrays(found, space, spaces.Discrete(3))


CASES: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "gated": (lambda: record(20), {}, {"forget_actions": 1.0}),
    "lagrangian": (lambda: record(20), {"update": "lagrangian", "safety": "score"}, {}),
    "any limit": (
        lambda: record(20),
        {"update": "lagrangian", "safety": "score", "cost_limit": (0.5, 4.0)},
        {},
    ),
    "continuous": (lambda: record(20, continuous=True), {"safety": "reachability"}, {}),
    "images": (
        lambda: pictures(20),
        {},
        {
            "world_model": {"image": {"decoded_share": 0.3}, "ensemble": 2},
            "train": {**SMALL["train"], "burn_in": 3},  # type: ignore[dict-item]
            "research": {"unsafe_ends": 0.3},
            "model_every": 1,
        },
    ),
}


class Figures(BaseCallback):
    """Takes down the log after every update."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []

    def _on_step(self) -> bool:
        figures = dict(self.model.logger.name_to_value)
        self.rows.append({k: float(v) for k, v in figures.items() if "/" in k})
        self.model.logger.name_to_value.clear()
        self.model.logger.name_to_count.clear()
        return True


def make(case: str) -> VLSafe:
    """The agent of a case."""
    data, options, config = CASES[case.removesuffix(" unseeded")]
    settings: dict[str, Any] = {"config": {**SMALL, **config}, "preset": "debug", "device": "cpu"}
    settings["seed"] = None if case.endswith(" unseeded") else 0
    agent = VLSafe("MultiInputPolicy", None, data(), **settings, **options)
    agent.set_logger(Logger(None, []))
    return agent


def figures(cases: list[str]) -> None:
    """Print, for each case, its figures, and whether the whole team has come to the same."""
    with joined("cpu"):
        for case in cases:
            agent, figures = make(case), Figures()
            agent.learn(UPDATES, callback=figures, log_interval=0)
            digest = hashlib.sha256()
            for tensor in agent.policy.state_dict().values():
                if isinstance(tensor, torch.Tensor):
                    digest.update(tensor.numpy().tobytes())
            digest.update(torch.get_rng_state().numpy().tobytes())
            digest.update(json.dumps(agent._sampler.bit_generator.state).encode())
            own = torch.tensor(list(digest.digest()))[None]
            alike = bool((gathered(own) == own).all())
            if is_writer():
                print(json.dumps({"case": case, "rows": figures.rows, "alike": alike}), flush=True)


def into_folder(out: str, stop: int) -> None:
    """Train into a folder, or go on there; checkpoints at every update."""
    learn = VLSafe.train

    def asked(self: VLSafe) -> None:
        if self._n_updates == stop and not is_writer():
            os.kill(os.getpid(), signal.SIGTERM)
        learn(self)

    VLSafe.train = asked  # type: ignore[method-assign]
    given = {"steps": 14, "preset": "debug", "update": "lagrangian", "cost": "env"}
    env = EnvName("SpeedLimit-v0")
    settings = TrainSettings(algo="vlsafe", env=env, observation="vector", device="cpu", **given)
    facts = train(settings, out, SpeedLimit, record(20), checkpoint_seconds=0.0)
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "train":
        into_folder(sys.argv[2], int(sys.argv[3]))
    else:
        figures(sys.argv[2:])
