"""Digests of what environments show, of a small chain of commands, and of scorers.

    python tests/net/digests.py            # compares with the recorded ones
    python tests/net/digests.py --record   # a change that is meant: say why in the commit

A move of code changes none of them.  All are compared as numbers: the last bits depend on the
processor.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
STEPS = 50
HIGHWAY = ("Highway", "Merge", "Roundabout", "Intersection")
TASKS = ("FourLane", "LeftTurn", "RightTurn")
METADRIVE = ("Navigation", "MetaDrive")
IDS = tuple(f"VLSafe-{name}-v0" for name in (*HIGHWAY, *TASKS, *METADRIVE))
KINDS = ("image", "vector", "multi")
DRIVERS = ("expert", "random")
TOLERANCE = {"environments": 1e-6, "chain": 1e-4, "scorers": 1e-4}
GOLDEN = 0.6180339887498949  # weights of neighbours that differ
ALGORITHMS = {
    "gated": ("--preset", "debug", "--steps", "20", "--update", "gated"),
    "lagrangian": ("--preset", "debug", "--steps", "20", "--update", "lagrangian"),
    "blind": ("--preset", "debug", "--steps", "20", "--safety", "none"),
    "bc": ("--algo", "bc", "--steps", "20"),
    "ppo_lag": ("--algo", "ppo_lag", "--steps", "256", "--envs", "4"),
    "ppo": ("--algo", "ppo", "--steps", "256", "--envs", "4"),
}
STEP = ("observation", "reward", "terminated", "truncated", "info")
SCORERS = (
    "bundled",
    "bundled,form=cosine",
    "bundled,form=margin",
    "distilled",
    "constant:0.9",
    "random:3",
    "random-weights:1",
    "shuffled:bundled,seed=3",
    "ensemble:bundled+constant:0.5",
    "cached:bundled",
    "frames:2:bundled",
    "oracle",
)


class Digest:
    """Sums along a trajectory, two for each name: weighed by place and time, and of sizes.

    Processors differ in the last bits of their sines, so a hash would hold on one kind only.
    """

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}
        self._texts = hashlib.sha256()

    def add(self, name: str, value: Any) -> None:
        """Take in numbers, arrays, texts and nested mappings of them."""
        if isinstance(value, Mapping):
            for key in sorted(value, key=str):
                self.add(name if "/" in name else f"{name}/{key}", value[key])
        elif isinstance(value, list | tuple) or getattr(value, "dtype", None) == np.dtype(object):
            for entry in value:
                self.add(name, entry)
        elif isinstance(value, np.ndarray | np.generic | int | float):
            self._numbers(name, np.atleast_1d(np.asarray(value, dtype=np.float64)).ravel())
            self._texts.update(f"{name}{np.shape(value)}{np.asarray(value).dtype}".encode())
        else:
            self._texts.update(f"{name}{value!r}".encode())

    def _numbers(self, name: str, values: np.ndarray) -> None:
        weighed, size, count = self._sums.get(name, [0.0, 0.0, 0.0])
        weights = 1.0 + (count + np.arange(len(values))) * GOLDEN % 1.0
        known = np.nan_to_num(values, nan=-1.0, posinf=1e3, neginf=-1e3)
        self._sums[name] = [
            weighed + float(weights @ known),
            size + float(np.abs(known).sum()),
            count + len(values),
        ]

    def result(self) -> dict[str, Any]:
        """``{name: [weighed sum, sum of sizes, how many]}`` and a hash of texts and types."""
        return {**self._sums, "texts": self._texts.hexdigest()[:16]}


# --- environments ---------------------------------------------------------------------------------


def environments(
    ids: tuple[str, ...] = IDS, kinds: tuple[str, ...] = KINDS
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and digest of 50 steps of every id, observation and driver, single and vectorised."""
    for env_id in ids:
        for kind in kinds:
            for driver in DRIVERS:
                yield f"{env_id} {kind} {driver}", single(env_id, kind, driver)
            yield f"{env_id} {kind} SB3's vector of 2", vectorised(env_id, kind)
        if any(name in env_id for name in HIGHWAY):
            for driver in DRIVERS:
                yield f"{env_id} multi {driver}, 3 at once", at_once(env_id, driver)


