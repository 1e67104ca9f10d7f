"""An exported agent does what ``predict(deterministic=True)`` does, without PyTorch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from tiny_agents import MULTI, Still
from tiny_agents import make as make_agent

from vlsafe_agents import VLSafe
from vlsafe_agents.vlsafe.actions import action_kind
from vlsafe_agents.vlsafe.onnx_export import STATE, check_onnx, env_action


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """An agent that sees a picture and a vector, and its session."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    words: dict[str, Any] = {"preset": "debug", "seed": 0, "device": "cpu", "safety": None}
    agent = VLSafe("MultiInputPolicy", Still(MULTI), **words)
    with torch.no_grad():  # a fresh policy starts at zero and would do the same everywhere
        for parameter in agent.policy.actor_critic.actor.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    path = agent.export_onnx(tmp_path_factory.mktemp("onnx") / "agent.onnx")
    assert check_onnx(agent.policy, path) < 1e-3
    return agent, runtime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_it_acts_as_the_agent_over_episodes_of_several_rows(exported: tuple[Any, Any]) -> None:
    agent, session = exported
    rng, rows, steps = np.random.default_rng(0), 5, 30
    shapes = {entry.name: entry.shape[1:] for entry in session.get_inputs()}
    state = {name: np.zeros((rows, *shapes[name]), np.float32) for name in STATE}
    theirs, chosen = None, set()
    for step in range(steps):
        seen = {
            "image": rng.integers(0, 256, (rows, 64, 64, 3), np.uint8),
            "vector": rng.uniform(-1, 1, (rows, 4)).astype(np.float32),
        }
        start = np.full(rows, step == 0) | (rng.random(rows) < 0.1)  # episodes begin anew
        expected, theirs = agent.predict(seen, theirs, start, deterministic=True)
        action, *following = session.run(None, {**seen, **state, "episode_start": start})
        np.testing.assert_array_equal(action, expected)
        for ours, other in zip(following, theirs, strict=True):
            np.testing.assert_allclose(ours, other, atol=1e-4)
        state = dict(zip(STATE, following, strict=True))
        chosen |= set(action.tolist())
    assert len(chosen) > 1, "the agent does the same everywhere: nothing was compared"


def test_the_file_says_what_it_looks_at(exported: tuple[Any, Any]) -> None:
    _, session = exported
    stated = json.loads(session.get_modelmeta().custom_metadata_map["vlsafe"])
    assert stated == {
        "image": {"shape": [64, 64, 3], "dtype": "uint8"},
        "vector": {"shape": [4], "dtype": "float32"},
    }


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(5, start=-1),
        spaces.MultiDiscrete([2, 3], start=[0, 4]),
        spaces.MultiBinary(3),
        spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 9.0], np.float32)),
        spaces.Box(0, 10, (2,), np.int64),
    ],
    ids=lambda space: type(space).__name__,
)
def test_actions_become_those_of_the_environment(space: spaces.Space[Any]) -> None:
    kind = action_kind(space)
    vectors = torch.randn(64, kind.size, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    expected = kind.to_env(vectors.numpy())
    found = env_action(kind, vectors).numpy()
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert all(space.contains(row) for row in found.astype(space.dtype).reshape(expected.shape))


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"vlsafe\[onnx\]"):
        make_agent(None, safety=None).export_onnx(tmp_path / "agent.onnx")
