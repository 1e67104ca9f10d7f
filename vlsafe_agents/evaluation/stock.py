"""Agents of Stable-Baselines3 and sb3-contrib, from the files that they save themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym

from vlsafe_agents.algorithms import ALGORITHMS, load_object
from wrappers.checks import did_you_mean
from wrappers.files import file_sha256

SB3, CONTRIB = "stable_baselines3", "sb3_contrib"
STOCK = {
    **{name: f"{SB3}:{name.upper()}" for name in ("a2c", "ddpg", "dqn", "ppo", "sac", "td3")},
    **{name: f"{CONTRIB}:{name.upper()}" for name in ("ars", "qrdqn", "tqc", "trpo")},
    "crossq": f"{CONTRIB}:CrossQ",
    "maskable_ppo": f"{CONTRIB}:MaskablePPO",
    "recurrent_ppo": f"{CONTRIB}:RecurrentPPO",
}


def load_stock(path: Path, algo: str | None, allow_pickle: bool) -> tuple[Any, dict[str, Any]]:
    """A saved agent and its settings, as far as its file is known: algorithm, place and contents.

    Args:
        algo: one of ``STOCK``, or of our own algorithms.
        allow_pickle: unpickle what Stable-Baselines3 has saved, which can run code.

    Raises:
        FileNotFoundError: where there is no file.
        ValueError: for an unknown algorithm, a file of another kind, or pickles not allowed.
    """
    from vlsafe_agents.common.agent_file import HoldsPicklesError

    if algo is None:
        raise ValueError(
            f"{path} does not say which algorithm it is of; add --algo, one of {_known()}"
        )
    if algo not in STOCK and algo not in ALGORITHMS:
        alike = did_you_mean(algo, (*STOCK, *ALGORITHMS))
        raise ValueError(f"unknown --algo {algo!r}; choose one of {_known()}{alike}")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}; give a model.zip that was saved")
    home, settings = STOCK.get(algo, ""), {"model": str(path), "sha256": file_sha256(path)}
    if algo in ALGORITHMS:
        try:
            model = ALGORITHMS[algo].load_class().load(path, device="cpu")
            return model, {"algo": algo, **settings}
        except HoldsPicklesError:
            if not home:
                raise
    if not allow_pickle:
        raise ValueError(
            f"{path} is a file of Stable-Baselines3's own, with pickled objects, which can run "
            "code; if you trust where it came from, say --allow-pickle"
        )
    model = _load(path, home)
    return model, {"algo": home, **settings}


def stock_options(settings: Mapping[str, Any]) -> list[str] | None:
    """What ``vlsafe evaluate`` was told of an agent's file; None for agents that we trained."""
    model, algorithm = settings.get("model"), settings.get("algo")
    if not isinstance(model, str) or "sha256" not in settings:
        return None
    names = {home: name for name, home in STOCK.items()}
    if algorithm in names:
        return [model, "--algo", names[algorithm], "--allow-pickle"]
    return [model, "--algo", str(algorithm)]


def observation_for(model: Any, choice: Any) -> str:
    """Which observations of one of our environments an agent was trained on.

    Raises:
        ValueError: where none is alike, naming those that there are.
    """
    from vlsafe_agents.training.settings import POLICIES

    shown = {}
    for kind in POLICIES:
        env = choice.factory(observation=kind, scorer=None)()
        shown[kind] = env.observation_space
        env.close()
        if _alike(model.observation_space, shown[kind]):
            return kind
    listed = "; ".join(f"{kind}: {space}" for kind, space in shown.items())
    raise ValueError(
        f"the agent sees {model.observation_space}, but {choice.env_id} shows {listed}; give the "
        "--env and --env-arg that it was trained in"
    )


def _alike(space: Any, shown: Any) -> bool:
    """Whether they are one space, images turned round or not; bounds do not matter."""
    if isinstance(shown, gym.spaces.Dict):
        return (
            isinstance(space, gym.spaces.Dict)
            and space.spaces.keys() == shown.spaces.keys()
            and all(_alike(space[name], shown[name]) for name in shown.spaces)
        )
    if not isinstance(space, gym.spaces.Box) or space.dtype != shown.dtype:
        return False
    turned = (*shown.shape[2:], *shown.shape[:2]) if len(shown.shape) == 3 else shown.shape
    return space.shape in (shown.shape, turned)


def _load(path: Path, home: str) -> Any:
    package = home.partition(":")[0]
    try:
        kind = load_object(home)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{home} is not installed ({error}); run: pip install {package.replace('_', '-')}"
        ) from error
    try:
        return kind.load(path, device="cpu")
    except Exception as error:  # whatever is in the file
        why = str(error).partition("\n")[0]
        raise ValueError(
            f"{path} cannot be loaded by {home} ({type(error).__name__}: {why}); is --algo the one "
            "that it was saved by?"
        ) from error


def _known() -> str:
    return ", ".join(sorted({*STOCK, *ALGORITHMS}))
