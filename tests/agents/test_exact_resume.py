"""A run that is stopped anywhere and goes on ends as if it had not been: bit for bit, on a CPU."""

from __future__ import annotations

import multiprocessing
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from resumed_runs import run, settings_of
from speed_limit import SpeedLimit, record
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import (
    SubprocVecEnv,
    VecEnv,
    VecEnvWrapper,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
)
from tiny_agents import make, weights

from vlsafe_agents import BC, CDT, CPQ, CQL, IQL, COptiDICE, PPOLag, TRPOLag, VLSafe
from vlsafe_agents.algorithms import ALGORITHMS
from vlsafe_agents.common.agent_file import read_agent
from vlsafe_agents.common.random_states import common_random_states
from vlsafe_agents.common.running import NotExactWarning
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.stock import PPO
from vlsafe_agents.training.facts import TRAINING_FILE
from wrappers.files import read_json
from wrappers.traced_env import TracedEnv

GOLDEN = Path(__file__).parent / "golden" / "vlsafe_2026_11.zip"
ROLLOUT: dict[str, Any] = {"n_steps": 9, "batch_size": 9, "n_epochs": 2, "seed": 0, "device": "cpu"}
ENVS = 3


@pytest.fixture(scope="module")
def dataset() -> EpisodeDataset:
    return record(12)


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotExactWarning)
        yield


def state(path: Path) -> tuple[Any, Any]:
    """All that a file holds, but for the times in it, and when the last `learn` began."""
    data, params = read_agent(path, "cpu")
    del data["state"]["_num_timesteps_at_start"]
    running = params["running"]
    for episode in running.get("ep_info", ()):
        del episode["t"]
    for episode in (running.get("driving") or {}).get("episodes", ()):
        del episode["random"][1:]  # spaces that nobody has seeded
    return data, params


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    return bool(a == b)


def assert_equal_files(a: Path, b: Path) -> None:
    (data_a, params_a), (data_b, params_b) = state(a), state(b)
    assert data_a == data_b
    assert params_a.keys() == params_b.keys()
    for part in params_a:
        for name in params_a[part] if isinstance(params_a[part], dict) else ():
            assert same(params_a[part][name], params_b[part][name]), (part, name)
        assert same(params_a[part], params_b[part]), part


class SaveAt(BaseCallback):
    """Saves the agent after these timesteps."""

    def __init__(self, folder: Path, *steps: int) -> None:
        super().__init__()
        self.folder, self.steps = folder, steps

    def _on_step(self) -> bool:
        if self.num_timesteps in self.steps:
            self.model.save(self.folder / f"{self.num_timesteps}.zip")
        return True


def check_going_on(
    agent: Any,
    load: Callable[[Path], Any],
    total: int,
    stops: tuple[int, ...],
    folder: Path,
) -> None:
    """Learn, and from each of the stops once more; all end in the same file."""
    agent.learn(total, callback=SaveAt(folder, *stops))
    agent.save(folder / "whole.zip")
    for stop in stops:
        torch.manual_seed(stop)  # as another process may be
        np.random.seed(stop)  # noqa: NPY002  # SB3 draws from it
        parts = load(folder / f"{stop}.zip")
        assert parts.num_timesteps == stop
        parts.learn(total - stop, reset_num_timesteps=False)
        parts.save(folder / "parts.zip")
        assert_equal_files(folder / "whole.zip", folder / "parts.zip")


# --- agents that learn from data ------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1.0, (0.5, 2.0)])
def test_vlsafe_goes_on_in_each_phase(limit: Any, dataset: EpisodeDataset, tmp_path: Path) -> None:
    agent = make(dataset, update="gated", cost_limit=limit)
    check_going_on(
        agent,
        lambda path: VLSafe.load(path, device="cpu", dataset=dataset),
        total=20,
        stops=(5, 13, 17),  # of 12 updates of the model, 2 of the critics and 6 of the policy
        folder=tmp_path,
    )
    assert agent._gap.updates > 0


