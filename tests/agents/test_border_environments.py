"""An offline agent's environment must show what its data show: equal spaces do not say so."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecCheckNan,
    VecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
)
from toy_envs import CountingEnv, observation_space

from vlsafe_agents.bc import BC
from vlsafe_agents.common.origin import origin_of
from vlsafe_agents.data import Episode, EpisodeDataset
from vlsafe_agents.vlsafe import VLSafe

HERE, THERE = "Toy-Here-v0", "Toy-There-v0"


@pytest.fixture(scope="module", autouse=True)
def registered() -> Any:
    for name in (HERE, THERE):
        gym.register(name, CountingEnv)
    yield
    for name in (HERE, THERE):
        del gym.registry[name]


def drives(metadata: dict[str, Any] | None = None) -> EpisodeDataset:
    rng = np.random.default_rng(0)
    episodes = [
        Episode(
            {"vector": rng.normal(size=(9, 3)).astype(np.float32)},
            rng.integers(0, 3, 8),
            np.zeros(8),
            np.zeros(9),
            False,
            np.ones(9),
        )
        for _ in range(4)
    ]
    space = spaces.Dict({"vector": observation_space("vector")})
    data = EpisodeDataset.from_arrays(episodes, space, spaces.Discrete(3))
    data.metadata = metadata or {}
    return data


def recorded(*through: str, env_id: str = HERE) -> dict[str, Any]:
    """Metadata as Minari writes them."""
    names = ", ".join(f'{{"name": "{name}"}}' for name in through)
    return {"env_spec": f'{{"id": "{env_id}", "additional_wrappers": [{names}]}}'}


def make(env_id: str = HERE) -> gym.Env[Any, Any]:
    return gym.make(env_id)


def make_vlsafe(env: Any, data: EpisodeDataset | None) -> Any:
    return VLSafe("MlpPolicy", env, data, preset="debug")


def make_bc(env: Any, data: EpisodeDataset | None) -> Any:
    return BC("MlpPolicy", env, data, device="cpu")


AGENTS: dict[str, Callable[..., Any]] = {"VLSafe": make_vlsafe, "BC": make_bc}


class Doubled(gym.ObservationWrapper):
    def observation(self, observation: Any) -> Any:
        return 2 * observation


def doubled() -> gym.Env[Any, Any]:
    return Doubled(CountingEnv())


def limited() -> gym.Env[Any, Any]:
    return gym.wrappers.TimeLimit(Doubled(CountingEnv()), 9)


def normalised() -> gym.Env[Any, Any]:
    return gym.wrappers.NormalizeObservation(CountingEnv())


CHANGED: dict[str, tuple[Callable[[], Any], str]] = {
    "VecNormalize": (lambda: VecNormalize(DummyVecEnv([make])), "VecNormalize"),
    "under a monitor": (lambda: VecMonitor(VecNormalize(DummyVecEnv([make]))), "VecNormalize"),
    "frame stack": (lambda: VecFrameStack(DummyVecEnv([make]), 2), "VecFrameStack"),
    "normalised": (lambda: gym.wrappers.NormalizeObservation(make()), "NormalizeObservation"),
    "delayed": (lambda: gym.wrappers.DelayObservation(make(), 1), "DelayObservation"),
    "rescaled": (
        lambda: gym.wrappers.TransformObservation(make(), lambda o: 0.1 * o, None),
        "TransformObservation",
    ),
    "skipping": (lambda: gym.wrappers.MaxAndSkipObservation(make(), 2), "MaxAndSkipObservation"),
    "own": (lambda: Doubled(make()), "Doubled"),
    "own inside": (
        lambda: DummyVecEnv([lambda: gym.wrappers.TimeLimit(Doubled(make()), 9)]),
        "Doubled",
    ),
    "own elsewhere": (lambda: SubprocVecEnv([doubled], "fork"), "ObservationWrapper"),
    "elsewhere": (lambda: SubprocVecEnv([normalised], "fork"), "NormalizeObservation"),
}
UNCHANGED: dict[str, Callable[[], Any]] = {
    "bare": CountingEnv,
    "made": make,
    "vector": lambda: DummyVecEnv([make]),
    "monitored": lambda: VecMonitor(VecCheckNan(DummyVecEnv([make]))),
    "rewards only": lambda: VecNormalize(DummyVecEnv([make]), norm_obs=False),
    "limited": lambda: gym.wrappers.TimeLimit(make(), 9),
    "flat": lambda: gym.wrappers.FlattenObservation(make()),
    "elsewhere": lambda: SubprocVecEnv([make_bare], "fork"),
}


def make_bare() -> gym.Env[Any, Any]:
    return CountingEnv()


def close(env: Any) -> None:
    if isinstance(env, VecEnv):
        env.close()


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("case", CHANGED)
def test_observations_that_are_changed_on_their_way_are_refused(case: str, agent: str) -> None:
    build, name = CHANGED[case]
    env = build()
    with pytest.raises(ValueError, match=f"pass through {name}, the data's did not.*record data"):
        AGENTS[agent](env, drives(recorded()))
    close(env)


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("case", UNCHANGED)
def test_other_wrappers_are_let_through(case: str, agent: str) -> None:
    env = UNCHANGED[case]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AGENTS[agent](env, drives(recorded()))
    close(env)


@pytest.mark.parametrize("agent", AGENTS)
def test_without_a_known_origin_changed_observations_are_warned_of(agent: str) -> None:
    with pytest.warns(UserWarning, match="as far as is known, .*VecNormalize"):
        AGENTS[agent](VecNormalize(DummyVecEnv([make])), drives())


@pytest.mark.parametrize("agent", AGENTS)
def test_data_that_were_recorded_through_the_wrapper_belong_to_it(agent: str) -> None:
    AGENTS[agent](Doubled(make()), drives(recorded("Doubled", "OrderEnforcing")))


@pytest.mark.parametrize("agent", AGENTS)
def test_data_that_were_recorded_through_a_wrapper_do_not_fit_without_it(agent: str) -> None:
    with pytest.raises(ValueError, match=r"passed through NormalizeObservation.*Wrap .* alike"):
        AGENTS[agent](make(), drives(recorded("TimeLimit", "NormalizeObservation")))


@pytest.mark.parametrize("agent", AGENTS)
def test_data_of_another_environment_are_warned_of_with_both_names(agent: str) -> None:
    for metadata in (recorded(env_id=THERE), {"env_id": THERE}, {"env_id": f"mine:{THERE}"}):
        with pytest.warns(UserWarning, match=f"recorded in {THERE}, but .* is {HERE}") as seen:
            AGENTS[agent](make(), drives(metadata))
        assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AGENTS[agent](make(), drives({"env_id": f"mine:{HERE}"}))


@pytest.mark.parametrize("agent", AGENTS)
def test_later_environments_and_data_are_compared_as_well(agent: str, tmp_path: Any) -> None:
    model = AGENTS[agent](make(), drives(recorded()))
    kept = model.env
    with pytest.raises(ValueError, match="VecNormalize"):
        model.set_env(VecNormalize(DummyVecEnv([make])))
    assert model.env is kept
    with pytest.warns(UserWarning, match=f"recorded in {HERE}, but .* is {THERE}"):
        model.set_env(make(THERE))
    model.save(tmp_path / "agent.zip")
    kind = type(model)
    with pytest.raises(ValueError, match="VecNormalize"):
        kind.load(tmp_path / "agent.zip", env=VecNormalize(DummyVecEnv([make])))
    with pytest.warns(UserWarning, match=f"recorded in {HERE}, but .* is {THERE}"):
        kind.load(tmp_path / "agent.zip", env=make(THERE))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kind.load(tmp_path / "agent.zip", env=make())
        kind.load(tmp_path / "agent.zip")
    later = AGENTS[agent](VecNormalize(DummyVecEnv([make])), None)
    with pytest.raises(ValueError, match="VecNormalize"):
        later.set_dataset(drives(recorded()))


FOREIGN: list[dict[str, Any]] = [
    {},
    {"env_spec": None},
    {"env_spec": "no JSON"},
    {"env_spec": "[1]"},
    {"env_spec": 3},
    {"env_spec": {"id": 4, "additional_wrappers": ["x", {}]}},
    {"env_spec": {"additional_wrappers": 3}},
    {"env_id": ["a"]},
]


@pytest.mark.parametrize("metadata", FOREIGN)
def test_foreign_metadata_leave_the_origin_unknown(metadata: dict[str, Any]) -> None:
    assert origin_of(metadata) == {"env_id": None, "wrappers": []}
