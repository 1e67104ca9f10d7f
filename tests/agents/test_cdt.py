"""CDT: where it ends on a solved task, its transformer, its targets and its memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch as th
import two_lanes
from gymnasium import spaces
from numpy_weights import close, numbers, randomise
from speed_limit import SpeedLimit
from speed_limit import record as record_speeds
from test_bc import dataset as pictures
from test_cli_limits import run
from test_offline_baselines import bandit
from test_vehicle_rows import drives as vehicle_drives
from toy_envs import CountingEnv, SpeedLimitEnv
from two_lanes import COSTS, FAST, STEPS, TwoLanes, drive, record

from vlsafe_agents import CDT
from vlsafe_agents.cdt.network import HistoryNetwork, step_encoding
from vlsafe_agents.cdt.targets import best_within, relabel, returns_within
from vlsafe_agents.common.vehicle_policies import VehiclesExtractor
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.evaluation import read_evaluation

TINY = {"width": 16, "layers": 1, "heads": 2}
SMALL: dict[str, Any] = {"seed": 0, "device": "cpu", "batch_size": 8, "policy_kwargs": TINY}
LEARNS: dict[str, Any] = {
    "context": 2,
    "learning_rate": 2e-3,
    "ent_coef": 0.0,
    "seed": 0,
    "device": "cpu",
    "policy_kwargs": {"width": 32, "layers": 1, "heads": 2, "dropout": 0.0},
}


@pytest.fixture(scope="module")
def sure() -> Iterator[EpisodeDataset]:
    """Drives on lanes where a change always succeeds: an episode can end at its targets there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(two_lanes, "CHANGE", 1.0)
        yield record(600)


@pytest.fixture(scope="module")
def learned(sure: EpisodeDataset) -> CDT:
    return CDT("MlpPolicy", TwoLanes(), sure, cost_limit=2.0, best=0.05, **LEARNS).learn(500)


# --- where it ends --------------------------------------------------------------------------------


def most_within(limit: float) -> int:
    """The highest return of an episode within a limit: of all 2^10 choices of cells."""
    every = np.array(list(product((0, 1), repeat=STEPS)))
    return int(every.sum(1)[every @ np.array(COSTS) <= limit + 1e-9].max())


def test_a_larger_limit_earns_more_and_costs_more(learned: CDT) -> None:
    ends = []
    learned.policy.target_return = 10.0  # nobody earns as much: what is safe comes first
    for limit in (0.5, 1.0, 2.0, 3.0, 4.0, 5.5):
        learned.policy.acting_limit = limit
        earned, paid = drive(learned, 100)
        print(
            f"CDT, limit {limit}: return {earned:.2f}, cost {paid:.2f}; best {most_within(limit)}"
        )
        assert limit - 0.6 < paid < limit + 0.1
        assert earned > most_within(limit) - 1.5
        ends.append((earned, paid))
    earned, paid = np.diff(ends, axis=0).T
    assert (earned > 0.3).all()
    assert (paid > 0.2).all()