@pytest.mark.parametrize("kind", [IQL, CQL, CPQ, COptiDICE, CDT])
def test_offline_baselines_go_on(kind: Any, dataset: EpisodeDataset, tmp_path: Path) -> None:
    nets: dict[str, Any] = {"width": 16, "layers": 1} if kind is CDT else {"net_arch": [16]}
    small = {"batch_size": 16, "seed": 0, "device": "cpu", "policy_kwargs": nets}
    check_going_on(
        kind("MlpPolicy", SpeedLimit(), dataset, **small),
        lambda path: kind.load(path, device="cpu", dataset=dataset),
        total=20,
        stops=(1, 13),
        folder=tmp_path,
    )


class CheckpointAt(SaveAt):
    """The same with the replay, as ``vlsafe train`` saves it."""

    def _on_step(self) -> bool:
        if self.num_timesteps in self.steps:
            self.model.save_checkpoint(self.folder / f"{self.num_timesteps}.zip")  # type: ignore[attr-defined]
        return True


@pytest.mark.parametrize(("recorded", "limit"), [(False, 0.1), (True, 0.1), (True, (0.1, 2.0))])
def test_vlsafe_goes_on_while_it_drives(
    recorded: bool, limit: Any, dataset: EpisodeDataset, tmp_path: Path
) -> None:
    """From the random phase, between updates, and when the replay has forgotten its first rows."""
    total, stops = 180, (12, 99, 141)
    data = {"dataset": dataset} if recorded else {}
    words = {"buffer_size": 120, "learning_starts": 40, "update": "lagrangian", "cost_limit": limit}
    agent = make(data.get("dataset"), plain(), **words)
    agent.learn(total, CheckpointAt(tmp_path, *stops), online=True)
    agent.save(tmp_path / "whole.zip")
    for stop in stops:
        torch.manual_seed(stop)
        parts = VLSafe.load_checkpoint(tmp_path / f"{stop}.zip", plain(), "cpu")
        if recorded:
            parts.set_dataset(dataset)
        parts.learn(total - stop, online=True, reset_num_timesteps=False)
        parts.save(tmp_path / "parts.zip")
        assert_equal_files(tmp_path / "whole.zip", tmp_path / "parts.zip")
        assert_equal_agents(agent, parts)


def test_without_its_replay_an_agent_that_drives_begins_new_episodes(tmp_path: Path) -> None:
    agent = make(None, plain(), safety=None).learn(90)
    agent.save(tmp_path / "a.zip")
    agent.save_replay_buffer(tmp_path / "replay.npz")
    agent.learn(30, reset_num_timesteps=False)
    parts = VLSafe.load(tmp_path / "a.zip", env=plain(), device="cpu")
    with pytest.warns(NotExactWarning, match="new episodes begin, because its replay is not here"):
        parts.learn(30, reset_num_timesteps=False)
    parts = VLSafe.load(tmp_path / "a.zip", env=plain(), device="cpu")
    parts.load_replay_buffer(tmp_path / "replay.npz")
    parts.learn(30, reset_num_timesteps=False)
    assert_equal_agents(agent, parts)


def assert_equal_agents(a: VLSafe, b: VLSafe) -> None:
    """Weights and replays; a row of the log begins with each call of `learn`."""
    assert torch.equal(weights(a), weights(b))
    assert a.replay_buffer is not None
    assert b.replay_buffer is not None
    for name, array in a.replay_buffer.state_dict().items():
        np.testing.assert_array_equal(array, b.replay_buffer.state_dict()[name], name)


def test_updates_that_a_callback_put_off_are_made_up_for() -> None:
    whole = make(None, plain(), safety=None).learn(120)
    parts = make(None, plain(), safety=None)
    parts.learn(120, callback=lambda scope, _: scope["self"].num_timesteps < 84)
    assert parts.num_timesteps == 84
    assert_equal_agents(whole, parts.learn(36, reset_num_timesteps=False))


def stopping_early(dataset: EpisodeDataset) -> BC:
    return BC(
        "MlpPolicy",
        SpeedLimit(),
        dataset,
        learning_rate=0.03,
        batch_size=16,
        validation_share=0.3,
        validation_interval=4,
        patience=3,
        seed=0,
        device="cpu",
    )


