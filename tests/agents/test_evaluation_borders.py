"""What comes from a user's environment or agent is checked where it enters, and named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from toy_envs import CountingEnv, Driver

from vlsafe_agents.evaluation import EpisodeRecord, Recording, evaluate, load_recording

CRASHED_AT = 3


class OddEnv(CountingEnv):
    """A counting environment that returns something odd from its third step on."""

    def __init__(self, observation: Any = None, space: Any = None, **odd: Any) -> None:
        super().__init__(length=5)
        self.odd, self.odd_observation = odd, observation
        if space is not None:
            self.action_space = space

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        if self.time >= CRASHED_AT:
            reward = self.odd.get("reward", reward)
            terminated = self.odd.get("terminated", terminated)
            truncated = self.odd.get("truncated", truncated)
            info |= self.odd.get("info", {})
            if self.odd_observation is not None:
                observation = self.odd_observation
        if self.odd.get("six"):
            return observation, reward, 0.0, terminated, truncated, info
        return observation, reward, terminated, truncated, self.odd.get("info_is", info)


class Model:
    """Predicts one and the same action."""

    def __init__(self, action: Any = 0) -> None:
        self.action = action

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: Any = 0
    ) -> Any:
        return np.stack([np.asarray(self.action)] * len(observation)), state


def alone(env: Any, agent: Any = None, **options: Any) -> list[EpisodeRecord]:
    return evaluate(agent or Model(), lambda: env, [7], **options).records


def together(make_env: Any, agent: Any = None) -> list[EpisodeRecord]:
    def make_vec_env(count: int) -> Any:
        mode = AutoresetMode.DISABLED
        return SyncVectorEnv([make_env] * count, autoreset_mode=mode)

    return evaluate(
        agent or Model(), make_env, [7, 8], make_vec_env=make_vec_env, num_envs=2
    ).records


NAN, INF = float("nan"), float("inf")
NUMBERS = [
    ({"reward": NAN}, "reward is nan"),
    ({"reward": INF}, "reward is inf"),
    ({"reward": np.array([1.0, 2.0])}, "reward holds 2 numbers"),
    ({"reward": None}, "reward is None"),
    ({"reward": "1"}, "reward is '1'"),
    ({"info": {"cost": NAN}}, r"info\['cost'\] is nan"),
    ({"info": {"cost": -1.0}}, r"info\['cost'\] is -1; expected a finite number of at least 0"),
    ({"info": {"cost": np.ones(2)}}, r"info\['cost'\] holds 2 numbers"),
    ({"info": {"cost": None}}, r"info\['cost'\] is None"),
    ({"info": {"env_cost": INF}}, r"info\['env_cost'\] is inf"),
    ({"info": {"vlm_cost": NAN}}, r"info\['vlm_cost'\] is nan"),
    ({"info": {"speed": NAN}}, r"info\['speed'\] is nan"),
    ({"info": {"distance": "far"}}, r"info\['distance'\] is 'far'"),
    ({"info": {"collision": NAN}}, r"info\['collision'\] is nan"),
    ({"info": {"collision": "no"}}, r"info\['collision'\] is 'no'"),
    ({"info": {"off_road": -1}}, r"info\['off_road'\] is -1"),
]


@pytest.mark.parametrize(("odd", "message"), NUMBERS)
def test_numbers_that_are_none_are_named_with_environment_seed_and_step(
    odd: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"OddEnv, seed 7, step [35]: {message}"):
        alone(OddEnv(**odd))


# What Gymnasium's vector environments can carry; they refuse the rest by themselves.
CARRIED = [n for n in NUMBERS if isinstance(next(iter(n[0].values())), float | dict)]


@pytest.mark.parametrize(("odd", "message"), CARRIED)
def test_so_are_those_of_environments_side_by_side(odd: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"OddEnv, seed [78], step [35]: {message}"):
        together(lambda: OddEnv(**odd))


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({"terminated": "False"}, "terminated is 'False'"),
        ({"truncated": NAN}, "truncated is nan"),
        ({"terminated": 2}, "terminated is 2"),
        ({"terminated": None}, "terminated is None"),
        ({"truncated": np.zeros(2, bool)}, "truncated is array"),
        ({"info_is": None}, r"step\(\) returned an info that is NoneType"),
        ({"six": True}, r"step\(\) returned 6 .*SafetyGymnasium2Gymnasium"),
    ],
)
def test_outcomes_of_another_kind_are_refused(odd: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"OddEnv, seed 7, step [13]: {message}"):
        alone(OddEnv(**odd))


def test_a_reset_of_another_kind_is_refused() -> None:
    class Old(CountingEnv):
        def reset(self, **_: Any) -> Any:
            return super().reset()[0]

    with pytest.raises(ValueError, match=r"Old, seed 7: reset\(\) returned no \(observation, info"):
        alone(Old())


def test_arrays_of_one_number_are_numbers() -> None:
    costs = {"cost": np.array([2.0]), "env_cost": np.array(1.0), "collision": np.array([True])}
    (episode,) = alone(OddEnv(reward=np.array([1.0]), terminated=np.array([True]), info=costs))
    assert (episode.steps, episode.episode_return) == (3, 1 + 2 + 1)
    assert (episode.cost, episode.env_cost) == (10 + 20 + 2, 1 + 2 + 1)
    assert episode.collision is True


@pytest.mark.parametrize("bad", [NAN, INF])
def test_observations_that_are_no_numbers_do_not_reach_a_model(bad: float) -> None:
    observation = np.array([0.0, bad, 0.0], np.float32)
    message = f"OddEnv, seed 7, step 3: observation holds {bad} at entry 1"
    with pytest.raises(ValueError, match=message):
        alone(OddEnv(observation))
    with pytest.raises(ValueError, match=r"seed 7, step 3: observation\['a'\] holds"):
        alone(OddEnv({"a": observation, "b": np.zeros((4, 4, 3), np.uint8)}))
    with pytest.raises(ValueError, match="observation holds"):
        together(lambda: OddEnv(observation))
    assert alone(OddEnv(observation), lambda env, rng: Driver(0))  # which does not look at it


BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)
LATER = spaces.Discrete(3, start=5)


@pytest.mark.parametrize(
    ("space", "action"),
    [
        (spaces.Discrete(3), 3),
        (spaces.Discrete(3), -1),
        (spaces.Discrete(3), 1.7),  # and not 1
        (spaces.Discrete(3), [0, 1]),
        (spaces.Discrete(3), NAN),
        (LATER, 2),
        (BOX, [0.0, NAN]),
        (BOX, [0.0, 1.5]),
        (BOX, [0.0]),
        (spaces.Box(0, 9, (1,), np.int64), [2.5]),
        (spaces.MultiDiscrete([2, 2]), [0, 2]),
    ],
)
def test_actions_outside_the_action_space_are_named(space: Any, action: Any) -> None:
    class Env(OddEnv):
        def __init__(self) -> None:
            super().__init__(space=space)

    with pytest.raises(ValueError, match=r"Env, seed 7, step 1: the agent's action .* is not in"):
        alone(Env(), Model(action))
    with pytest.raises(ValueError, match="is not in"):
        together(Env, Model(action))
    with pytest.raises(ValueError, match="is not in"):
        alone(Env(), lambda env, rng: Driver(np.asarray(action)))


@pytest.mark.parametrize(
    ("space", "action"),
    [(LATER, 7), (BOX, np.array([0.1, -1.0])), (spaces.MultiDiscrete([2, 3]), [1, 2])],
)
def test_actions_inside_of_it_are_taken(space: Any, action: Any) -> None:
    assert alone(OddEnv(space=space), Model(action))[0].steps == 5


class Silent(gym.Env[Any, Any]):
    """A foreign environment: a cost, and nothing else."""

    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Discrete(2)
    tells: dict[str, Any] = {}  # noqa: RUF012

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.last = seed
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        more = self.tells if self.last == 8 else {}
        return np.zeros(2, np.float32), 1.0, True, False, {"cost": 0.0, **more}


def test_what_an_environment_does_not_report_is_not_known() -> None:
    result = evaluate(Model(), Silent, [7, 8])
    record = EpisodeRecord(7, 1.0, 0.0, None, None, None, None, None, 1, None, None, None)
    assert result.records[0] == record
    known = {name for name, entry in result.summary.items() if entry["mean"] is not None}
    assert known == {"return", "cost", "steps"}


@pytest.mark.parametrize("flag", ["collision", "off_road", "arrived", "off_route"])
def test_who_speaks_of_crashes_only_when_there_is_one_has_no_known_rate(
    flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Silent, "tells", {flag: True})
    with pytest.warns(UserWarning, match=rf"info\['{flag}'\] in 1 of 2 episodes only"):
        result = evaluate(Model(), Silent, [7, 8])
    assert getattr(result.records[1], flag) is True
    rate = {"arrived": "arrival"}.get(flag, flag) + "_rate"
    assert result.summary[rate]["mean"] is None


def test_a_cost_that_is_reported_now_and_then_has_no_known_sum() -> None:
    class Forgetful(CountingEnv):
        def _info(self) -> dict[str, Any]:
            info = super()._info()
            if self.time == 2:
                del info["env_cost"]
            return info

    (episode,) = alone(Forgetful())
    assert episode.env_cost is None
    assert episode.cost == 150.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": [1.5]}, "integers"),
        ({"seeds": ["1"]}, "integers"),
        ({"seeds": [-1]}, "at least 0 and below .* got -1"),
        ({"seeds": [3, 2**63]}, "got 9223372036854775808"),
        ({"n_workers": 0}, "n_workers must be at least 1, got 0"),
        ({"num_envs": -2}, "num_envs must be at least 1, got -2"),
        ({"bootstrap_seed": -1}, "at least 0, got -1"),
    ],
)
def test_settings_are_checked_before_anything_is_driven(
    options: dict[str, Any], message: str
) -> None:
    env = CountingEnv()
    with pytest.raises(ValueError, match=message):
        evaluate(Model(), lambda: env, **{"seeds": [0], **options})
    assert env.steps_taken == 0


def test_an_environment_that_shows_no_frames_is_refused_before_it_is_driven(tmp_path: Any) -> None:
    env = CountingEnv()
    env.render_mode = None
    with pytest.raises(ValueError, match="render_mode"):
        evaluate(Model(), lambda: env, [0], record=tmp_path)
    assert env.steps_taken == 0


@pytest.mark.parametrize("wrong", [{"best": -1}, {"worst": -2}])
def test_fewer_than_no_recordings_are_refused(wrong: dict[str, int], tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        Recording(tmp_path, **wrong)


def test_episodes_without_known_collisions_are_recorded_all_the_same(tmp_path: Any) -> None:
    class Quiet(CountingEnv):
        def _info(self) -> dict[str, Any]:
            return {"cost": np.array([1.0]), "time_to_collision": None}

    result = evaluate(Model(), Quiet, [0, 1], record=tmp_path)
    arrays = load_recording(result.recordings["best_0"])
    assert arrays["cost"].tolist() == [1.0] * 6
    assert np.isnan(arrays["collision"]).all()
    assert np.isnan(arrays["time_to_collision"]).all()


def test_a_refusal_in_another_process_keeps_its_sentence() -> None:
    def make_env() -> Any:
        return OddEnv(reward=NAN)

    with pytest.raises(ValueError, match=r"^OddEnv, seed [78], step 3: reward is nan"):
        evaluate(Model(), make_env, [7, 8], n_workers=2)


SLOW = """
import os, sys, time
sys.path.insert(0, {tests!r})
from toy_envs import CountingEnv, Driver
from vlsafe_agents.evaluation import evaluate

class Slow(CountingEnv):
    def step(self, action):
        os.write(1, b"driving\\n")
        time.sleep(0.2)
        return super().step(action)

if __name__ == "__main__":
    evaluate(lambda env, rng: Driver(0), lambda: Slow(3), range(1000), n_workers=2)
"""


def test_a_killed_evaluation_leaves_no_process_behind(tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    tests = Path(__file__).parent
    script.write_text(SLOW.format(tests=str(tests)))
    paths = os.pathsep.join([str(tests.parents[1]), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"driving\n"
        process.kill()
        # the pipe ends when the last process that could write into it is gone
        assert process.stdout.read().replace(b"driving\n", b"") == b""


def test_processes_are_shared_out_by_one_pool() -> None:
    """`concurrent.futures` leaves orphans, as data/pool.py says."""
    root = Path(__file__).parents[2]
    files = [*(root / "vlsafe_agents").rglob("*.py"), *(root / "wrappers").rglob("*.py")]
    assert not [file for file in files if "ProcessPoolExecutor" in file.read_text()]
