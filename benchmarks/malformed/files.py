"""Files that are cut off, empty, foreign or something else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmarks.malformed.runner import Case

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "cut in half": lambda content: content[: len(content) // 2],
    "cut at the end": lambda content: content[:-3],
    "a Git LFS pointer": lambda content: (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    ),
    "a web page": lambda content: b"<!DOCTYPE html><html><body>404</body></html>",
    "noise": lambda content: bytes((7 * i * i + 3) % 251 for i in range(2000)),
    "UTF-16": lambda content: "some text".encode("utf-16"),
}


@cache
def good() -> Path:
    """A run folder with data, labels, agents and evaluations, made once."""
    folder = Path(tempfile.mkdtemp())
    few = ["--env-arg", "duration=6", "--env-arg", "vehicles=5", "--workers", "1"]
    data = ["--data", str(folder / "data"), "--observation", "vector"]
    for arguments in (
        ["collect", "--out", str(folder / "data"), "--episodes", "5", *few],
        ["label", str(folder / "data"), "--scorer", "oracle", "--no-cache"],
        ["train", "--algo", "bc", "--steps", "2", "--out", str(folder / "bc"), *data],
        ["train", "--preset", "debug", "--steps", "2", "--out", str(folder / "vlsafe"), *data],
        ["evaluate", str(folder / "bc"), "--episodes", "2", "--scorer", "none"],
    ):
        subprocess.run(
            [sys.executable, "-m", "vlsafe_agents.cli.main", *arguments],
            check=True,
            capture_output=True,
        )
    return folder


def cases() -> Iterator[Case]:
    """All of them."""
    for name, (path, read) in readers().items():
        for damage, spoil in DAMAGE.items():
            if damage == "cut at the end" and path.endswith(".json"):
                continue  # closing braces of a file that is read leniently
            run = partial(_damaged, path, spoil, read)
            yield Case("files", f"{name}: {damage}", run, (Path(path).name, *Path(path).parts[:1]))
        yield Case("files", f"{name}: a folder", partial(_folder, path, read), (Path(path).name,))
    yield from _foreign()


def _damaged(
    path: str, spoil: Callable[[bytes], bytes], read: Callable[[Path], Any], folder: Path
) -> None:
    run = _copy(folder)
    file = run / path
    file.write_bytes(spoil(file.read_bytes()))
    read(run)


def _folder(path: str, read: Callable[[Path], Any], folder: Path) -> None:
    run = _copy(folder)
    (run / path).unlink()
    (run / path).mkdir()
    read(run)


def _copy(folder: Path) -> Path:
    return Path(shutil.copytree(good(), folder / "run"))


def _load_agent(folder: Path) -> Any:
    """As ``vlsafe evaluate`` does."""
    from vlsafe_agents.cli.environments import EnvChoice
    from vlsafe_agents.training import load_agent

    return load_agent(folder, env=EnvChoice)


def readers() -> dict[str, tuple[str, Callable[[Path], Any]]]:
    """Path in a run folder, and what reads it."""
    from vlsafe_agents import BC, VLSafe
    from vlsafe_agents.data import EpisodeDataset
    from vlsafe_agents.evaluation import compare, load_recording
    from wrappers import make_scorer
    from wrappers.prompts import read_prompts

    def prompts(run: Path) -> Any:
        return read_prompts(run / "bc" / "settings.json")  # any JSON file stands for one

    data = "data/vlsafe/highway-v0/data/"

    def open_data(run: Path) -> Any:
        return EpisodeDataset.from_minari(run / "data", cost="env")

    def recording(run: Path) -> Any:
        return load_recording(run / "bc" / "episodes" / "best_0.npz")

    def calibrated(run: Path) -> Any:
        return make_scorer(f"calibrated:{run / 'bc' / 'training.json'}")

    return {
        "BC.load": ("bc/model.zip", lambda run: BC.load(run / "bc" / "model.zip")),
        "VLSafe.load": ("vlsafe/model.zip", lambda run: VLSafe.load(run / "vlsafe" / "model.zip")),
        "settings.json": ("bc/settings.json", lambda run: _load_agent(run / "bc")),
        "training.json": ("bc/training.json", lambda run: _load_agent(run / "bc")),
        "evaluation.json": (
            "bc/evaluation.json",
            lambda run: compare([run / "bc" / "evaluation.json"]),
        ),
        "recording": ("bc/episodes/best_0.npz", recording),
        "HDF5": (data + "main_data.hdf5", open_data),
        "metadata.json": (data + "metadata.json", open_data),
        "prompts": ("bc/settings.json", prompts),
        "calibration": ("bc/training.json", calibrated),
    }


def _foreign() -> Iterator[Case]:
    from vlsafe_agents.data import EpisodeDataset

    wrong: tuple[tuple[str, dict[str, Any]], ...] = (
        ("bc/settings.json", {}),
        ("bc/settings.json", {"algo": "sac", "steps": 1, "env": {"env_id": "x", "kwargs": {}}}),
        (
            "bc/settings.json",
            {"algo": "bc", "steps": 1, "env": {"env_id": "antigravity:Fly-v0", "kwargs": {}}},
        ),
        (
            "bc/settings.json",
            {"algo": "bc", "steps": 1, "env": {"env_id": "CartPole-v1", "kwargs": {}}},
        ),
    )
    for path, content in wrong:
        run = partial(_replaced, path, content, lambda run: _load_agent(run / "bc"))
        yield Case("files", f"{path} = {json.dumps(content)[:70]}", run, ("settings.json",))
    meta = "data/vlsafe/highway-v0/data/metadata.json"
    for key, value in (
        ("observation_space", None),
        ("observation_space", "x"),
        ("action_space", 5),
        ("total_episodes", 10**9),
        ("total_episodes", -1),
        ("total_episodes", "many"),
    ):
        run = partial(
            _edited,
            meta,
            key,
            value,
            lambda run: EpisodeDataset.from_minari(run / "data", cost="env"),
        )
        yield Case("files", f"metadata.json: {key} = {value!r}", run, ("data",))


def _replaced(path: str, content: Any, read: Callable[[Path], Any], folder: Path) -> None:
    run = _copy(folder)
    (run / path).write_text(json.dumps(content))
    read(run)


def _edited(path: str, key: str, value: Any, read: Callable[[Path], Any], folder: Path) -> None:
    run = _copy(folder)
    found = json.loads((run / path).read_text())
    (run / path).write_text(json.dumps({**found, key: value}))
    read(run)
