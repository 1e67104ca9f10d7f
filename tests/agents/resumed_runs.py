"""Runs that end their own process where a test wants it, for `test_exact_resume.py`."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

from speed_limit import SpeedLimit, record

import wrappers.files
from vlsafe_agents.training import EnvName, TrainSettings, train

ROLLOUT = {"n_steps": 9, "batch_size": 6, "n_epochs": 2}
GIVEN: dict[str, dict[str, Any]] = {
    "vlsafe": {"steps": 20, "preset": "debug", "update": "lagrangian", "cost": "env"},
    "vlsafe_online": {
        "algo": "vlsafe",
        "online": True,
        "steps": 108,
        "envs": 2,
        "preset": "debug",
        "update": "lagrangian",
        "cost": "env",
        "cost_limit": 0.1,
    },
    "bc": {
        "steps": 200,
        "config": {
            "batch_size": 16,
            "learning_rate": 0.03,
            "validation_share": 0.3,
            "validation_interval": 4,
            "patience": 3,
        },
    },
    "cpq": {
        "steps": 24,
        "cost": "env",
        "cost_limit": 0.5,
        "config": {"batch_size": 16, "alpha_learning_rate": 0.1},
    },
    "ppo_lag": {"steps": 108, "envs": 2, "cost": "env", "cost_limit": 0.1, "config": ROLLOUT},
    "ppo": {"steps": 108, "envs": 2, "config": ROLLOUT},
    "trpo_lag": {
        "steps": 108,
        "envs": 2,
        "cost": "env",
        "cost_limit": 0.1,
        "config": {"n_steps": 9, "batch_size": 6, "n_critic_updates": 2},
    },
    "sac_lag": {
        "env": EnvName("SpeedLimit-v0", {"continuous": True}),
        "steps": 108,
        "envs": 2,
        "cost": "env",
        "cost_limit": 0.1,
        "config": {
            "buffer_size": 60,
            "learning_starts": 20,
            "batch_size": 8,
            "multiplier_interval": 10,
        },
    },
}


def settings_of(name: str) -> TrainSettings:
    here = EnvName("SpeedLimit-v0")
    given: dict[str, Any] = {"algo": name, "env": here, "observation": "vector"}
    return TrainSettings(**given | GIVEN[name])


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Mortal(SpeedLimit):
    """Ends the process at so many steps of all of its kind in this process."""

    left = -1

    def step(self, action: Any) -> Any:
        Mortal.left -= 1
        if Mortal.left == 0:
            die()
        return super().step(action)


def run(name: str, out: str, kill: tuple[str, int] | None, every: float = 0.0) -> None:
    """Train, or go on; saves at every opportunity.

    Args:
        kill: where the process ends: before update number n ("update"), at step n of this process
            ("step"), or in its nth save: with half of the file written ("half"), before it gets its
            name ("whole") or after ("named"), or when only its replay is written ("replay").
    """
    what, number = kill or ("", -1)
    kind = settings_of(name).spec.load_class()
    if what == "update":
        learn = kind.train

        def mortal(self: Any) -> None:
            if self._n_updates == number:
                die()
            learn(self)

        kind.train = mortal
    elif what == "step":
        Mortal.left = number
    elif what:
        _die_in_a_save(what, number)
    settings = settings_of(name)
    drives = record(12) if settings.offline else None
    made = partial(Mortal, **settings.env.kwargs)
    train(settings, out, made, drives, checkpoint_seconds=every)


def _die_in_a_save(when: str, number: int) -> None:
    left, write, name = number, Path.write_bytes, os.replace

    def mortal_write(path: Path, content: Any) -> int:
        nonlocal left
        left -= when != "replay" and "checkpoint.zip" in path.name
        if left == 0 and when == "half":
            write(path, bytes(content)[: len(content) // 2])
            die()
        return write(path, content)

    def mortal_name(source: Any, target: Any) -> None:
        nonlocal left
        if left == 0 and when == "whole":
            die()
        name(source, target)
        if when == "replay":
            left -= ".replay" in str(target)
        if left == 0 and when in ("named", "replay"):
            die()

    Path.write_bytes = mortal_write  # type: ignore[assignment]
    wrappers.files.os.replace = mortal_name
