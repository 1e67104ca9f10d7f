"""What commands about scorers share: scorers by name, and data sets that can be scored again."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlsafe_agents.audit import Source


def load_scorer(spec: str, threads: int, **options: Any) -> Any:
    """The scorer of a name; PyTorch, where the scorer needs it, gets so many threads."""
    from wrappers import make_scorer

    scorer = make_scorer(spec, **options)
    if "torch" in sys.modules:  # scorers without a network need not load it
        import torch

        torch.set_num_threads(threads)
    return scorer


def spec_argument(name: str, path: Path) -> str:
    """``--scorer`` for a scorer in a file or folder, to be pasted into a shell."""
    from wrappers.specs import quoted

    return f"--scorer {shlex.quote(f'{name}:{quoted(path)}')}"


def about_reading(identity: Mapping[str, Any]) -> list[str]:
    """How the scorers in an identity that answer in words are read, a line each."""
    inside = identity.get("of", ())
    parts = inside if isinstance(inside, list) else [inside] if inside else []
    lines = [line for part in parts for line in about_reading(part)]
    if "reading" not in identity:
        return lines
    model, answering = identity.get("model"), identity.get("answering_model", identity["model"])
    who = f"{answering or 'a model that the server does not name'}"
    asked = "" if answering == model else f" (asked for: {model})"
    return [f"answers of {who}{asked}, read from: {identity['reading']}", *lines]


def collected_metadata(data_path: Path) -> dict[str, Any]:
    """Metadata of a data set; ``ValueError`` for one that was not made by ``vlsafe collect``."""
    from vlsafe_agents.cli.environments import recorded_env
    from vlsafe_agents.data.storage import read_metadata

    metadata = read_metadata(data_path)
    if "env_id" not in metadata:
        raise ValueError(
            f"{data_path} was not made by `vlsafe collect`: its metadata name no env_id"
        )
    recorded_env(metadata, data_path)
    return metadata


def source_of(data: Path) -> Source:
    """A data set with what its environment says of it.

    Raises:
        ValueError: for one that was not made by ``vlsafe collect``
    """
    from vlsafe_agents.audit import Source
    from vlsafe_agents.cli.environments import EnvChoice, choose_env
    from vlsafe_agents.data.storage import resolve_dataset
    from vlsafe_envs import SceneRenderer
    from vlsafe_envs.registry import row_of

    path = resolve_dataset(data)
    metadata = collected_metadata(path)
    choice = choose_env(None, [], None, metadata)
    assert isinstance(choice, EnvChoice)  # collected_metadata has seen to it
    env = choice.factory(observation="vector", scorer=None)()
    traffic = env.get_wrapper_attr("scenario").traffic
    env.close()
    return Source(
        path=path,
        scenario=traffic.scenario,
        density=traffic.density,
        seconds=1.0 / traffic.policy_frequency,
        drawing=SceneRenderer(choice.env_id, **choice.kwargs),
        without_others=scenes_without_others,
        lanes=traffic.lanes if "lanes" in row_of(choice.env_id).own_options else None,
        action=traffic.action,
    )


def scenes_without_others(packed: Any) -> Any:
    """Packed scenes ``(N, 48, 7)`` with the ego vehicle and its route alone."""
    import numpy as np

    from vlsafe_envs import Scene

    return np.stack([_alone(Scene.unpack(scene)).pack() for scene in packed])


def _alone(scene: Any) -> Any:
    columns = ("position", "heading", "speed", "length", "width")
    return replace(scene, **{name: getattr(scene, name)[:1] for name in columns})
