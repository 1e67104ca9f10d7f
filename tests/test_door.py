"""``import vlsafe`` leads to the three packages, registers the ids and loads nothing else."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import gymnasium as gym
import pytest

import vlsafe
import vlsafe_agents
from vlsafe_agents.common.version import vlsafe_version

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", vlsafe.__all__)
def test_a_name_is_that_of_one_package(name: str) -> None:
    found = getattr(vlsafe, name)
    homes = [home for home in map(import_module, vlsafe._HOMES) if name in home.__all__]
    if name != "known_ids":
        assert [getattr(home, name) for home in homes] == [found]


def test_all_algorithms_have_a_name() -> None:
    assert set(vlsafe_agents.__all__) <= set(vlsafe.__all__) <= set(dir(vlsafe))
    assert vlsafe.__version__ == vlsafe_version()
    assert set(vlsafe.known_ids()) <= set(gym.registry)
    with pytest.raises(AttributeError, match="no attribute 'VLSave'"):
        vlsafe.VLSave  # noqa: B018


def test_importing_it_is_cheap() -> None:
    code = (
        "import sys, gymnasium, vlsafe;"
        "heavy = {'torch', 'stable_baselines3', 'highway_env', 'numba', 'minari', 'transformers'};"
        "print(sorted(heavy & set(sys.modules)), 'VLSafe-Highway-v0' in gymnasium.registry);"
        "vlsafe.make_scorer; print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.split("\n")[:2] == ["[] True", "False"]


def test_it_is_a_command_too() -> None:
    command = [sys.executable, "-m", "vlsafe", "--version"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.startswith(f"vlsafe {vlsafe_version()} (Python")
