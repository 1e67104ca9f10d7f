"""What ``gym.make``, ``reset`` and ``step`` are given that makes no sense."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.malformed.runner import Case

NAN, INF = float("nan"), float("inf")
HIGHWAY, TURN = "VLSafe-Highway-v0", "VLSafe-LeftTurn-v0"

OPTIONS: dict[str, tuple[Any, ...]] = {
    "density": (-1, 0, NAN, INF, "dense", [1], True),
    "duration": (-1, 0, NAN, "long"),
    "observation": ("pixel", "", 3),
    "action": ("joystick", 3),
    "scorer": ("nonsense", 3, {"a": 1}),
    "cost": ("vim", 3),
    "costs": (0, {"collision": 1}, "low", [1]),
    "rewards": (0, {"speed": 1}, "high", [1]),
    "colour": ("red",),
}
OF_HIGHWAY: dict[str, tuple[Any, ...]] = {
    "lanes": (0, -1, 2.5, "two", NAN),
    "vehicles": (-1, 2.5, "many", NAN),
    "engine": ("steam", 3),
    "frame_size": (0, -1, "large", 2.5),
}


def cases() -> Iterator[Case]:
    """All of them."""
    import vlsafe_envs  # noqa: F401  (registers the ids)

    for env_id, options in ((HIGHWAY, OPTIONS | OF_HIGHWAY), (TURN, OPTIONS)):
        for name, values in options.items():
            for value in values:
                run = partial(_make, env_id, **{name: value})
                yield _case(f"gym.make({env_id!r}, {name}={value!r})", run, name, "option")
    yield _case("gym.make('VLSafe-Moon-v0')", partial(_make, "VLSafe-Moon-v0"), "VLSafe-Moon")
    for number in (0, -1, 2.5, "many"):
        run = partial(_make_vec, number)
        yield _case(f"make_vec_env(n_envs={number!r})", run, "n_envs", "environments")
    yield from _steps()
    for seed in (-1, 2.5, "x"):
        yield _case(f"reset(seed={seed!r})", partial(_reset, seed=seed), "eed")
    yield _case("reset(options={'weather': 1})", partial(_reset, options={"weather": 1}), "weather")
    yield _case("step before reset", partial(_step, HIGHWAY, "meta", 0, reset=False), "reset")


def _case(name: str, run: Any, *words: str) -> Case:
    return Case("environments", name, lambda folder: run(), words)


def _make(env_id: str, **options: Any) -> Any:
    return gym.make(env_id, **({"scorer": None} | options)).close()


def _make_vec(number: Any) -> None:
    from vlsafe_envs.sb3 import make_vec_env

    make_vec_env(HIGHWAY, number, env_kwargs={"scorer": None, "observation": "vector"})


def _reset(**arguments: Any) -> None:
    gym.make(HIGHWAY, scorer=None, observation="vector").reset(**arguments)


def _steps() -> Iterator[Case]:
    wrong: dict[str, tuple[Any, ...]] = {
        "meta": (-1, 5, 1.5, "left", None, NAN, [0, 1]),
        "grid": (-1, 15, 0.5, "x"),
        "continuous": (NAN, [NAN, 0.0], [0.0], [0.0, 0.0, 0.0], "x", None, [2.0, 0.0], [INF, 0.0]),
    }
    for action, values in wrong.items():
        for value in values:
            given = np.array(value, np.float32) if isinstance(value, list) else value
            run = partial(_step, HIGHWAY, action, given)
            yield _case(f"step({value!r}), action={action!r}", run, "action")


def _step(env_id: str, action: str, value: Any, reset: bool = True) -> None:
    env = gym.make(
        env_id, scorer=None, observation="vector", action=action, disable_env_checker=True
    )
    if reset:
        env.reset(seed=0)
    env.step(value)
