"""What would have come of other actions: branches from states of recorded drives, as data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest
from test_collect import assert_same
from test_collect_together import OPTIONS, fleet_of
from toy_drives import CountingDriver, NoisyCountingEnv

from vlsafe_agents import BC, VLSafe
from vlsafe_agents.cli.collect import _brancher, _branches
from vlsafe_agents.cli.environments import EnvChoice
from vlsafe_agents.data import Episode, EpisodeDataset
from vlsafe_agents.data.branching import (
    EVENLY,
    BranchConfig,
    Brancher,
    branch_out,
    choose_states,
    criticality,
)
from vlsafe_agents.data.collect import CollectConfig, CollectSummary, collect
from vlsafe_agents.data.driving import drive
from vlsafe_agents.data.mixture import MixedDataset
from vlsafe_agents.report.commands import commands
from vlsafe_agents.report.page import _count, _dataset_card
from vlsafe_agents.report.run_folder import read_run_folder
from vlsafe_agents.vlsafe.batch import to_tensors
from vlsafe_envs.drivers import make_driver

HIGHWAY = EnvChoice("VLSafe-Highway-v0", {"duration": 12})
LEFT = EnvChoice("VLSafe-LeftTurn-v0", {"traffic": "hard", "duration": 12})
MIX = {"expert": 0.5, "aggressive": 0.5}


def collect_branches(
    out: Path, choice: EnvChoice, states: int = 2, fleet: Any = None, **more: Any
) -> CollectSummary:
    branches = _branches(choice, states, 3.0) if states else None
    config = CollectConfig(
        choice.env_id, choice.kwargs, MIX, episodes=4, dataset_id="vlsafe/toy-v0", branches=branches
    )
    brancher = _brancher() if states else None
    factory = choice.factory(**OPTIONS)
    return collect(
        config, out, factory, make_driver, progress=False, fleet=fleet, brancher=brancher, **more
    )


@pytest.fixture(scope="module", params=[HIGHWAY, LEFT], ids=["highway", "left_turn"])
def collected(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[EnvChoice, CollectSummary]:
    folder = tmp_path_factory.mktemp("run") / "data"
    return request.param, collect_branches(folder, request.param)


def branches_of(summary: CollectSummary) -> Path:
    return summary.path.with_name("toy-branches-v0")


def test_each_branch_is_what_an_undisturbed_drive_with_its_actions_shows(
    collected: tuple[EnvChoice, CollectSummary],
) -> None:
    choice, summary = collected
    drives = EpisodeDataset.from_minari(summary.path, cost="env")
    branches = EpisodeDataset.from_minari(branches_of(summary), cost="env")
    assert drives.num_branches == 0
    assert branches.num_branches == branches.num_episodes > 8
    env = choice.factory(**OPTIONS)()
    for branch in branches.episodes:
        origin = branch.branch
        recorded = drives.episode(origin.episode)
        assert branch.seed == recorded.seed
        assert branch.driver == f"branch:{origin.macro}"
        np.testing.assert_array_equal(branch.obs["vector"][0], recorded.obs["vector"][origin.step])
        env.reset(seed=recorded.seed)
        for action in recorded.action[: origin.step]:
            observation, *_ = env.step(int(action))
        for step, action in enumerate(branch.action):
            observation, reward, terminated, truncated, info = env.step(int(action))
            np.testing.assert_array_equal(observation["image"], branch.obs["image"][step + 1])
            np.testing.assert_array_equal(observation["vector"], branch.obs["vector"][step + 1])
            assert np.float32(reward) == branch.reward[step]
            assert np.float32(info["env_cost"]) == branch.env_cost[step + 1]
            assert (terminated or truncated) <= (step + 1 == branch.num_steps)
        assert terminated == branch.terminated
        horizon = 3 * env.unwrapped.scenario.traffic.policy_frequency
        assert terminated or truncated or branch.num_steps == horizon
        left = recorded.action[origin.step :][: env.unwrapped.scenario.traffic.policy_frequency]
        assert not np.array_equal(branch.action[: len(left)], left), "the driver did the same"


def test_branches_change_nothing_of_the_drives_and_are_found_by_nobody_unasked(
    collected: tuple[EnvChoice, CollectSummary], tmp_path: Path
) -> None:
    choice, summary = collected
    alone = collect_branches(tmp_path, choice, states=0)
    assert_same(alone.path, summary.path)
    assert alone.branches is None
    assert alone.drivers == summary.drivers
    assert not branches_of(alone).exists()
    above = EpisodeDataset.from_minari(summary.path.parent)
    assert (above.num_episodes, above.num_branches) == (4, 0)


def test_what_branches_cost_is_counted_apart(
    collected: tuple[EnvChoice, CollectSummary],
) -> None:
    _, summary = collected
    counted = summary.branches
    assert counted is not None
    path = branches_of(summary) / "data"
    with h5py.File(path / "main_data.hdf5") as file:
        groups = [file[name] for name in file]
        steps = sum(len(group["rewards"]) for group in groups)
        crashes = sum(bool(group["infos/collision"][()].any()) for group in groups)
        attributes = dict(groups[0].attrs)
    assert (counted["episodes"], counted["steps"]) == (len(groups), steps)
    assert counted["collisions"] == crashes > 0
    assert counted["simulated_steps"] > steps
    assert sum(row["steps"] for row in counted["drivers"].values()) == steps
    assert {"branch_episode", "branch_step", "branch_macro", "branch_why"} <= attributes.keys()
    stored = json.loads((summary.path / "data" / "metadata.json").read_text())
    assert stored["contents"]["branches"] == counted
    assert stored["total_steps"] == summary.steps
    beside = json.loads((path / "metadata.json").read_text())
    assert beside["branches_of"] == "vlsafe/toy-v0"
    assert beside["total_steps"] == steps


def test_the_report_states_branches_and_how_to_drive_them_again(
    collected: tuple[EnvChoice, CollectSummary],
) -> None:
    _, summary = collected
    assert summary.branches is not None
    run = read_run_folder(summary.path.parent.parent.parent)
    (line,) = [line for line in commands(run).splitlines() if line.startswith("vlsafe collect")]
    assert "--branches 2 --branch-seconds 3" in line
    card = dict(_dataset_card(run.dataset))
    assert card["Steps simulated for branches"] == _count(summary.branches["simulated_steps"])
    assert card["Branches with a collision"] == _count(summary.branches["collisions"])
    assert card["Steps"] == _count(summary.steps)


def test_side_by_side_and_after_a_kill_the_same_branches_are_driven(
    collected: tuple[EnvChoice, CollectSummary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice, summary = collected
    fleet = fleet_of(choice, 3) if choice is HIGHWAY else None
    with monkeypatch.context() as patched:
        patched.setattr("vlsafe_agents.data.branch_sets.assemble", stop)
        with pytest.raises(KeyboardInterrupt):
            collect_branches(tmp_path, choice, fleet=fleet)
    shards = tmp_path / "vlsafe" / ".toy-v0.shards"
    lost = sorted((shards / "branches").glob("*.hdf5"))[1]
    lost.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="driven again"):
        again = collect_branches(tmp_path, choice, fleet=fleet)
    assert again.branches == summary.branches
    assert_same(again.path, summary.path)
    assert_same(branches_of(again), branches_of(summary))
    assert collect_branches(tmp_path, choice) == again
    with pytest.raises(FileExistsError, match="other settings"):
        collect_branches(tmp_path, choice, states=0)


def test_what_others_keep_where_branches_would_come_is_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "vlsafe" / "toy-branches-v0" / "data" / "metadata.json"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("{}")
    with pytest.raises(FileExistsError, match="holds something else"):
        collect_branches(tmp_path, HIGHWAY, overwrite=True)
    collect_branches(tmp_path, HIGHWAY, states=0)
    assert foreign.read_text() == "{}"


def test_branches_that_are_collected_anew_do_not_outlive_their_drives(
    collected: tuple[EnvChoice, CollectSummary], tmp_path: Path
) -> None:
    choice, summary = collected
    shutil.copytree(summary.path.parent.parent, tmp_path / "copy")
    again = collect_branches(tmp_path / "copy", choice, states=0, overwrite=True)
    assert not branches_of(again).exists()


def stop(*args: Any) -> None:
    raise KeyboardInterrupt


def test_the_judge_labels_branches_like_any_other_drives(
    collected: tuple[EnvChoice, CollectSummary], tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from vlsafe_agents.cli.main import app

    _, summary = collected
    branches = branches_of(summary)
    said = CliRunner().invoke(app, ["label", str(branches), "--scorer", "oracle", "--no-cache"])
    assert said.exit_code == 0, said.output
    assert EpisodeDataset.from_minari(branches).has_safety_score


# --- which states, and what cannot be driven again ------------------------------------------------


def episode_of(times: list[float], ends_badly: bool = False) -> Episode:
    steps = len(times)
    cost = np.zeros(steps + 1)
    cost[-1] = ends_badly
    times_ = np.array([*times, 0.0], np.float32)
    vector = np.zeros((steps + 1, 1), np.float32)
    return Episode(
        {"vector": vector}, np.zeros(steps, int), np.zeros(steps), cost, ends_badly, seed=1,
        infos={"time_to_collision": times_},
    )  # fmt: skip


def test_critical_states_are_those_before_contacts_and_costs() -> None:
    danger, why = criticality(episode_of([9.0, 1.0, 4.0, 9.0, 9.0], ends_badly=True), 2)
    np.testing.assert_allclose(danger, [0.0, 0.5, 0.2, 1.0, 1.0])
    assert why[1:] == ["time_to_collision"] * 2 + ["before_cost"] * 2
    assert not criticality(episode_of([9.0, 9.0]), 2)[0].any()


def test_half_of_the_states_are_drawn_evenly_and_half_where_it_is_critical() -> None:
    episode = episode_of([9.0] * 50 + [0.5] * 5 + [9.0] * 45)
    config = BranchConfig(1, ("go",), 1.0)
    found = [choose_states(episode, config, np.random.default_rng(k))[0] for k in range(2000)]
    critical = [state for state in found if state.why != EVENLY]
    assert abs(len(critical) / 2000 - 0.5) < 0.05
    assert {state.step for state in critical} == set(range(50, 55))
    evenly = np.bincount([state.step for state in found if state.why == EVENLY], minlength=100)
    assert evenly.min() > 0
    every = choose_states(episode, BranchConfig(200, ("go",), 1.0), np.random.default_rng(0))
    assert [state.step for state in every] == list(range(100))
    calm = choose_states(
        episode_of([9.0] * 4), BranchConfig(3, ("go",), 1.0), np.random.default_rng(0)
    )
    assert [state.why for state in calm] == [EVENLY] * 3


def test_an_episode_that_cannot_be_driven_again_is_refused() -> None:
    class Forgetful(NoisyCountingEnv):
        resets = 0

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            observation, info = super().reset(seed=seed)
            self.resets += 1
            self.np_random.bit_generator.advance(self.resets)
            return observation, info

    env = Forgetful()
    recorded = drive(env, "expert", CountingDriver, 3)
    nothing = [(1, None)]
    brancher = Brancher(lambda env, names, read: iter(nothing), CountingDriver)
    config = BranchConfig(10, ("go",), 1.0)
    with pytest.raises(ValueError, match="cannot be driven again"):
        branch_out(env, recorded, 0, config, brancher)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"states": 0}, "states"), ({"seconds": 0}, "seconds"), ({"macros": ()}, "macros")],
)
def test_impossible_branches_are_refused(change: dict[str, Any], named: str) -> None:
    settings: dict[str, Any] = {"states": 1, "macros": ("go",), "frequency": 1.0}
    with pytest.raises(ValueError, match=named):
        BranchConfig(**settings | change)


def test_environments_of_others_have_no_branches() -> None:
    from vlsafe_agents.cli.other_envs import OtherEnv

    with pytest.raises(ValueError, match="CartPole-v1 is not ours"):
        _branches(OtherEnv("CartPole-v1", {}), 1, 5.0)


# --- what learners make of them -------------------------------------------------------------------


def tiny(branch: bool, action: int) -> EpisodeDataset:
    """Episodes of one action each."""
    from vlsafe_agents.data.episode import Branch

    origin = Branch(0, 2, "go", EVENLY) if branch else None
    rng = np.random.default_rng(action)
    episodes = [
        Episode(
            {"vector": rng.normal(size=(21, 3)).astype(np.float32)},
            np.full(20, action),
            np.ones(20),
            np.zeros(21),
            terminated=False,
            branch=origin,
        )
        for _ in range(4)
    ]
    space = gym.spaces.Dict({"vector": gym.spaces.Box(-9, 9, (3,), np.float32)})
    return EpisodeDataset.from_arrays(episodes, space, gym.spaces.Discrete(3))


def test_behaviour_cloning_refuses_branches() -> None:
    both = MixedDataset([tiny(False, 0), tiny(True, 1)], [0.5, 0.5])
    with pytest.raises(ValueError, match="4 of the episodes branch"):
        BC("MultiInputPolicy", None, dataset=both)
    for kind in (BC, VLSafe):
        with pytest.raises(ValueError, match="all episodes branch"):
            kind("MultiInputPolicy", None, dataset=tiny(True, 1))


def test_the_prior_of_vlsafe_never_learns_what_branches_did() -> None:
    both = MixedDataset([tiny(False, 0), tiny(True, 1)], [0.5, 0.5])
    agent = VLSafe(
        "MultiInputPolicy", None, both, preset="debug", update="none", safety=None, seed=0
    )
    assert agent.policy.actor_critic.episode_steps == 20
    agent.learn(60)
    _, batch = agent._sample()
    assert 0 < batch.by_driver.float().mean() < 1
    posterior, _ = agent.policy.states(batch, None, None)
    feat = agent.policy.world_model.feat(posterior)
    prior = agent.policy.actor_critic.behaviour
    actions = agent.policy.world_model.action_vector(batch.next_action * 0 + 1)
    assert prior.log_prob(feat, actions).exp().max() < 0.2  # nobody but branches took action 1


def test_losses_of_the_prior_do_not_depend_on_actions_of_branches() -> None:
    both = MixedDataset([tiny(False, 0), tiny(True, 1)], [0.5, 0.5])
    agent = VLSafe(
        "MultiInputPolicy", None, both, preset="debug", update="none", safety=None, seed=0
    )
    batch = to_tensors(both.sample(8, 16, np.random.default_rng(0)))
    changed = batch._replace(next_action=batch.next_action * batch.by_driver)
    model, actor_critic = agent.policy.world_model, agent.policy.actor_critic
    posterior, _ = agent.policy.states(batch, None, None)
    feat = model.feat(posterior).detach()
    one, two = (actor_critic.behaviour_loss(feat, b, model) for b in (batch, changed))
    assert one == two
    assert (changed.next_action != batch.next_action).any()


def test_statistics_of_the_data_leave_branches_out() -> None:
    import torch

    from vlsafe_agents.vlsafe.imagination import choose_starts, recorded_returns

    both = MixedDataset([tiny(False, 0), tiny(True, 1)], [0.5, 0.5])
    agent = VLSafe(
        "MultiInputPolicy", None, both, preset="debug", update="none", safety=None, seed=0
    )
    batch = to_tensors(both.sample(8, 16, np.random.default_rng(0)))
    assert not recorded_returns(batch, 0.9, 3).valid[~batch.by_driver].any()
    posterior, _ = agent.policy.states(batch, None, None)
    starts = choose_starts(posterior, batch, 10_000, 0.5)
    assert starts.by_driver is not None
    assert not starts.first[~starts.by_driver].any()
    assert not starts.own_rows[~starts.by_driver].any()
    assert starts.rows[~starts.by_driver].all()
    assert torch.isclose(starts.rows.sum(), torch.tensor(float(len(starts.rows))))
