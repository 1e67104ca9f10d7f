"""A pytest plugin: one of our algorithms takes the seats of some of Stable-Baselines3's.

``from stable_baselines3 import PPO`` then gives a test module ours, in every list of models that it
makes of that name.  Tests that have nothing to do with such a seat are left out.  Nothing of
Stable-Baselines3 is changed but these names and that environments report a cost; what a user of our
class would write otherwise is in :data:`WORDS` and :class:`Seat`.
"""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import stable_baselines3
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from vlsafe_agents import BC, PPO, PPOLag, RecurrentPPOLag, VLSafe
from vlsafe_agents.data import Episode, EpisodeDataset
from vlsafe_agents.ppo_lag import CostActorCriticPolicy
from vlsafe_agents.ppo_lag.recurrent import CostLstmPolicy

COST = 0.1  # of every step of every environment
STOCK = ("A2C", "DDPG", "DQN", "PPO", "SAC", "TD3")
# Algorithm, and whose seats it takes: one with the same kind of arguments and actions.
SEATS: dict[type, tuple[str, ...]] = {
    PPO: ("PPO", "A2C"),
    PPOLag: ("PPO", "A2C"),
    RecurrentPPOLag: ("PPO", "A2C"),
    BC: ("A2C",),
    VLSafe: ("SAC", "DQN", "A2C"),
}
SPARE = "A2C"  # a seat that stays empty where a list of models has another of these as well
AGENTS = {kind.__name__: kind for kind in SEATS}
# Words that one who changes from a stock class to ours writes otherwise, or leaves out (None).
ON_POLICY = {"rms_prop_eps": None, "use_rms_prop": None}
WORDS: dict[type, dict[str, str | None]] = {
    PPO: ON_POLICY,
    PPOLag: ON_POLICY,
    RecurrentPPOLag: ON_POLICY,
    BC: {"gamma": None, "n_steps": None, "gae_lambda": None, **ON_POLICY},
    VLSafe: {
        "n_steps": "train_freq",  # in A2C's seat; the others' are steps of returns, see below
        "action_noise": None,
        "target_update_interval": None,
        **ON_POLICY,
    },
}
N_STEP_RETURNS = ("SAC", "DQN", "TD3", "DDPG")  # whose n_steps is another thing than a rollout
# What one who changes would add.
ADDED: dict[tuple[type, str], dict[str, Any]] = {
    # A2C's rollout, learned from once
    **{
        (kind, "A2C"): {"n_steps": 5, "n_epochs": 1, "normalize_advantage": False}
        for kind in (PPO, PPOLag, RecurrentPPOLag)
    },
    # small networks that learn from info["cost"], and not from each step twice over
    **{
        (VLSafe, seat): {"preset": "debug", "update": "lagrangian", "train_freq": 16}
        for seat in SEATS[VLSafe]
    },
}
# Sizes of networks that the world model has under other names.
SIZES = ("features_extractor_kwargs", "n_critics")

made = 0  # agents, since the present test began


class Seat:
    """Mixin, to be named before one of our algorithms: how it is called in a stock class's seat."""

    seat: ClassVar[str]
    ours: ClassVar[type]

    def __init__(self, policy: Any, env: Any, *args: Any, **kwargs: Any) -> None:
        global made
        made += 1
        words = dict(WORDS[self.ours])
        if self.seat in N_STEP_RETURNS:
            words.pop("n_steps", None)
        kwargs = {words.get(name, name): value for name, value in kwargs.items()}
        kwargs.pop(None, None)
        sizes = kwargs.get("policy_kwargs")
        if self.ours is VLSafe and isinstance(sizes, Mapping):
            kept = {name: value for name, value in sizes.items() if name not in SIZES}
            kwargs["policy_kwargs"] = kept
        added = ADDED.get((self.ours, self.seat), {})
        super().__init__(with_cost_critic(policy, self.ours), env, *args, **{**added, **kwargs})

    def learn(self, total_timesteps: int, *args: Any, **kwargs: Any) -> Any:
        """As the algorithm's; where it needs recorded drives, random ones of its environment."""
        kwargs.setdefault("tb_log_name", self.seat)  # stock classes name runs after themselves
        if self.ours is BC and self._training_data is None:  # type: ignore[attr-defined]
            self.set_dataset(random_drives(self))  # type: ignore[attr-defined]
        return super().learn(total_timesteps, *args, **kwargs)  # type: ignore[misc]


def with_cost_critic(policy: Any, kind: type) -> Any:
    """A policy class of the user's own as the algorithm needs it: derived from ours."""
    base = {PPOLag: CostActorCriticPolicy, RecurrentPPOLag: CostLstmPolicy}.get(kind)
    if base is None or not isinstance(policy, type) or issubclass(policy, base):
        return policy
    return type(policy.__name__, (policy, base), {})


def random_drives(agent: BC, episodes: int = 4, steps: int = 64) -> EpisodeDataset:
    """Recorded drives at random in the agent's environment, of so many steps at most."""
    env = agent.env
    assert env is not None
    space = env.observation_space
    parts = dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}
    found = []
    for _ in range(episodes):
        seen = [_first(env.reset())]
        actions, rewards, ended = [], [], False
        while not ended and len(actions) < steps:
            action = env.action_space.sample()
            observation, reward, done, infos = env.step([action] * env.num_envs)
            ended = bool(done[0])
            seen.append(infos[0]["terminal_observation"] if ended else _first(observation))
            actions.append(action)
            rewards.append(reward[0])
        obs = {name: _column(seen, name) for name in parts}
        found.append(Episode(obs, np.array(actions), np.array(rewards), None, terminated=ended))
    boxes = {name: _box(found[0].obs[name], part) for name, part in parts.items()}
    kind = spaces.Dict(boxes) if isinstance(space, spaces.Dict) else boxes[""]
    return EpisodeDataset.from_arrays(found, kind, env.action_space)