def single(env_id: str, kind: str, driver: str) -> dict[str, Any]:
    """One environment with a driver; episodes that end are begun again."""
    import gymnasium as gym

    import vlsafe_envs  # noqa: F401  (registers the ids)
    from vlsafe_envs.drivers import make_driver

    env = gym.make(env_id, observation=kind, scorer=None, scene_in_info=True)
    digest, seed = Digest(), 5
    observation, info = env.reset(seed=seed)
    digest.add("observation", observation)
    digest.add("info", info)
    control = make_driver(driver, env, np.random.default_rng(7))
    control.reset()
    for _ in range(STEPS):
        observation, reward, terminated, truncated, info = env.step(control.act())
        step = (observation, float(reward), bool(terminated), bool(truncated), info)
        for name, value in zip(STEP, step, strict=True):
            digest.add(name, value)
        if terminated or truncated:
            seed += 1
            digest.add("start", env.reset(seed=seed))
            control.reset()
    env.close()
    return digest.result()


def vectorised(env_id: str, kind: str) -> dict[str, Any]:
    """SB3's vector environment, driven at random."""
    from vlsafe_envs.sb3 import make_vec_env

    options = {"observation": kind, "scorer": None}
    env = make_vec_env(env_id, 2, seed=5, env_kwargs=options)
    digest = Digest()
    digest.add("start", env.reset())
    for _ in range(STEPS):
        actions = np.array([env.action_space.sample() for _ in range(2)])
        observation, reward, done, infos = env.step(actions)
        for info in infos:
            info.pop("episode", None)  # holds the time
        for name, value in zip(
            STEP[:3] + STEP[4:], (observation, reward, done, infos), strict=True
        ):
            digest.add(name, value)
    env.close()
    return digest.result()


def at_once(env_id: str, driver: str) -> dict[str, Any]:
    """Gymnasium's vector environment with a driver in each, as `vlsafe collect` uses it."""
    import gymnasium as gym

    import vlsafe_envs  # noqa: F401  (registers the ids)
    from vlsafe_envs.drivers.many import DriverBatch

    env = gym.make_vec(env_id, num_envs=3, observation="multi", scorer=None)
    team, digest = DriverBatch(env), Digest()
    digest.add("start", env.reset(seed=[5, 6, 7]))
    for slot in range(3):
        team.assign(slot, driver, np.random.default_rng(slot))
    for _ in range(STEPS):
        for name, value in zip(STEP, env.step(team.act([0, 1, 2])), strict=True):
            digest.add(name, value)
    env.close()
    return digest.result()


# --- a chain of commands --------------------------------------------------------------------------


def chain(folder: Path) -> dict[str, Any]:
    """Files, weights and figures of collect, label, train (each algorithm) and evaluate."""
    few = ("--env-arg", "duration=8", "--env-arg", "vehicles=8")
    data = str(folder / "data")
    _vlsafe("collect", "--out", data, "--episodes", "8", "--workers", "1", *few)
    _vlsafe("label", data, "--no-cache")
    seen = ("--data", data, "--observation", "vector")
    for name, options in ALGORITHMS.items():
        _vlsafe("train", "--out", str(folder / name), *options, *seen)
        _vlsafe("evaluate", str(folder / name), "--episodes", "4", "--scorer", "none")
    _vlsafe(
        "evaluate", "expert", "--data", data, "--out", str(folder / "expert"), "--episodes", "4"
    )
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    kept = [name for name in files if "events.out" not in name and "cache" not in name]
    agents = {name: agent(folder / name) for name in ALGORITHMS}
    return {"files": kept, "labels": labels(folder / "data"), "agents": agents}


def labels(data: Path) -> list[float]:
    """Sums that a change of a label or of a step would change."""
    import h5py

    (path,) = data.rglob("main_data.hdf5")
    with h5py.File(path) as file:
        scores = [group["infos/safety_score"][()] for group in file.values()]
        rewards = [group["rewards"][()] for group in file.values()]
    return [float(np.sum(np.concatenate(scores))), float(np.sum(np.concatenate(rewards)))]