def test_early_stopping_goes_on_wherever_it_was(dataset: EpisodeDataset, tmp_path: Path) -> None:
    agent = stopping_early(dataset).learn(400)
    end = agent.num_timesteps
    assert end < 400, "stopped early"
    best = end - 3 * 4
    check_going_on(
        stopping_early(dataset),
        lambda path: BC.load(path, device="cpu", dataset=dataset),
        total=400,
        stops=(1, best - 1, best, best + 6, end - 1, end),
        folder=tmp_path,
    )


def test_a_callback_that_stops_early_stopping_takes_nothing_away(
    dataset: EpisodeDataset, tmp_path: Path
) -> None:
    """The best parameters are in place meanwhile, and the latest come back."""
    whole, parts = (stopping_early(dataset) for _ in range(2))
    whole.learn(400)
    middle = whole.num_timesteps - 5
    parts.learn(400, callback=lambda scope, _: scope["self"].num_timesteps < middle)
    parts.save(tmp_path / "stopped.zip")
    loaded = BC.load(tmp_path / "stopped.zip", device="cpu", dataset=dataset)
    for agent in (parts, loaded):
        agent.learn(400 - middle, reset_num_timesteps=False)
        assert agent.num_timesteps == whole.num_timesteps
        pairs = zip(agent.policy.parameters(), whole.policy.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_loading_touches_no_common_generator(dataset: EpisodeDataset, tmp_path: Path) -> None:
    agents: list[Any] = [
        make(dataset).learn(1),
        stopping_early(dataset).learn(1),
        PPO("MlpPolicy", SpeedLimit(), **ROLLOUT).learn(9),
    ]
    for agent in agents:
        agent.save(tmp_path / "a.zip")
        before = common_random_states()
        loaded = type(agent).load(tmp_path / "a.zip", device="cpu")
        assert same(before, common_random_states())
        loaded.save(tmp_path / "b.zip")  # unused, it holds what it held
        assert_equal_files(tmp_path / "a.zip", tmp_path / "b.zip")


def test_what_cannot_be_exact_is_said(dataset: EpisodeDataset, tmp_path: Path) -> None:
    agent = make(dataset).learn(1)
    agent.save(tmp_path / "a.zip")
    other = VLSafe.load(tmp_path / "a.zip", device="cpu", dataset=record(13))
    with pytest.warns(NotExactWarning, match="13 episodes, and had .* in 12"):
        other.learn(1, reset_num_timesteps=False)
    old = VLSafe.load(GOLDEN, device="cpu", dataset=dataset)
    with pytest.warns(NotExactWarning, match="earlier version"):
        old.learn(1, reset_num_timesteps=False)


def test_a_file_that_holds_something_else_is_refused(
    dataset: EpisodeDataset, tmp_path: Path
) -> None:
    agent = make(dataset).learn(1)
    agent.save(tmp_path / "a.zip")
    for spoil in ({"random": {}}, {"random": {"python": 1}}, {"log": 3}, {"gap": None}):
        loaded = VLSafe.load(tmp_path / "a.zip", device="cpu", dataset=dataset)
        loaded._left_off |= spoil
        with pytest.raises(ValueError, match="does not hold what was running"):
            loaded.learn(1, reset_num_timesteps=False)
        loaded.learn(1)


# --- agents that drive ----------------------------------------------------------------------------


def continuous() -> gym.Env[Any, Any]:
    return SpeedLimit(continuous=True)


def plain() -> VecEnv:
    return make_vec_env(SpeedLimit, ENVS)


def normalised() -> VecEnv:
    return VecFrameStack(VecNormalize(make_vec_env(continuous, ENVS)), 2)


def in_processes() -> VecEnv:
    return VecMonitor(SubprocVecEnv([lambda: TracedEnv(SpeedLimit())] * ENVS))


def driving(kind: Any, make_env: Callable[[], VecEnv], folder: Path, **more: Any) -> None:
    envs: list[VecEnv] = []

    def new() -> VecEnv:
        envs.append(make_env())
        return envs[-1]

    rollout = {k: v for k, v in ROLLOUT.items() if k != "n_epochs" or kind is not TRPOLag}
    check_going_on(
        kind("MlpPolicy", new(), **rollout, **more),
        lambda path: kind.load(path, env=new(), device="cpu"),
        total=27 * 6,
        stops=(27 * 2 + 3, 27 * 4 + 12, 27 * 6),  # in the middle of rollouts, and at the end of one
        folder=folder,
    )
    for env in envs:
        env.close()


@pytest.mark.parametrize("kind", [PPO, PPOLag, TRPOLag])
def test_episodes_go_on_where_they_were(kind: Any, tmp_path: Path) -> None:
    driving(kind, plain, tmp_path)


def test_normalisers_and_stacks_of_frames_go_on(tmp_path: Path) -> None:
    driving(PPOLag, normalised, tmp_path, use_sde=True, lagrange="pid")


@pytest.mark.slow
def test_environments_in_processes_of_their_own_go_on(tmp_path: Path) -> None:
    driving(PPO, in_processes, tmp_path)


class Whim(SpeedLimit):
    """Draws from a generator that nobody keeps."""

    def step(self, action: Any) -> Any:
        observation, *rest = super().step(action)
        return observation + np.float32(1e-3 * random.random()), *rest


class Shifted(VecEnvWrapper):
    """Might keep anything."""

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        return self.venv.step_wait()


class Counted(SpeedLimit):
    """Counts its episodes, and shows how many there were."""

    episodes = 0

    def reset(self, **kwargs: Any) -> Any:
        self.episodes += 1
        return super().reset(**kwargs)

    def _observe(self) -> np.ndarray:
        return super()._observe() + np.float32(0.1 * self.episodes)


@pytest.mark.parametrize(
    ("make_env", "reason"),
    [
        (lambda: make_vec_env(Whim, 2), "environment 0: after the same actions its observation"),
        (lambda: make_vec_env(Counted, 2), "environment 0: after the same actions its obs"),
        (lambda: Shifted(make_vec_env(SpeedLimit, 2)), "what Shifted keeps .* is not known"),
        pytest.param(
            lambda: VecMonitor(SubprocVecEnv([SpeedLimit] * 2)),
            "SubprocVecEnv, keep no record",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_where_new_episodes_begin_it_is_said_why(
    make_env: Callable[[], VecEnv], reason: str, tmp_path: Path
) -> None:
    kwargs = ROLLOUT | {"n_steps": 25}
    agent = PPOLag("MlpPolicy", make_env(), **kwargs).learn(50)
    agent.save(tmp_path / "a.zip")
    loaded = PPOLag.load(tmp_path / "a.zip", env=make_env(), device="cpu")
    with pytest.warns(NotExactWarning, match=f"new episodes begin, because .*{reason}"):
        loaded.learn(50, reset_num_timesteps=False)
    assert loaded.num_timesteps == 100
    assert [len(one.ep_info_buffer) > 0 for one in (agent, loaded)] == [True, True]
    for model in (agent, loaded):
        model.get_env().close()


def test_another_seed_or_another_number_of_environments_begins_new_episodes(
    tmp_path: Path,
) -> None:
    agent = PPOLag("MlpPolicy", plain(), **ROLLOUT).learn(27)
    agent.save(tmp_path / "a.zip")
    other = PPOLag.load(tmp_path / "a.zip", env=plain(), device="cpu", seed=5)
    other.learn(27, reset_num_timesteps=False)
    fewer = PPOLag.load(tmp_path / "a.zip", env=make_vec_env(SpeedLimit, 2), device="cpu")
    with pytest.warns(NotExactWarning, match="there are 2 environments, and were 3"):
        fewer.learn(18, reset_num_timesteps=False)


def test_normalisers_come_back_to_new_episodes_too(tmp_path: Path) -> None:
    agent = PPOLag("MlpPolicy", normalised(), **ROLLOUT).learn(27)
    agent.save(tmp_path / "a.zip")
    env = VecFrameStack(VecNormalize(make_vec_env(continuous, 2)), 2)
    fewer = PPOLag.load(tmp_path / "a.zip", env=env, device="cpu")
    with pytest.warns(NotExactWarning, match="there are 2 environments"):
        fewer.learn(0, reset_num_timesteps=False)
    [one, other] = [model.get_vec_normalize_env().obs_rms for model in (agent, fewer)]
    assert other.count == one.count + 2, "of the first observations"


def test_the_compiled_environments_go_on(tmp_path: Path) -> None:
    from vlsafe_envs.sb3 import DrivingVecEnv
    from vlsafe_envs.sb3 import make_vec_env as make_driving

    options = {"observation": "vector", "scorer": None, "duration": 12, "vehicles": 5}

    def new() -> VecEnv:
        env = make_driving("VLSafe-Highway-v0", ENVS, seed=3, env_kwargs=options)
        assert isinstance(env.unwrapped, DrivingVecEnv)
        return env

    driving(PPOLag, new, tmp_path)


# --- kills ----------------------------------------------------------------------------------------

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [row.home.partition(":")[0] for row in ALGORITHMS.values()]
    + ["vlsafe_agents.training.checkpoints", "vlsafe_agents.training.run", "tensorboard"]
)


def attempt(*arguments: Any) -> int | None:
    process = PROCESSES.Process(target=run, args=arguments)
    process.start()
    process.join(300)
    return process.exitcode


KILLS: dict[str, tuple[tuple[str, int], ...]] = {
    "vlsafe_online": (("step", 25), ("replay", 3), ("half", 4), ("update", 3), ("whole", 5)),
    "vlsafe": (("update", 7), ("half", 2), ("update", 13), ("update", 18)),  # each of the phases
    "bc": (("update", 3), ("half", 3), ("update", 15)),
    "cpq": (("update", 7), ("half", 2)),
    "ppo_lag": (("step", 25), ("half", 2), ("step", 40)),
    "ppo": (("step", 31), ("whole", 2)),
    "trpo_lag": (("step", 25),),
    "sac_lag": (("step", 25), ("half", 8), ("step", 40)),
}


@pytest.mark.parametrize("name", KILLS)
def test_killed_runs_end_as_those_that_were_not(name: str, tmp_path: Path) -> None:
    assert attempt(name, str(tmp_path / "whole"), None, 1e9) == 0
    for kill in KILLS[name]:
        assert attempt(name, str(tmp_path / "parts"), kill) == -9
    assert attempt(name, str(tmp_path / "parts"), None) == 0
    assert_equal_files(tmp_path / "whole" / "model.zip", tmp_path / "parts" / "model.zip")
    facts = [read_json(tmp_path / part / TRAINING_FILE) for part in ("whole", "parts")]
    assert facts[0]["gradient_steps"] == facts[1]["gradient_steps"]
    if not settings_of(name).offline:
        steps = settings_of(name).steps
        assert facts[0]["env_steps"] == steps
        assert facts[1]["env_steps"] - facts[1]["env_steps_lost"] == steps
        assert facts[1]["env_steps_lost"] < 2 * len(KILLS[name]) * 9 + 2, "no step counted twice"


@pytest.mark.slow
@pytest.mark.parametrize("name", KILLS)
@pytest.mark.parametrize("seed", range(3))
def test_runs_killed_at_random_end_as_those_that_were_not(
    name: str, seed: int, tmp_path: Path
) -> None:
    rng = random.Random(f"{name} {seed}")
    assert attempt(name, str(tmp_path / "whole"), None, 1e9) == 0
    moment = ("update", 20) if settings_of(name).offline else ("step", 60)
    saves = [("half", 6), ("whole", 6), ("named", 6)]
    if settings_of(name).online:
        saves.append(("replay", 6))
    for _ in range(6):
        what, most = rng.choice((moment, moment, *saves))
        ended = attempt(name, str(tmp_path / "parts"), (what, rng.randint(1, most)))
        assert ended in (0, -9)
    assert attempt(name, str(tmp_path / "parts"), None) == 0
    assert_equal_files(tmp_path / "whole" / "model.zip", tmp_path / "parts" / "model.zip")
