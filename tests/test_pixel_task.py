"""The comparison on pixels: learning curves, our side of it, and steps as r2dreamer takes them."""

from __future__ import annotations

import math

import pytest
import torch
from load_script import script

task = script("benchmarks/pixel_task.py")


def test_the_curve_is_the_mean_return_of_the_episodes_that_end_in_a_span() -> None:
    run = task.Run("any", 0, [(100, 1.0), (500, 0.0), (501, -1.0)])
    first, second, third = run.curve(2 * task.SPAN + 1)
    assert (first, second) == (0.5, -1.0)
    assert math.isnan(third)


def test_ours_drives_learns_and_is_asked_on_other_seeds() -> None:
    run, agent = task.learn_ours(0, 160, task.CATCH_CONFIG)
    assert run.updates == agent._n_updates > 0
    assert run.seconds > run.updating > 0.0
    assert len(run.ended) >= task.ENVS
    assert {earned for _, earned in run.ended} <= {-1.0, 1.0}
    assert -1.0 <= run.greedy <= 1.0
    rows = task.sizes(agent.policy, None)
    assert len(rows) == 2 + len(task.PARTS)
    assert all(row.endswith("| - |") for row in rows[2:])


def test_environments_that_are_done_are_reset_and_that_is_no_step() -> None:
    pytest.importorskip("tensordict")
    run = task.Run("any", 0)
    envs = task.Envs(0, run)
    done, stay = torch.ones(envs.env_num, dtype=torch.bool), torch.eye(3)[[1] * envs.env_num]
    rows, done = envs.step(stay, done)
    assert rows["is_first"].all()
    assert not done.any()
    steps = 0
    while not done.any():
        rows, done = envs.step(stay, done)
        steps += 1
    assert done.all()
    assert rows["is_terminal"].all()
    assert not rows["is_first"].any()
    assert envs.steps == envs.env_num * steps
    assert [earned for _, earned in run.ended] == rows["reward"][:, 0].tolist()