def agent(folder: Path) -> dict[str, Any]:
    """Weights in two sums a tensor, and what evaluating and training are said to have been."""
    import zipfile

    import torch

    with zipfile.ZipFile(folder / "model.zip") as archive:
        weights = torch.load(io.BytesIO(archive.read("policy.pth")), weights_only=True)
    sums = [
        [float(value.double().sum()), float(value.double().abs().sum())]
        for name, value in weights.items()
        if not name.endswith("_extra_state")  # the multiplier's, no weights
    ]
    evaluation = json.loads((folder / "evaluation.json").read_text())
    training = json.loads((folder / "training.json").read_text())
    return {
        "weights": sums,
        "episodes": [[e["return"], e["cost"], e["steps"]] for e in evaluation["episodes"]],
        "training": {k: v for k, v in training.items() if isinstance(v, int)},
    }


def _vlsafe(*arguments: str) -> None:
    """One command, in this process: starting it would take longer than most of them."""
    from vlsafe_agents.cli.main import main

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main(arguments)
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"vlsafe {' '.join(arguments)}: {said.getvalue()}") from end


# --- scorers --------------------------------------------------------------------------------------


def scorers() -> dict[str, list[float]]:
    """What each built-in spec gives along a fixed drive."""
    import gymnasium as gym

    import vlsafe_envs  # noqa: F401  (registers the ids)

    found = {}
    for spec in SCORERS:
        env = gym.make("VLSafe-Highway-v0", scorer=spec, observation="vector")
        infos = [env.reset(seed=3)[1], *(env.step(step % 5)[-1] for step in range(8))]
        found[spec] = [round(float(info["safety_score"]), 5) for info in infos]
        env.close()
    return found


# --- comparing ------------------------------------------------------------------------------------


def differences(recorded: Any, found: Any, tolerance: float = 1e-4, place: str = "") -> list[str]:
    """Where two nested values differ; numbers may by ``tolerance`` of the largest beside them."""
    if isinstance(recorded, dict) and isinstance(found, dict):
        keys = list(dict.fromkeys([*recorded, *found]))
        pairs = [(recorded.get(key), found.get(key), f"{place}/{key}") for key in keys]
    elif _numbers(recorded) and _numbers(found) and len(recorded) == len(found):
        scale = max(map(abs, recorded), default=0.0)
        same = np.allclose(recorded, found, rtol=0.0, atol=tolerance * max(scale, 0.1))
        return [] if same else [f"{place}: {recorded} is now {found}"]
    elif isinstance(recorded, list) and isinstance(found, list) and len(recorded) == len(found):
        pairs = [
            (*pair, f"{place}[{i}]") for i, pair in enumerate(zip(recorded, found, strict=True))
        ]
    else:
        return [] if recorded == found else [f"{place}: {recorded} is now {found}"]
    return [line for one, other, at in pairs for line in differences(one, other, tolerance, at)]


def _numbers(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, int | float) for value in values)


def compute() -> dict[str, Any]:
    """All digests."""
    with tempfile.TemporaryDirectory() as folder:
        commands = chain(Path(folder))
    return {"environments": dict(environments()), "chain": commands, "scorers": scorers()}


def _lines(found: dict[str, Any]) -> str:
    """JSON with one line for each trajectory, agent and scorer, so that ``git diff`` names them."""
    parts = [
        f"{json.dumps(part)}: {{\n"
        + ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items())
        + "\n}"
        for part, entries in found.items()
    ]
    return "{\n" + ",\n".join(parts) + "\n}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write them down as they are now")
    record, path = parser.parse_args().record, FOLDER / "digests.json"
    found = compute()
    if record:
        path.write_text(_lines(found) + "\n", encoding="utf-8")
        return 0
    recorded = json.loads(path.read_text(encoding="utf-8"))
    lines = [
        line
        for part, tolerance in TOLERANCE.items()
        for line in differences(recorded[part], found[part], tolerance, part)
    ]
    print("\n".join(lines) or "no difference")
    return int(bool(lines))


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT)]
    sys.exit(main())