def test_it_imitates_those_who_earned_and_paid_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only even cells cost, FAST's chance is what is left of a kind over its cells ahead."""
    costs = (1.0, 0.0) * (STEPS // 2)
    monkeypatch.setattr(two_lanes, "CHANGE", 1.0)
    monkeypatch.setattr(two_lanes, "COSTS", costs)
    agent = CDT("MlpPolicy", TwoLanes(), record(600), augment=0.0,
                **LEARNS | {"context": 1, "learning_rate": 4e-3})  # fmt: skip
    agent.learn(500)
    lanes = np.array(list(product((0, 1), repeat=STEPS)))  # (D, STEPS), all drives of a coin
    left = np.stack([lanes, lanes * costs], -1)[:, ::-1].cumsum(1)[:, ::-1]  # (D, STEPS, 2)
    ahead = np.stack([np.ones(STEPS), costs], -1)[::-1].cumsum(0)[::-1]  # (STEPS, 2)
    of_odd = (left - left[..., 1:])[..., 0] / np.maximum(ahead[:, 0] - ahead[:, 1], 1)
    known = np.where(costs, left[..., 1] / np.maximum(ahead[:, 1], 1), of_odd)
    came_from = np.concatenate([np.zeros((len(lanes), 1), np.int64), lanes[:, :-1]], 1)
    seen = np.eye(2 * (STEPS + 1))[2 * np.arange(STEPS) + came_from]
    parts = (seen, np.zeros((*lanes.shape, 2)), left)
    with th.no_grad():
        latent = agent.policy.history(
            *(th.as_tensor(x.copy(), dtype=th.float32).flatten(0, 1)[:, None] for x in parts),
            th.arange(STEPS).repeat(len(lanes))[:, None],
        )
        chances = agent.policy.distribution(latent[:, 0]).distribution.probs[:, FAST]
    errors = np.abs(numbers(chances).reshape(lanes.shape) - known)
    coin = np.abs(0.5 - known).mean()
    print(f"CDT: mean error of a chance {errors.mean():.3f}; a coin's {coin:.3f}")
    assert errors.mean() < 0.08
    for told in ((6.0, 2.0), (4.0, 3.0)):
        agent.policy.target_return, agent.policy.acting_limit = told
        assert drive(agent, 100) == pytest.approx(told, abs=0.4)


def test_it_estimates_what_a_step_has_earned_and_cost(learned: CDT, sure: EpisodeDataset) -> None:
    batch = sure.sample_transitions(200, np.random.default_rng(0))
    before, after = (th.as_tensor(obs["vector"]) for obs in (batch.obs, batch.next_obs))
    taken = th.nn.functional.one_hot(th.as_tensor(batch.action), 2).float()
    with th.no_grad():
        found = numbers(learned.policy.history.outcomes(before, taken, after))
    errors = np.abs(found - np.stack([batch.reward, batch.cost], -1)).mean(0)
    assert (errors < 0.05).all()


# --- targets --------------------------------------------------------------------------------------


def test_the_best_within_a_limit() -> None:
    returns, costs = np.array([1.0, 5.0, 3.0, 9.0, 4.0]), np.array([0.0, 2.0, 0.5, 7.0, 1.0])
    assert best_within(returns, costs, 0.0, 0.01).tolist() == [0]
    assert best_within(returns, costs, 2.0, 0.01).tolist() == [1]
    assert best_within(returns, costs, 2.0, 0.5).tolist() == [1, 4]
    assert best_within(returns, costs, 9.0, 1.0).tolist() == [3, 1, 4, 2, 0]
    with pytest.raises(ValueError, match=r"no episode costs -1 or less; the least is 0"):
        best_within(returns, costs, -1.0, 0.5)


def test_what_is_earned_within_limits() -> None:
    returns, costs = np.array([1.0, 5.0, 3.0, 9.0, 4.0]), np.array([0.0, 2.0, 0.5, 7.0, 1.0])
    found = returns_within(returns, costs, 0.5, 5)
    assert found.tolist() == [[0.0, 1.0], [0.5, 3.0], [1.0, 3.5], [2.0, 4.5], [7.0, 7.0]]


def test_new_targets_are_met_safely_by_the_episode_that_is_shown() -> None:
    rng = np.random.default_rng(0)
    returns, costs = rng.normal(size=50) * 3, np.round(rng.random(50) * 5)
    shown = relabel(returns, costs, 500, 0.1, rng)
    limit = costs[shown.episode] + shown.more_cost
    target = returns[shown.episode] + shown.more_return
    assert (shown.more_cost >= 0).all()
    assert (shown.more_return >= 0).all()
    assert (target <= returns.max() + 1e-9).all()
    assert costs.min() <= limit.min()
    assert limit.max() <= costs.max()
    for episode, allowed in zip(shown.episode, limit, strict=True):
        better = (costs <= allowed + 1e-9) & (returns > returns[episode])
        assert better.sum() < max(0.1 * (costs <= allowed + 1e-9).sum() + 0.5, 1)
    assert len(set(shown.episode.tolist())) > 5


# --- the transformer ------------------------------------------------------------------------------


def network(seed: int = 0, context: int = 5) -> tuple[HistoryNetwork, list[th.Tensor]]:
    th.manual_seed(seed)
    net = HistoryNetwork(3, 2, context, width=16, layers=2, heads=2, dropout=0.5).eval()
    return net, [
        th.randn(4, context, 3), th.randn(4, context, 2), th.randn(4, context, 2).abs(),
        th.arange(context).expand(4, -1),
    ]  # fmt: skip


@pytest.mark.parametrize("learning", [False, True])
def test_a_later_token_never_changes_an_earlier_output(learning: bool) -> None:
    net, inputs = network()
    net.train(learning)
    for layer in net.modules():
        if isinstance(layer, th.nn.Dropout | th.nn.MultiheadAttention):
            layer.p = layer.dropout = 0.0  # type: ignore[assignment]
    with th.set_grad_enabled(learning):
        before = net(*inputs)
        for place, kind in product(range(5), range(4)):
            changed = [x.clone() for x in inputs]
            changed[kind][:, place] += 3
            after = net(*changed)
            first = place + (kind == 1)  # an action belongs to its step's end
            assert th.allclose(before[:, :first], after[:, :first], atol=1e-5)
            for later in range(first, 5):
                assert not th.allclose(before[:, later], after[:, later], atol=1e-3)


def test_fewer_steps_than_the_context_need_no_padding() -> None:
    net, inputs = network()
    with th.no_grad():
        whole, part = net(*inputs), net(*(x[:, :2] for x in inputs))
    assert th.allclose(whole[:, :2], part, atol=1e-5)


def test_steps_are_encoded_by_sines_and_cosines() -> None:
    found = numbers(step_encoding(th.tensor([[0, 3], [7, 40]]), 6))
    for row, steps in enumerate(((0, 3), (7, 40))):
        for column, step in enumerate(steps):
            angles = [step / 1e4 ** (2 * k / 6) for k in range(3)]
            expected = [*map(math.sin, angles), *map(math.cos, angles)]
            assert found[row, column] == pytest.approx(expected, abs=1e-5)


def test_to_go_is_scaled_by_the_data() -> None:
    net, inputs = network()
    to_go = th.rand(1000, 2) * th.tensor([50.0, 9.0])
    net.set_scales(to_go)
    signals = th.stack([to_go[:, 0], th.log1p(to_go[:, 1])], -1)
    assert numbers(net.to_go_mean) == pytest.approx(numbers(signals.mean(0)))
    assert numbers(net.to_go_std) == pytest.approx(numbers(signals.std(0, unbiased=False)))
    net.set_scales(th.ones(10, 2))  # one value only
    assert net.to_go_std.tolist() == [1.0, 1.0]
    inputs[2][..., 1] = -1.0  # a limit that is used up
    zero = [*inputs[:2], inputs[2] * th.tensor([1.0, 0.0]), inputs[3]]
    with th.no_grad():
        assert th.equal(net(*inputs), net(*zero))


def test_its_loss_from_its_networks_on(sure: EpisodeDataset) -> None:
    agent = CDT("MlpPolicy", TwoLanes(), sure, context=4, ent_coef=0.3, augment=0.5, **SMALL)
    randomise(agent.policy, 0.3)
    agent.policy.set_training_mode(False)
    batch, to_go = agent._sample()
    assert (~batch.known).sum() > 0
    extra = numbers(to_go) - np.stack([batch.return_to_go, batch.cost_to_go], -1)
    assert (extra[:4] >= -1e-5).all()  # half of it is shown under higher targets
    assert np.abs(extra[4:]).max() < 1e-5
    assert np.ptp(extra, 1).max() < 1e-5, "the same for all steps of a part"
    history, total, count = agent.policy.history, 0.0, 0
    taken = np.eye(2, dtype=np.float32)[batch.action]
    seen = batch.obs["vector"]
    with th.no_grad():
        latent = history(*map(th.as_tensor, (seen[:, :-1], taken, to_go, batch.step)))
        logits = numbers(agent.policy.action_net(latent))
        came = numbers(history.outcomes(*map(th.as_tensor, (seen[:, :-1], taken, seen[:, 1:]))))
    for b, k in zip(*np.nonzero(batch.known), strict=True):
        p = np.exp(logits[b, k]) / np.exp(logits[b, k]).sum()
        total += -math.log(p[batch.action[b, k]]) + 0.3 * float((p * np.log(p)).sum())
        total += (came[b, k, 0] - batch.reward[b, k]) ** 2
        total += (came[b, k, 1] - batch.cost[b, k]) ** 2
        count += 1
    close(agent._losses((batch, to_go))[0], total / count)


# --- what it remembers ----------------------------------------------------------------------------


def known_outcomes(monkeypatch: pytest.MonkeyPatch, agent: CDT, earned: float, paid: float) -> None:
    def outcomes(features: th.Tensor, *_: Any) -> th.Tensor:
        return th.tensor([earned, paid]).expand(len(features), 2).clone()

    monkeypatch.setattr(agent.policy.history, "outcomes", outcomes)


def test_what_is_left_shrinks_by_what_came(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = CDT(
        "MlpPolicy", TwoLanes(), None, cost_limit=1.0, target_return=9.0, context=3, **SMALL
    )
    known_outcomes(monkeypatch, agent, 2.0, 0.4)
    seen, state = np.eye(2, 22, dtype=np.float32), None
    for step in range(6):
        actions, state = agent.predict(seen, state, np.full(2, step == 0))
        assert state is not None
        assert state[3].tolist() == [step, step]
        told = state[2][:, min(step, 2)]
        assert told[0] == pytest.approx([9.0 - 2.0 * step, max(1.0 - 0.4 * step, 0.0)], abs=1e-5)
        assert (state[1][[0, 1], min(step, 2), actions] == 1.0).all()
        begin = max(step - 2, 0)
        assert state[2][0, :3, 0].tolist()[: step - begin + 1] == pytest.approx(
            [9.0 - 2.0 * k for k in range(begin, step + 1)]
        )
    agent.policy.acting_limit = 5.0
    _, state = agent.predict(seen, state, np.array([True, False]))
    assert state is not None
    assert state[3].tolist() == [0, 6]
    assert state[2][0, 0].tolist() == [9.0, 5.0]
    assert state[2][1, 2].tolist() == pytest.approx([9.0 - 12.0, 0.0], abs=1e-5)


def test_episodes_in_a_batch_are_driven_as_if_alone() -> None:
    agent = CDT("MlpPolicy", SpeedLimit(), record_speeds(12), context=3, **SMALL).learn(3)
    randomise(agent.policy, 0.5)
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(8, 3, 4)).astype(np.float32)  # (T, N, ...)
    starts = np.zeros((8, 3), bool)
    starts[0], starts[5, 1] = True, True  # one of them ends early, and another one begins there
    state, together = None, []
    for obs, start in zip(seen, starts, strict=True):
        actions, state = agent.predict(obs, state, start, deterministic=True)
        together.append(actions)
    for number in range(3):
        alone, own = None, []
        for obs, start in zip(seen[:, number], starts[:, number], strict=True):
            before = None if start else alone
            action, alone = agent.predict(obs, before, deterministic=True)
            own.append(int(action))
        assert own == np.array(together)[:, number].tolist()
        assert alone is not None
        assert state is not None
        place = min(int(alone[3][0]), 2)
        assert alone[2][0, place] == pytest.approx(state[2][number, place], abs=1e-4)


def test_a_state_can_be_used_twice() -> None:
    agent = CDT("MlpPolicy", TwoLanes(), None, context=2, **SMALL)
    seen = np.eye(3, 22, dtype=np.float32)
    _, state = agent.predict(seen[:1])
    assert state is not None
    kept = [part.copy() for part in state]
    first, second = (agent.predict(seen[1:2], state, deterministic=True)[1] for _ in range(2))
    assert first is not None
    assert second is not None
    assert all(np.array_equal(a, b) for a, b in zip(state, kept, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_it_acts_by_what_it_learns_from(sure: EpisodeDataset, learned: CDT) -> None:
    """The memory of a drive gives what the network says of the recorded steps."""
    episode = sure.episode(3)
    learned.policy.set_training_mode(False)
    told = np.array([episode.reward.sum(), float(np.sum(episode.env_cost))])
    learned.policy.target_return, learned.policy.acting_limit = map(float, told)
    state = None
    for step in range(STEPS):
        _, state = learned.predict(episode.obs["vector"][step], state)
        assert state is not None
        state[1][0, min(step, 1)] = np.eye(2)[episode.action[step]]  # as it was recorded
    batch = sure.histories().parts(np.array([3]), np.array([STEPS - 1]), 2)
    left = np.stack([batch.return_to_go, batch.cost_to_go], -1)
    assert state is not None
    np.testing.assert_array_equal(state[0], batch.obs["vector"][:, :-1])
    np.testing.assert_array_equal(state[1].argmax(-1), batch.action)
    np.testing.assert_allclose(state[2], left, atol=0.35)  # ten estimates, summed


# --- as SB3's -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "observation"), [("CnnPolicy", "image"), ("MultiInputPolicy", "multi")]
)
def test_it_sees_images_and_several_observations(
    policy: str, observation: str, tmp_path: Any
) -> None:
    env = CountingEnv(observation=observation)
    agent = CDT(policy, env, pictures(), context=3, **SMALL).learn(2)
    agent.save(tmp_path / "a.zip")
    again = CDT.load(tmp_path / "a.zip", device="cpu")
    seen, state, other = env.reset()[0], None, None
    for _ in range(4):
        action, state = agent.predict(seen, state, deterministic=True)
        same, other = again.predict(seen, other, deterministic=True)
        assert action == same
        seen = env.step(action)[0]


def test_it_sees_sets_of_vehicles() -> None:
    agent = CDT("MultiInputPolicy", None, vehicle_drives(6), **SMALL).learn(2)
    assert isinstance(agent.policy.features_extractor, VehiclesExtractor)


def test_a_box_is_driven_within_its_bounds() -> None:
    agent = CDT("MlpPolicy", SpeedLimitEnv(continuous=True), pictures("continuous"), **SMALL)
    agent.learn(5)
    seen = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    for deterministic in (True, False):
        actions = agent.predict(seen, deterministic=deterministic)[0]
        assert actions.shape == (50, 1)
        assert (np.abs(actions) <= 1.0).all()


def test_a_box_is_imitated_with_the_deviation_of_each_state() -> None:
    rng, box = np.random.default_rng(0), spaces.Box(-1.0, 1.0, (1,), np.float32)
    taken = rng.normal(0.3, 0.1, (400, 1)).clip(-1, 1)
    data = bandit(box, taken, np.zeros(400), np.zeros(400))
    small = SMALL | {"batch_size": 64, "learning_rate": 1e-2}
    agent = CDT("MultiInputPolicy", None, data, ent_coef=0.0, **small).learn(150)
    seen = {"vector": np.ones((2000, 3), np.float32)}
    found = agent.predict(seen)[0]
    assert (found.mean(), found.std()) == pytest.approx((0.3, 0.1), abs=0.05)


@pytest.mark.parametrize(
    "space", [spaces.MultiDiscrete([3, 2], start=[1, 5]), spaces.MultiBinary(3)], ids=str
)
def test_it_learns_several_choices_at_once(space: Any) -> None:
    space.seed(0)
    taken = np.array([space.sample() for _ in range(50)])
    data = bandit(space, taken, taken.sum(1).astype(float), np.zeros(50))
    agent = CDT("MultiInputPolicy", None, data, **SMALL).learn(2)
    assert space.contains(agent.predict({"vector": np.ones(3, np.float32)})[0])


def test_a_file_holds_what_it_drives_for(tmp_path: Any) -> None:
    data = record_speeds(12)
    agent = CDT("MlpPolicy", SpeedLimit(), data, cost_limit=0.1, **SMALL).learn(3)
    earned = [float(episode.reward.sum()) for episode in data.episodes]
    paid = data.episode_costs
    agent.policy.acting_limit = 4.0
    within = np.sort(np.array(earned)[paid <= 4.0])
    expected = (within[len(within) - round(len(within) / 2) :].mean(), 4.0)
    assert 2 < len(within) < len(earned)
    assert agent.policy.targets == pytest.approx(expected, rel=1e-5)
    agent.save(tmp_path / "a.zip")
    again = CDT.load(tmp_path / "a.zip", device="cpu")
    assert again.policy.targets == agent.policy.targets
    assert th.equal(again.policy.history.to_go_std, agent.policy.history.to_go_std)
    changed = CDT.load(tmp_path / "a.zip", device="cpu", cost_limit=2.0, target_return=3.0)
    assert changed.policy.targets == (3.0, 2.0)
    agent.save_pretrained(tmp_path / "shared")
    shared = CDT.from_pretrained(tmp_path / "shared", device="cpu")
    assert shared.policy.targets == pytest.approx(expected, rel=1e-3)
    agent.policy.save(tmp_path / "policy.pt")
    alone = type(agent.policy).load(tmp_path / "policy.pt", device="cpu")
    told = alone.predict(np.zeros(4, np.float32))[1]
    assert told is not None
    assert told[2][0, 0].tolist() == pytest.approx(expected)


def test_what_it_is_given_is_checked() -> None:
    wrong: tuple[dict[str, Any], ...] = (
        {"cost_limit": -1.0}, {"target_return": "high"}, {"context": 0}, {"augment": 1.5},
        {"best": -0.1}, {"ent_coef": -1.0},
    )  # fmt: skip
    for one in wrong:
        with pytest.raises(ValueError, match=next(iter(one))):
            CDT("MlpPolicy", TwoLanes(), **one)
    for sizes in ({"width": 30, "heads": 4}, {"width": 9, "heads": 3}):
        with pytest.raises(ValueError, match=f"width is {sizes['width']}"):
            CDT("MlpPolicy", TwoLanes(), policy_kwargs=sizes)
    agent = CDT("MlpPolicy", TwoLanes(), **SMALL)
    with pytest.raises(ValueError, match="acting_limit"):
        agent.policy.acting_limit = -1.0
    with pytest.raises(TypeError, match="frame_stack"):
        CDT("MlpPolicy", TwoLanes(), frame_stack=2, **SMALL)


def test_a_command_drives_it_under_other_limits(tmp_path: Any) -> None:
    out = ("--out", str(tmp_path / "data"), "--env-arg", "duration=5", "--env-arg", "vehicles=5")
    assert run("collect", *out, "--episodes", "4", "--workers", "1") == 0
    given = ("--data", str(tmp_path / "data"), "--observation", "vector", "--cost", "env")
    train = ("train", "--algo", "cdt", *given, "--cost-limit", "0.5", "--steps", "2")
    assert run(*train, "--out", str(tmp_path / "cdt")) == 0
    drives = ("evaluate", str(tmp_path / "cdt"), "--episodes", "2", "--scorer", "none")
    assert run(*drives) == 0
    assert run(*drives, "--cost-limit", "3") == 0
    found = {file.name: read_evaluation(file) for file in tmp_path.glob("cdt/evaluation*.json")}
    assert {name: entry.cost_limit for name, entry in found.items()} == {
        "evaluation.json": 0.5,
        "evaluation_limit_3.json": 3.0,
    }
    assert run(*drives, "--cost-limit", "-1") == 2
