"""What a second `learn` means: a fresh schedule, or going on where the last one was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from speed_limit import SpeedLimit, record
from stable_baselines3.common.callbacks import BaseCallback
from tiny_agents import make

from vlsafe_agents import BC, PPOLag, VLSafe
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.stock import PPO

UPDATES = ("gated", "lagrangian", "none")
NAMES = (*(f"vlsafe {update}" for update in UPDATES), "bc", "ppo_lag", "ppo")
ROLLOUT = 16
TOP = 1e-3  # of all learning rates below


@pytest.fixture(scope="module")
def dataset() -> EpisodeDataset:
    return record(30)


def new(name: str, dataset: EpisodeDataset) -> Any:
    if name.startswith("vlsafe"):
        rates = {"train": {"learning_rate": TOP}, "network": {"learning_rate": TOP}}
        return make(dataset, update=name.split()[1], config=rates)
    common: dict[str, Any] = {"seed": 0, "device": "cpu", "learning_rate": falling}
    if name == "bc":
        return BC("MlpPolicy", SpeedLimit(), dataset, **common)
    kind = PPOLag if name == "ppo_lag" else PPO
    return kind("MlpPolicy", SpeedLimit(), n_steps=ROLLOUT, batch_size=8, n_epochs=1, **common)


def falling(remaining: float) -> float:
    return TOP * remaining


class Seen(BaseCallback):
    """Learning rates and, of VLSafe, the phase of every update."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.rates: list[float] = []
        self.phases: list[str] = []
        self.stop_after = stop_after

    def _on_step(self) -> bool:
        model: Any = self.model
        if isinstance(model, VLSafe):
            update = model._n_updates - 1
            schedule = model.schedule
            self.phases.append(
                "model"
                if schedule.warming_up(update)
                else ("policy" if schedule.improving(update) else "critics")
            )
            optimizers = [model.model_optimizer, model.actor_critic_optimizer]
        else:
            optimizers = [model.policy.optimizer]
        self.rates += [group["lr"] for o in optimizers for group in o.param_groups]
        return self.stop_after is None or self.num_timesteps < self.stop_after


def steps(name: str, updates: int) -> int:
    return updates * ROLLOUT if name.startswith("ppo") else updates


def weights(agent: Any) -> torch.Tensor:
    return torch.cat([p.detach().clone().flatten() for p in agent.policy.parameters()])


def run(agent: Any, updates: int, name: str, **kwargs: Any) -> Seen:
    seen = Seen(kwargs.pop("stop_after", None))
    agent.learn(steps(name, updates), callback=seen, **kwargs)
    return seen


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_rates_stay_between_zero_and_the_top_however_often_learn_is_called(
    name: str, reset: bool, dataset: EpisodeDataset
) -> None:
    agent = new(name, dataset)
    for call in range(3):
        seen = run(agent, 5, name, reset_num_timesteps=reset or call == 0)
        assert min(seen.rates) >= 0.0
        assert max(seen.rates) <= TOP
        if reset and name.startswith("ppo"):  # learns from the second rollout on, a fifth later
            assert seen.rates[ROLLOUT] == pytest.approx(0.8 * TOP)
        elif reset:
            assert seen.rates[0] == pytest.approx(TOP), "a fresh schedule starts at the top"


@pytest.mark.parametrize("name", NAMES)
def test_counters_start_again_or_go_on(name: str, dataset: EpisodeDataset) -> None:
    agent = new(name, dataset)
    run(agent, 3, name)
    run(agent, 4, name)
    assert agent.num_timesteps == steps(name, 4)
    run(agent, 2, name, reset_num_timesteps=False)
    assert agent.num_timesteps == steps(name, 6)


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("vlsafe")])
def test_a_fresh_schedule_repeats_all_phases_and_going_on_repeats_none(
    name: str, dataset: EpisodeDataset
) -> None:
    agent = new(name, dataset)
    first = run(agent, 20, name)
    assert first.phases == 12 * ["model"] + 2 * ["critics"] + 6 * ["policy"]
    assert run(agent, 20, name, reset_num_timesteps=False).phases == 20 * ["policy"]
    assert run(agent, 20, name).phases == first.phases


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("vlsafe")])
@pytest.mark.parametrize("loaded", [False, True])
def test_going_on_keeps_the_improved_actor(
    name: str, loaded: bool, dataset: EpisodeDataset, tmp_path: Path
) -> None:
    agent = new(name, dataset)
    run(agent, 20, name)
    if loaded:
        agent.save(tmp_path / "agent.zip")
        agent = VLSafe.load(tmp_path / "agent.zip", device="cpu", dataset=dataset)
    run(agent, 1, name, reset_num_timesteps=False)
    heads = agent.policy.actor_critic
    pairs = zip(heads.actor.parameters(), heads.behaviour.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("ppo")])
