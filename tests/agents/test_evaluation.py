import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO
from toy_envs import CountingEnv, Driver, NoisyEnv, SpeedLimitEnv

from vlsafe_agents.evaluation import (
    METRICS,
    EpisodeRecord,
    Recording,
    aggregate_seeds,
    evaluate,
    load_recording,
    read_evaluation,
    summarise,
)
from vlsafe_agents.evaluation.intervals import bootstrap_replicates
from vlsafe_agents.evaluation.metrics import columns
from vlsafe_agents.training.facts import TRAINING_FIGURES


def record(seed: int = 0, **changes: Any) -> EpisodeRecord:
    """40 steps at 20 m/s without incident."""
    plain = EpisodeRecord(seed, 30.0, 0.0, 0.0, 0.0, False, False, None, 40, 800.0, 20.0, None)
    return replace(plain, **changes)


def random_records(rng: np.random.Generator, count: int = 15) -> list[EpisodeRecord]:
    records = []
    for seed in range(count):
        collision, speed = bool(rng.random() < 0.4), float(rng.uniform(5, 30))
        steps = int(rng.integers(2, 40))
        records.append(
            record(
                seed, episode_return=float(rng.normal()), cost=float(rng.random()), steps=steps,
                collision=collision, distance=speed * steps, mean_speed=speed,
                collision_speed=speed if collision else None,
            )
        )  # fmt: skip
    return records


def test_every_figure_of_a_known_episode():
    result = evaluate(lambda env, rng: Driver(0), lambda: CountingEnv(4, crash=True), [7])
    (episode,) = result.records
    assert episode == EpisodeRecord(
        seed=7,
        episode_return=1 + 2 + 3 + 4,
        cost=10 * (1 + 2 + 3 + 4),
        env_cost=1 + 2 + 3 + 4,
        vlm_cost=None,  # CountingEnv reports none
        collision=True,
        off_road=False,
        arrived=None,
        steps=4,
        distance=400.0,
        mean_speed=(2 + 4 + 6 + 8) / 4,
        collision_speed=6.0,  # one step before the crash was seen
        standing=0,
    )
    mean = {name: entry["mean"] for name, entry in result.summary.items()}
    assert mean["collision_rate"] == 1.0
    assert mean["collisions_per_1000_steps"] == 250.0
    assert mean["collisions_per_km"] == 2.5
    assert mean["vlm_cost"] is None
    assert mean["arrival_rate"] is None


