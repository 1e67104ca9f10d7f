"""Sources of the gate p: each changes p and nothing else, and asks for no more than it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from speed_limit import SpeedLimit, record
from stable_baselines3.common.logger import configure
from test_actor_critic import build
from tiny_agents import VECTOR, make
from tiny_batch import batch_of
from toy_drives import MIX, CountingDriver, NoisyCountingEnv

from vlsafe_agents import VLSafe
from vlsafe_agents.common.returns import reachability_return
from vlsafe_agents.data.collect import CollectConfig, collect
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.data.episode import Episode
from vlsafe_agents.training.settings import EnvName, TrainSettings
from vlsafe_agents.vlsafe.gates import ReachabilityGate, make_gate, with_gate
from vlsafe_agents.vlsafe.imagination import Dream, state_weight
from vlsafe_agents.vlsafe.policies import VLSafePolicy
from vlsafe_agents.vlsafe.policy_extraction import Candidates, improved_policy
from vlsafe_agents.vlsafe.presets import make_config
from vlsafe_agents.vlsafe.world_model import Imagined
from wrappers.oracle import REQUIRED_KEYS, safety_degree

SOURCES: list[Any] = ["score", "recorded", 0.3, "oracle", "shuffled", "reachability"]


def drives(labelled: bool = True, truth: tuple[str, ...] = REQUIRED_KEYS) -> EpisodeDataset:
    """Recorded drives, with what the oracle reads."""
    rng = np.random.default_rng(0)
    episodes = []
    for e in record(12).episodes:
        rows = len(e.env_cost)
        infos = {
            "time_to_collision": rng.uniform(0, 5, rows).astype(np.float32),
            "headway": rng.uniform(0, 2, rows).astype(np.float32),
            "collision": rng.random(rows) < 0.1,
            "off_road": np.zeros(rows, bool),
        }
        scores = e.safety_score if labelled else None
        infos = {name: infos[name] for name in truth}
        episodes.append(
            Episode(e.obs, e.action, e.reward, e.env_cost, e.terminated, scores, infos=infos)
        )
    return EpisodeDataset.from_arrays(episodes, VECTOR, spaces.Discrete(3))


def imagined(safety: list[float], explored: bool = False) -> Imagined:
    steps = len(safety) - 1
    ones = torch.ones(1, steps)
    feat = torch.zeros(1, steps + 1, 160)
    return Imagined(feat, torch.zeros(1, steps, 3), ones, ones, ones, torch.tensor([safety]))


# --- p and nothing else ---------------------------------------------------------------------------


def test_a_constant_gate_leaves_the_rest_of_the_weight_as_it_is() -> None:
    """The same p from the score or from a number gives the same policy, feasible actions only."""
    candidates = Candidates(
        torch.tensor([[0.5, 0.3, 0.2]]).log(),
        torch.zeros(1, 3),
        torch.tensor([[0.0, 0.5, 3.0]]),
        torch.tensor([[0.0, 0.1, 30.0]]),  # the last is not feasible
    )
    p = torch.tensor([0.9])
    targets = []
    for gate in ("score", 0.9, "reachability"):
        _, actor_critic, _ = build(gate=gate, cost_limit=1.0)
        weight = actor_critic._log_weight(candidates, p)
        targets.append(improved_policy(candidates.log_prior, weight))
    assert targets[0][0, 2] < 1e-3
    for target in targets[1:]:
        torch.testing.assert_close(target, targets[0])


def test_all_gates_share_world_model_prior_and_critics_to_the_last_bit() -> None:
    """Until the actor, which alone reads p, begins to improve."""
    data, found = drives(), {}
    for source in SOURCES:
        agent = make(data, safety=source, config={"model_warmup": 0.5, "critic_warmup": 1.0})
        state = agent.learn(6).policy.state_dict()
        found[source] = {k: v for k, v in state.items() if ".gate." not in k}
    for source in SOURCES[1:]:
        assert found[source].keys() == found["score"].keys()
        for name, value in found["score"].items():
            if torch.is_tensor(value):
                assert torch.equal(value, found[source][name]), (source, name)


@pytest.mark.parametrize("source", SOURCES)
def test_agents_with_any_gate_share_a_world_model_and_are_saved(
    source: Any, tmp_path: Path
) -> None:
    data = drives()
    model = make(data, config={"model_warmup": 1.0}).learn(2)
    agent = make(data, safety=source, config={"critic_warmup": 0.0})
    agent.adopt_world_model(model)
    agent.learn(2)
    agent.save(tmp_path / "agent.zip")
    again = VLSafe.load(tmp_path / "agent.zip", device="cpu", dataset=data)
    assert again.safety == source
    agent.policy.save(str(tmp_path / "policy.pt"))
    policy = VLSafePolicy.load(str(tmp_path / "policy.pt"), device="cpu")
    for one in (again.policy, policy):
        state = agent.policy.state_dict()
        assert all(
            torch.equal(v, state[k]) for k, v in one.state_dict().items() if "extra" not in k
        )
    again.learn(1, reset_num_timesteps=False)


# --- where p comes from ---------------------------------------------------------------------------


def test_a_number_is_p_everywhere() -> None:
    gate = make_gate(0.25, 160, make_config("debug"))
    assert (gate(imagined([1.0, 0.0, 0.5])) == 0.25).all()


def test_the_score_sees_danger_ahead() -> None:
    config = make_config("debug", {"improvement": {"gate_lookahead": 2}})
    found = make_gate("score", 160, config)(imagined([1.0, 1.0, 0.9, 0.1, 1.0]))
    torch.testing.assert_close(found, torch.tensor([[0.9, 0.1, 0.1, 0.1]]))


def test_the_oracle_learns_the_score_of_the_scorer_of_that_name() -> None:
    data = drives(labelled=False)
    gated = with_gate(data, "oracle", 0)
    truth = data.infos(REQUIRED_KEYS)
    expected = safety_degree(*(truth[name] for name in REQUIRED_KEYS))
    batch = gated.episode_batch(0)
    assert batch.gate_score is not None
    np.testing.assert_allclose(batch.gate_score[0], expected[: batch.gate_score.size], rtol=1e-6)


def test_infos_of_stored_drives_reach_the_oracle(tmp_path: Path) -> None:
    class WithHeadway(NoisyCountingEnv):
        def _tell(self, info: dict[str, Any]) -> dict[str, Any]:
            return super()._tell(info) | {"headway": 0.1 * self.time}

    config = CollectConfig("Toy-v0", mix=MIX, steps=20)
    found = collect(config, tmp_path, WithHeadway, CountingDriver, progress=False)
    data = EpisodeDataset.from_minari(found.path, cost="env")
    part, _ = data.split(0.3)
    infos = part.infos(["headway", "time_to_collision"])
    starts = [0.1 * t for t in range(len(part.episodes[0].env_cost))]
    np.testing.assert_allclose(infos["headway"][: len(starts)], starts, rtol=1e-5)
    batch = with_gate(part, "oracle", 0).sample(4, 3, np.random.default_rng(0))
    assert batch.gate_score is not None
    assert np.isfinite(batch.gate_score).all()


def test_shuffled_scores_are_the_recorded_ones_of_other_frames() -> None:
    data = drives()
    dealt, same, other = (with_gate(data, "shuffled", seed) for seed in (0, 0, 1))
    columns = [x._flat.gate_score for x in (dealt, same, other)]
    assert np.array_equal(columns[0], columns[1])
    assert not np.array_equal(columns[0], columns[2])
    assert np.array_equal(np.sort(columns[0]), np.sort(data.safety_scores))
    rng = np.random.default_rng
    before, after = data.sample(4, 5, rng(0)), dealt.sample(4, 5, rng(0))
    assert np.array_equal(before.safety_score, after.safety_score)  # the record and its costs stay
    assert np.array_equal(before.cost, after.cost)


def test_recorded_scores_are_learnt_as_they_are_whatever_a_shared_model_predicts() -> None:
    data = drives()
    batch = with_gate(data, "recorded", 0).episode_batch(0)
    assert np.array_equal(batch.gate_score, batch.safety_score)


def test_frames_without_a_label_teach_a_gate_nothing() -> None:
    gate = make_gate("recorded", 4, make_config("debug"))
    feat = torch.eye(4)[None, [0, 1, 2]]
    found = []
    for score, seen in (([0.9, float("nan"), 0.1], feat), ([0.9, 0.1], feat[:, [0, 2]])):
        batch = batch_of(safety_score=[0.0] * len(score))._replace(gate_score=torch.tensor([score]))
        found.append(gate.recorded_loss(seen, batch))
    assert torch.isfinite(found[0])
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize(("source", "p"), [("oracle", 0.9), ("shuffled", 0.5)])
def test_a_learned_gate_fits_its_own_scores_and_looks_ahead(source: str, p: float) -> None:
    config = make_config("debug", {"improvement": {"gate_lookahead": 1}})
    gate = make_gate(source, 4, config)
    batch = batch_of(safety_score=[0, 0, 0])._replace(gate_score=torch.tensor([[p, p, 0.1]]))
    feat = torch.eye(4)[None, [0, 1, 2]].requires_grad_()
    optimizer = torch.optim.Adam(gate.parameters(), 0.03)
    for _ in range(200):
        optimizer.zero_grad()
        gate.recorded_loss(feat, batch).backward()
        optimizer.step()
    assert feat.grad is None
    dream = imagined([1.0, 1.0, 1.0])._replace(feat=feat.detach())
    torch.testing.assert_close(gate(dream), torch.tensor([[p, 0.1]]), atol=0.03, rtol=0)


# --- reachability ---------------------------------------------------------------------------------


def test_reachability_is_the_discounted_time_to_the_first_unsafe_state() -> None:
    torch.manual_seed(0)
    unsafe = (torch.rand(50, 8) < 0.15).float()
    found = reachability_return(unsafe, torch.ones(50, 8), torch.zeros(50, 9), 0.9, 1.0)
    for n in range(50):
        hits = unsafe[n].nonzero().flatten().tolist()
        for j in range(8):
            ahead = [k - j for k in hits if k >= j]
            assert found[n, j].item() == pytest.approx(0.9 ** ahead[0] if ahead else 0.0)


@pytest.mark.parametrize("lambda_", [0.0, 0.7, 1.0])
def test_reachability_is_respos_maximum_where_costs_are_certain(lambda_: float) -> None:
    torch.manual_seed(0)
    unsafe = (torch.rand(6, 5) < 0.3).float()
    alive, value = torch.rand(6, 5), torch.rand(6, 6)
    found = reachability_return(unsafe, alive, value, 0.95, lambda_)
    last = value[:, -1]
    for j in reversed(range(5)):
        ahead = (1 - lambda_) * value[:, j + 1] + lambda_ * last
        last = torch.maximum(unsafe[:, j], 0.95 * alive[:, j] * ahead)
        torch.testing.assert_close(found[:, j], last)


def ruin(states: int, gamma: float) -> np.ndarray:
    """Chance of reaching 0 before ``states - 1`` in steps of one, discounted; closed forms.

    Undiscounted ``1 - i / n``; else ``(r^(n - i) - r^(i - n)) / (r^n - r^-n)`` with ``r`` the root
    of ``r = gamma (1 + r^2) / 2`` (Feller 1968, XIV.4).
    """
    n, i = states - 1, np.arange(states)
    if gamma == 1.0:
        return 1 - i / n
    r = (1 - np.sqrt(1 - gamma**2)) / gamma
    return (r ** (n - i) - r ** (i - n)) / (r**n - r**-n)


@pytest.mark.parametrize("gamma", [0.9, 1.0])
def test_the_fixed_point_of_the_targets_is_the_gamblers_ruin(gamma: float) -> None:
    """States 0 (unsafe) to 6 (arrival), both terminal; up or down by one at even chance."""
    unsafe, alive = torch.zeros(7, 1), torch.ones(7, 1)
    unsafe[0], alive[[0, 6]] = 1.0, 0.0
    value = torch.zeros(7, dtype=torch.float64)
    for _ in range(400):
        ahead = torch.stack([value.roll(1), value.roll(-1)]).mean(0)
        pairs = torch.stack([value, ahead], 1)
        value = reachability_return(unsafe.double(), alive.double(), pairs, gamma, 0.5)[:, 0]
    np.testing.assert_allclose(value.numpy(), ruin(7, gamma), atol=1e-6)


def test_the_reachability_gate_learns_the_gamblers_ruin_from_recorded_costs_and_dreams() -> None:
    torch.manual_seed(0)
    states, steps = 5, 6
    gate = ReachabilityGate(states, 32, 1, gamma=0.9, lambda_=0.9)
    eye = torch.eye(states)
    batch = batch_of(cost=[1, 0, 0, 0, 0])
    optimizer = torch.optim.Adam(gate.parameters(), 0.02)
    for _ in range(300):
        walk = [torch.randint(1, states - 1, (64,))]
        for _ in range(steps):
            move = torch.randint(0, 2, (64,)) * 2 - 1
            walk.append((walk[-1] + move).clamp(0, states - 1))
        path = torch.stack(walk, 1)  # (N, H + 1)
        cont = ((path > 0) & (path < states - 1)).float()[:, 1:]
        weight = torch.cat([torch.ones(64, 1), cont.cumprod(1)], 1)[:, :-1]
        zeros = torch.zeros(64, steps)
        seen = Imagined(eye[path], zeros[..., None], zeros, zeros, cont, zeros)
        no = torch.zeros(64, dtype=torch.bool)
        dream = Dream(seen, no, no, *[weight[:, 0]] * 3, weight, zeros, zeros, None)
        optimizer.zero_grad()
        (gate.recorded_loss(eye[None], batch) + gate.dream_loss(dream)).backward()
        optimizer.step()
        gate.follow(0.1)
    ones = torch.ones(states, 1)
    start = Imagined(eye[:, None].expand(-1, 2, -1), ones[..., None], ones, ones, ones, ones)
    found = 1 - gate(start)[:, 0]
    np.testing.assert_allclose(found.numpy(), ruin(states, 0.9), atol=0.05)


def test_reachability_learns_nothing_where_a_dream_explores() -> None:
    torch.manual_seed(0)
    gate = ReachabilityGate(160, 8, 1, 0.9, 0.95)
    ones, no = torch.ones(1, 1), torch.zeros(1, dtype=torch.bool)
    seen = imagined([1.0, 1.0])._replace(feat=torch.randn(1, 2, 160))
    dream = Dream(seen, no, no, *[ones[0]] * 3, ones, ones, ones, None)
    assert gate.dream_loss(dream).item() > 0
    assert gate.dream_loss(dream._replace(explored=~no)).item() == 0


# --- the gate of a state is the actor's -----------------------------------------------------------


@pytest.mark.parametrize(
    ("gate", "lookahead", "counts"),
    [("score", 3, False), ("score", 0, True), (0.5, 3, True), ("reachability", 3, True)],
)
def test_a_gate_that_follows_an_exploring_action_does_not_count(
    gate: Any, lookahead: int, counts: bool
) -> None:
    config = {"improvement": {"gate_lookahead": lookahead}, "imagination": {"starts": 40}}
    model, actor_critic, batch = build(config, gate=gate)
    dream = actor_critic.dream(model, model.observe(batch), batch)
    assert 0 < dream.explored.sum() < len(dream.explored)
    weight = state_weight(dream, 0.5, actor_critic.gate.looks_ahead)
    assert (weight[~dream.explored, 0] > 0).all()
    assert (weight[dream.explored, 0] > 0).all() == counts
    assert (weight[:, 1:] > 0).all()
    assert weight[:, 0].sum().item() == pytest.approx(0.5)


# --- what is demanded -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chosen",
    [
        {"update": "lagrangian"},
        {"update": "none"},
        {"safety": None},
        {"safety": 0.5},
        {"safety": "reachability"},
        {"safety": "oracle"},
    ],
    ids=str,
)
def test_scores_are_not_demanded_where_no_gate_is_made_of_them(chosen: dict[str, Any]) -> None:
    agent = make(drives(labelled=False), config={"critic_warmup": 0.0}, **chosen).learn(4)
    assert all(torch.isfinite(p).all() for p in agent.policy.parameters())


def test_what_is_not_learned_has_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    agent = make(drives(labelled=False), update="lagrangian", config={"critic_warmup": 0.0})
    logger = configure(None, [])
    monkeypatch.setattr(logger, "record_mean", lambda name, value: seen.add(name))
    agent.set_logger(logger)
    agent.learn(4)
    assert "imagined/return" in seen
    assert not seen & {"train/safety_score_loss", "imagined/safety_score", "imagined/gate"}


@pytest.mark.parametrize("source", ["score", "shuffled"])
def test_scores_are_demanded_where_a_gate_is_made_of_them(source: str) -> None:
    with pytest.raises(ValueError, match=r"no safety_score.*`vlsafe label`.*reachability"):
        make(drives(labelled=False), safety=source)


def test_the_oracle_says_what_truth_is_missing() -> None:
    truth = ("time_to_collision", "collision", "off_road")
    with pytest.raises(ValueError, match=r"no infos headway of every frame.*vlsafe collect"):
        make(drives(truth=truth), safety="oracle")


def test_a_model_of_unlabelled_data_is_no_source_of_scores(tmp_path: Path) -> None:
    model = make(drives(labelled=False), update="lagrangian", config={"model_warmup": 1.0}).learn(1)
    model.save(tmp_path / "model.zip")
    model = VLSafe.load(tmp_path / "model.zip", device="cpu")
    with pytest.raises(ValueError, match="learnt from data without safety_score"):
        make(drives()).adopt_world_model(model)
    make(drives(), safety="reachability").adopt_world_model(model)


def test_gates_without_effect_and_unknown_ones_are_refused() -> None:
    for source in SOURCES[1:]:
        with pytest.raises(ValueError, match=r'has no effect with update="lagrangian"'):
            make(None, SpeedLimit(), update="lagrangian", safety=source)
    with pytest.raises(
        ValueError, match=r'safety must be "score", "recorded", "oracle", "shuffled", "reach'
    ):
        make(None, SpeedLimit(), safety="clip")
    with pytest.raises(ValueError, match="safety is -1"):
        make(None, SpeedLimit(), safety=-1.0)


def test_a_learned_gate_cannot_be_changed_on_loading(tmp_path: Path) -> None:
    make(None, SpeedLimit()).save(tmp_path / "score.zip")
    make(None, SpeedLimit(), safety="reachability").save(tmp_path / "ref.zip")
    assert VLSafe.load(tmp_path / "score.zip", device="cpu", safety=0.5).safety == 0.5
    for name, change in (
        ("score", {"safety": "oracle"}),
        ("ref", {"safety": "score"}),
        ("ref", {"update": "lagrangian", "safety": "score"}),
    ):
        with pytest.raises(ValueError, match=r"cannot be changed on loading.*adopt_world_model"):
            VLSafe.load(tmp_path / f"{name}.zip", device="cpu", **change)


@pytest.mark.parametrize("source", [*SOURCES, "none"])
def test_every_gate_has_its_name_on_the_command_line(source: Any) -> None:
    settings = TrainSettings(env=EnvName("Toy-v0"), safety=source, observation="vector")
    settings.check()
    stored = settings.to_json()["options"]["safety"]
    assert stored == (None if source == "none" else source)
    assert TrainSettings.from_json(settings.to_json()) == settings