def test_an_interrupted_call_that_goes_on_ends_as_if_it_had_not_been(
    name: str, dataset: EpisodeDataset
) -> None:
    whole, parts = new(name, dataset), new(name, dataset)
    torch.manual_seed(1)
    run(whole, 20, name)
    torch.manual_seed(1)
    run(parts, 20, name, stop_after=7)
    run(parts, 6, name, reset_num_timesteps=False, stop_after=11)
    assert parts.num_timesteps == 11
    run(parts, 9, name, reset_num_timesteps=False)
    if name == "bc":  # the schedule is a share of what each call knew of the whole
        assert parts.num_timesteps == whole.num_timesteps
    else:
        assert parts.schedule == whole.schedule


def test_an_interrupted_call_goes_on_to_equal_weights(dataset: EpisodeDataset) -> None:
    """As `vlsafe train` goes on: what is left of the same whole."""
    whole, parts = new("vlsafe gated", dataset), new("vlsafe gated", dataset)
    torch.manual_seed(1)
    run(whole, 20, "vlsafe gated")
    torch.manual_seed(1)
    run(parts, 20, "vlsafe gated", stop_after=7)
    run(parts, 13, "vlsafe gated", reset_num_timesteps=False)
    assert torch.equal(weights(whole), weights(parts))


def test_twice_half_is_not_once_the_whole_as_documented(dataset: EpisodeDataset) -> None:
    """Going on shares the first half with a single call and differs in when the policy starts."""
    once, twice = new("vlsafe gated", dataset), new("vlsafe gated", dataset)
    long = run(once, 40, "vlsafe gated")
    short = run(twice, 20, "vlsafe gated")
    more = run(twice, 20, "vlsafe gated", reset_num_timesteps=False)
    assert long.phases.count("model") == 24
    assert (short.phases + more.phases).count("model") == 12
    assert not torch.equal(weights(once), weights(twice))


def test_a_shared_world_model_is_acted_on_at_once_and_never_warms_up(
    dataset: EpisodeDataset,
) -> None:
    owner = new("vlsafe gated", dataset)
    run(owner, 20, "vlsafe gated")
    agent = new("vlsafe lagrangian", dataset)
    run(agent, 5, "vlsafe lagrangian")
    agent.adopt_world_model(owner)
    heads, owners = agent.policy.actor_critic, owner.policy.actor_critic
    pairs = zip(heads.actor.parameters(), owners.behaviour.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs), "acts as the prior that it took over"
    seen = run(agent, 10, "vlsafe lagrangian", reset_num_timesteps=False)
    assert seen.phases == 2 * ["critics"] + 8 * ["policy"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", [-1, 2.5, "10", None, float("nan")])
def test_impossible_learning_times_are_refused(
    name: str, wrong: Any, dataset: EpisodeDataset
) -> None:
    with pytest.raises(ValueError, match="total_timesteps"):
        new(name, dataset).learn(wrong)


def test_learning_nothing_plans_nothing(dataset: EpisodeDataset) -> None:
    agent = new("vlsafe gated", dataset)
    agent.learn(0)
    seen = run(agent, 20, "vlsafe gated", reset_num_timesteps=False)
    assert seen.phases.count("model") == 12


@pytest.mark.parametrize("name", ["bc", "ppo_lag", "ppo"])
def test_with_a_constant_rate_twice_half_is_once_the_whole(
    name: str, dataset: EpisodeDataset
) -> None:
    """Going on is exact; a fresh start, SB3's default, resets the environment of drivers."""
    results = []
    for calls in ((8,), (4, 4)):
        agent = new(name, dataset)
        agent.learning_rate = TOP
        agent._setup_lr_schedule()
        torch.manual_seed(1)
        for call, updates in enumerate(calls):
            run(agent, updates, name, reset_num_timesteps=call == 0)
        results.append(weights(agent))
    assert torch.equal(*results)
