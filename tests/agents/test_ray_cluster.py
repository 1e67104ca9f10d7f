"""Ray is started in one way, or not at all; without Ray itself."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from vlsafe_agents.common.ray_cluster import import_ray, start_ray


def fake(monkeypatch: pytest.MonkeyPatch, running: bool) -> list[dict[str, Any]]:
    """Puts a module in Ray's place; returns what it is started with."""
    begun: list[dict[str, Any]] = []
    module = SimpleNamespace(is_initialized=lambda: running, init=lambda **k: begun.append(k))
    monkeypatch.setitem(sys.modules, "ray", module)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return begun


def test_it_is_started_here_with_the_cores_that_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = fake(monkeypatch, running=False)
    ray, started = start_ray(3)
    assert ray is sys.modules["ray"]
    assert started
    assert begun[0]["num_cpus"] == 3
    assert begun[0]["runtime_env"]["env_vars"]["PYTHONPATH"]


def test_a_cluster_has_its_own_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = fake(monkeypatch, running=False)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert start_ray(3)[1]
    assert "num_cpus" not in begun[0]  # Ray refuses them for one that runs already


def test_what_runs_already_is_neither_started_nor_ours_to_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = fake(monkeypatch, running=True)
    assert not start_ray(3)[1]
    assert begun == []


def test_what_is_missing_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"needs Ray: pip install 'vlsafe\[ray\]'"):
        import_ray()
    with pytest.raises(ImportError, match=r"needs ray\.data: pip install .*'ray\[data\]'"):
        import_ray("ray.data")