def _first(observation: Any) -> Any:
    if isinstance(observation, Mapping):
        return {name: part[0] for name, part in observation.items()}
    return observation[0]


def _column(seen: list[Any], name: str) -> Any:
    """One kind of observation of all steps; images as data sets have them, channels last."""
    values = np.stack([one[name] if isinstance(one, Mapping) else one for one in seen])
    turned = values.dtype == np.uint8 and values.ndim == 4 and values.shape[1] < values.shape[2]
    return values.transpose(0, 2, 3, 1) if turned else values


def _box(values: Any, space: Any) -> Any:
    """The space of such rows."""
    turned = values.shape[1:] != space.shape
    return spaces.Box(0, 255, values.shape[1:], np.uint8) if turned else space


# --- who sits where -------------------------------------------------------------------------------


def sit(kind: type) -> dict[str, type]:
    """Put the algorithm in its seats; what sits there now, by seat."""
    seated = {
        seat: type(
            f"{kind.__name__}_{seat}", (Seat, kind), {"seat": seat, "ours": kind, "__doc__": ""}
        )
        for seat in SEATS[kind]
    }
    for seat, ours in seated.items():
        setattr(stable_baselines3, seat, ours)
    for environments in (DummyVecEnv, SubprocVecEnv):
        environments.step_wait = _costing(environments.step_wait)  # type: ignore[method-assign]
    return seated


def _costing(step_wait: Callable[[VecEnv], Any]) -> Callable[[VecEnv], Any]:
    def step_wait_with_cost(self: VecEnv) -> Any:
        observation, reward, done, infos = step_wait(self)
        for info in infos:
            info.setdefault("cost", COST)
        return observation, reward, done, infos

    return step_wait_with_cost


def without_twins(items: list[Any]) -> list[Any]:
    """Without those in the spare seat that differ from others in nothing else, DQN's apart."""

    def seat(item: Any) -> str:
        return next((one.seat for one in _parameters(item) if _seated(one)), "")

    def rest(item: Any) -> tuple[str, str, str]:
        others = [one for one in _parameters(item) if not _seated(one)]
        return str(item.path), item.originalname, str(others)

    taken = {rest(item) for item in items if seat(item) not in ("", SPARE, "DQN")}
    return [item for item in items if seat(item) != SPARE or rest(item) not in taken]


def concerns(item: Any, seated: Mapping[str, type]) -> bool:
    """Whether a test has one of our classes: among its parameters, or else by name in its code."""
    parameters = _parameters(item)
    algorithms = [getattr(stable_baselines3, name) for name in STOCK]
    classes = [one for one in parameters if isinstance(one, type) and one in algorithms]
    if classes:
        return any(one in seated.values() for one in classes)
    fixtures = (
        found.func
        for name in item.fixturenames
        for found in item._fixtureinfo.name2fixturedefs.get(name, ())
    )
    named = {name for one in (item.function, *fixtures) for name in _named(one, set())}
    if "MODEL_DICT" in named:  # chosen by its name in lower case
        return any(str(one).upper() in seated for one in parameters)
    return bool(named & seated.keys())


def _parameters(item: Any) -> list[Any]:
    """Values that a test is given, those in lists and tuples one by one."""
    return [*_flat(item.callspec.params.values())] if hasattr(item, "callspec") else []


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value


def _seated(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Seat)


def _named(function: Any, seen: set[Any]) -> set[str]:
    """Names that a function's code has, and those of the functions of its module that it calls."""
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    if code is None or code in seen:
        return set()
    seen.add(code)
    names = set(_names(code))
    for name in list(names):
        called = function.__globals__.get(name)
        if inspect.isfunction(called) and called.__module__ == function.__module__:
            names |= _named(called, seen)
    return names


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


# --- pytest ---------------------------------------------------------------------------------------


class Outcomes:
    """What came of each test: a line of a file, written when it ends."""

    def __init__(self, seated: Mapping[str, type], path: Path) -> None:
        self._seated, self._path = seated, path

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[Any]) -> None:
        """Leave out tests without a seat of ours."""
        kept = without_twins([item for item in items if concerns(item, self._seated)])
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept

    def pytest_runtest_setup(self) -> None:
        """No agent has been made yet."""
        global made
        made = 0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: Any) -> Any:
        """Keep the outcome, with the error's own words."""
        report = yield
        if report.when == "call" or report.outcome != "passed":
            error = call.excinfo
            said = "" if error is None else f"{error.typename}: {error.value}"
            name = item.nodeid.rpartition("/")[2]
            row = {"test": name, "outcome": report.outcome, "said": said, "agents": made}
            with self._path.open("a") as file:
                file.write(json.dumps({**row, "seconds": report.duration}) + "\n")
        return report


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which algorithm, and where to."""
    parser.addoption("--agent", choices=sorted(AGENTS), required=True)
    parser.addoption("--outcomes", type=Path, required=True)


def pytest_configure(config: pytest.Config) -> None:
    """Take the seats before any test module is read."""
    config.addinivalue_line("markers", "expensive: needs gigabytes")
    seated = sit(AGENTS[config.getoption("--agent")])
    config.pluginmanager.register(Outcomes(seated, config.getoption("--outcomes")))


__all__ = ["AGENTS", "SEATS"]