def test_a_parked_car_shows_no_collisions_and_no_speed_in_the_same_row():
    parked = [record(s, distance=0.0, mean_speed=0.0, episode_return=0.0) for s in range(5)]
    summary = summarise(parked)
    assert summary["collision_rate"]["mean"] == 0.0
    assert summary["mean_speed"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert summary["distance"]["mean"] == 0.0
    assert summary["collisions_per_km"]["mean"] is None  # 0 km: neither safe nor unsafe
    assert summary["collision_speed"]["mean"] is None


def test_rates_divide_all_collisions_by_all_exposure():
    # One crash after 1 step and 20 m, one clean episode of 99 steps and 1980 m.
    crash = record(0, collision=True, steps=1, distance=20.0, mean_speed=40.0, collision_speed=40.0)
    clean = record(1, steps=99, distance=1980.0, mean_speed=20.0)
    mean = {name: entry["mean"] for name, entry in summarise([crash, clean]).items()}
    assert mean["collisions_per_1000_steps"] == pytest.approx(10.0)
    assert mean["collisions_per_km"] == pytest.approx(0.5)
    assert mean["mean_speed"] == pytest.approx((40.0 * 1 + 20.0 * 99) / 100)
    assert mean["collision_speed"] == 40.0


def test_bootstrap_replicates_agree_with_a_python_loop():
    rng = np.random.default_rng(1)
    records = random_records(rng)
    draws = rng.integers(0, len(records), size=(50, len(records)))
    table = columns(records)
    for name, metric in METRICS.items():
        slow = [float(metric(columns([records[i] for i in row]))) for row in draws]
        fast = bootstrap_replicates(table, metric, draws)
        np.testing.assert_allclose(fast, slow, err_msg=name)


def test_the_interval_is_the_percentiles_of_seeded_resamples():
    records = random_records(np.random.default_rng(2))
    draws = np.random.default_rng(3).integers(0, len(records), size=(500, len(records)))
    means = [np.mean([records[i].episode_return for i in row]) for row in draws]
    summary = summarise(records, n_resamples=500, confidence=0.9, seed=3)["return"]
    assert (summary["low"], summary["high"]) == pytest.approx(np.percentile(means, [5, 95]))
    assert summary["mean"] == pytest.approx(np.mean([r.episode_return for r in records]))


def test_the_interval_of_a_mean_has_its_textbook_width():
    rng = np.random.default_rng(4)
    records = [record(i, episode_return=float(x)) for i, x in enumerate(rng.normal(size=400))]
    entry = summarise(records)["return"]
    assert entry["high"] - entry["low"] == pytest.approx(2 * 1.96 / math.sqrt(400), rel=0.15)


def test_training_seeds_are_the_unit_of_replication():
    # Two runs without any spread inside: all uncertainty lies between the seeds.
    runs = [[record(i, episode_return=value) for i in range(100)] for value in (0.0, 10.0)]
    entry = aggregate_seeds(runs)["return"]
    assert (entry["mean"], entry["per_seed"]) == (5.0, [0.0, 10.0])
    assert (entry["low"], entry["high"]) == (0.0, 10.0)
    pooled = summarise([r for run in runs for r in run])["return"]
    assert pooled["high"] - pooled["low"] < 3.0  # pooling episodes hides that


def test_training_seeds_count_the_same_whatever_their_number_of_episodes():
    runs = [[record(0, episode_return=0.0)], [record(i, episode_return=10.0) for i in range(9)]]
    assert aggregate_seeds(runs)["return"]["mean"] == 5.0


def test_one_run_has_the_interval_of_its_episodes():
    records = random_records(np.random.default_rng(5), count=60)
    alone, seeds = summarise(records)["return"], aggregate_seeds([records])["return"]
    assert seeds["low"] == pytest.approx(alone["low"], abs=0.05)
    assert seeds["high"] == pytest.approx(alone["high"], abs=0.05)


def test_episodes_depend_on_their_seed_only():
    def returns(seeds: list[int]) -> dict[int, float]:
        result = evaluate(lambda env, rng: Driver(int(rng.integers(5))), NoisyEnv, seeds)
        return {r.seed: r.episode_return for r in result.records}

    forward, backward = returns([1, 2, 3]), returns([3, 1])
    assert backward == {3: forward[3], 1: forward[1]}
    assert len(set(forward.values())) == 3


def test_a_sampling_model_gives_the_same_episodes_again():
    model = PPO("MlpPolicy", SpeedLimitEnv(), n_steps=8, batch_size=8, device="cpu")
    first, again = (
        evaluate(model, SpeedLimitEnv, [1, 2, 3], deterministic=False).records for _ in range(2)
    )
    assert first == again
    assert len({r.episode_return for r in first}) > 1


class RecurrentModel:
    """Acts on the number of observations it has seen since the episode's start."""

    def __init__(self) -> None:
        self.calls: list[tuple[bool, int, float]] = []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        count = np.zeros((1, len(observation)), int) if state is None else state[0] + 1
        count[0, episode_start] = 0
        self.calls.append((bool(episode_start[0]), int(count[0, 0]), float(observation[0, 0])))
        return np.zeros(len(observation), int), (count,)  # rows are axis 1, as in sb3-contrib


def test_recurrent_state_is_threaded_and_starts_afresh_in_every_episode():
    model = RecurrentModel()
    evaluate(model, lambda: CountingEnv(3), [0, 1])
    assert model.calls == [(True, 0, 0.0), (False, 1, 1.0), (False, 2, 2.0)] * 2


def test_a_bound_driver_is_reset_for_every_episode():
    driver = Driver(2)
    evaluate(driver, SpeedLimitEnv, [0, 1, 2])
    assert driver.resets == 3


@pytest.mark.parametrize("observation", ["image", "multi"])
def test_sb3_models_on_images_and_dicts_are_evaluated_without_wrapping(observation):
    env = CountingEnv(3, observation=observation)
    assert isinstance(env.observation_space, (spaces.Box, spaces.Dict))
    policy = "CnnPolicy" if observation == "image" else "MultiInputPolicy"
    model = PPO(policy, env, n_steps=8, batch_size=8, device="cpu")
    result = evaluate(model, lambda: CountingEnv(3, observation=observation), [0])
    assert result.records[0].episode_return == 6.0


def test_two_processes_give_the_records_of_one(tmp_path):
    def make_driver(env: Any, rng: np.random.Generator) -> Driver:
        return Driver(int(rng.integers(5)))

    seen: list[int] = []
    alone = evaluate(make_driver, NoisyEnv, [4, 5, 6])
    shared = evaluate(
        make_driver, NoisyEnv, [4, 5, 6], n_workers=2, progress=lambda r: seen.append(r.seed)
    )
    assert shared.records == alone.records
    assert sorted(seen) == [4, 5, 6]


def test_recording_keeps_best_and_worst_with_the_reset_as_entry_zero(tmp_path):
    result = evaluate(
        lambda env, rng: Driver(1), lambda: CountingEnv(4, crash=True), [0, 1], record=tmp_path
    )
    assert set(result.recordings) == {"best_0", "worst_0"}
    arrays = load_recording(result.recordings["worst_0"])
    assert arrays["frames"][:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert arrays["reward"].tolist() == [0, 1, 2, 3, 4]
    assert arrays["cost"].tolist() == [0, 10, 20, 30, 40]
    assert arrays["speed"].tolist() == [0, 2, 4, 6, 8]
    assert arrays["collision"].tolist() == [0, 0, 0, 0, 1]
    assert arrays["action"].tolist() == [0, 1, 1, 1, 1]
    assert arrays["safety_score"][1] == pytest.approx(0.5)
    assert np.isinf(arrays["time_to_collision"]).all()
    assert arrays["fps"] == 10  # from the environment's metadata


def test_best_and_worst_are_ranked_by_safety_before_return():
    crash = record(0, collision=True, episode_return=99.0)
    slow, fast = record(1, episode_return=1.0), record(2, episode_return=9.0)
    chosen = Recording(folder=None, best=2, worst=1).choose([crash, slow, fast])  # type: ignore[arg-type]
    assert {stem: r.seed for stem, r in chosen.items()} == {"best_0": 2, "best_1": 1, "worst_0": 0}


def test_a_run_that_cannot_be_repeated_is_not_recorded(tmp_path):
    class Unseeded(NoisyEnv):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            return super().reset(seed=None)

    with pytest.raises(RuntimeError, match="another episode"):
        evaluate(lambda env, rng: Driver(0), Unseeded, [0], record=tmp_path)


def test_evaluation_json_is_strict_and_reads_back(tmp_path):
    result = evaluate(lambda env, rng: Driver(0), SpeedLimitEnv, [0, 1])
    path = tmp_path / "evaluation.json"
    result.write_json(path, "Driver", "Toy-v0", {"density": 1.0}, {"env_steps": 12})
    content = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert list(content) == [
        "agent", "kind", "settings", "env_id", "env_kwargs", "options", "shielded", "seeds",
        "episodes", "summary", "training",
    ]  # fmt: skip
    assert [EpisodeRecord.from_json(e) for e in content["episodes"]] == result.records
    assert set(content["episodes"][0]) == {
        "seed", "return", "cost", "env_cost", "vlm_cost", "collision", "off_road", "arrived",
        "steps", "distance", "mean_speed", "collision_speed", "off_route", "waypoints", "standing",
        "replaced",
    }  # fmt: skip
    later = ("off_route", "waypoints", "standing", "replaced")
    old = {k: v for k, v in content["episodes"][0].items() if k not in later}
    assert EpisodeRecord.from_json(old) == replace(result.records[0], standing=None)
    for wrong in ({**old, "speed": 1.0}, {k: v for k, v in old.items() if k != "cost"}):
        with pytest.raises(ValueError, match="missing or unknown"):
            EpisodeRecord.from_json(wrong)
    assert set(content["summary"]) == set(METRICS)
    known = {"env_steps": 12}  # of the rest nobody knows anything
    assert content["training"] == dict.fromkeys(TRAINING_FIGURES) | known
    assert (content["kind"], content["settings"], content["options"]) == (None, None, {})
    assert content["shielded"] is None
    stored = read_evaluation(path)
    assert list(stored.records) == result.records
    assert (stored.summary, dict(stored.training)) == (result.summary, known)
    with pytest.raises(ValueError, match="robot"):
        result.to_json("Driver", "Toy-v0", {}, kind="robot")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="env_stepz"):
        result.to_json("Driver", "Toy-v0", {}, {"env_stepz": 1})


class Routed(SpeedLimitEnv):
    """Two waypoints a step; the last step leaves the route in every other episode."""

    def reset(self, *, seed=None, options=None):
        self.odd, self.steps_driven = bool(seed % 2), 0
        return super().reset(seed=seed, options=options)

    def step(self, action):
        *outcome, info = super().step(action)
        self.steps_driven += 1
        ended = outcome[2] or outcome[3]
        info |= {"waypoints_completed": 2 * self.steps_driven, "off_route": self.odd and ended}
        return (*outcome, info)


class Shielded(SpeedLimitEnv):
    """Stands in every other step, and replaces the first action."""

    def reset(self, *, seed=None, options=None):
        self.steps_driven = 0
        return super().reset(seed=seed, options=options)

    def step(self, action):
        *outcome, info = super().step(action)
        info |= {"shield_replaced": not self.steps_driven, "speed": self.steps_driven % 2}
        self.steps_driven += 1
        return (*outcome, info)


def test_shields_and_standing_are_shares_of_all_steps():
    result = evaluate(lambda env, rng: Driver(0), Shielded, [2, 3])
    steps = [record.steps for record in result.records]
    assert [record.replaced for record in result.records] == [1, 1]
    assert [record.standing for record in result.records] == [-(-n // 2) for n in steps]
    assert result.summary["replaced"]["mean"] == 2 / sum(steps)
    assert METRICS["standing"].in_percent
    assert summarise([record(0)])["replaced"]["mean"] is None


def test_routes_have_figures_of_their_own():
    result = evaluate(lambda env, rng: Driver(0), Routed, [2, 3, 4, 5])
    steps = [record.steps for record in result.records]
    assert [record.off_route for record in result.records] == [False, True, False, True]
    assert [record.waypoints for record in result.records] == [2.0 * n for n in steps]
    assert result.summary["off_route_rate"]["mean"] == 0.5
    assert result.summary["waypoint_completion"]["mean"] == 2 * np.mean(steps)
    assert summarise([record(0)])["off_route_rate"]["mean"] is None


class Costless(SpeedLimitEnv):
    def _info(self, speed: float) -> dict[str, Any]:
        return {}


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(ValueError, match="No seeds"):
        evaluate(Driver(0), SpeedLimitEnv, [])
    with pytest.raises(ValueError, match="twice"):
        evaluate(Driver(0), SpeedLimitEnv, [1, 1])
    with pytest.raises(KeyError, match="Costless"):
        evaluate(Driver(0), Costless, [0])
    with pytest.raises(TypeError, match="int"):
        evaluate(3, SpeedLimitEnv, [0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bound"):
        evaluate(Driver(0), SpeedLimitEnv, [0], n_workers=2)
    with pytest.raises(ValueError, match="render_mode"):
        evaluate(Driver(0), SpeedLimitEnv, [0], record=tmp_path)
    with pytest.raises(ValueError, match="No episodes"):
        summarise([])
