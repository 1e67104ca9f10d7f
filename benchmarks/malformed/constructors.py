"""Arguments of agents, data sets, scorers and wrappers that make no sense."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.malformed.runner import Case

NAN, INF = float("nan"), float("inf")


class Road(gym.Env[Any, Any]):
    """Four numbers, three actions, a cost."""

    observation_space = gym.spaces.Box(-1, 1, (4,), np.float32)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.left = 5
        return np.zeros(4, np.float32), {"cost": 0.0}

    def step(self, action: Any) -> Any:
        self.left -= 1
        return np.zeros(4, np.float32), 1.0, False, self.left == 0, {"cost": 0.0}


@cache
def drives() -> Any:
    from vlsafe_agents.data import EpisodeDataset

    return EpisodeDataset.from_arrays(
        [episode() for _ in range(4)],
        gym.spaces.Dict(vector=Road.observation_space),
        Road.action_space,
    )


def episode(**changes: Any) -> Any:
    """Six steps; ``changes`` replace what ``Episode`` is given."""
    from vlsafe_agents.data import Episode

    given: dict[str, Any] = {
        "obs": {"vector": np.zeros((7, 4), np.float32)},
        "action": np.zeros(6, np.int64),
        "reward": np.ones(6),
        "env_cost": np.zeros(7),
        "safety_score": np.ones(7),
        "terminated": False,
    }
    return Episode(**(given | changes))


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _vlsafe()
    yield from _baselines()
    yield from _learning()
    yield from _others()


def _case(name: str, run: Callable[[], Any], *words: str) -> Case:
    return Case("constructors", name, lambda folder: run(), words)


def _vlsafe() -> Iterator[Case]:
    from vlsafe_agents import VLSafe

    def make(**arguments: Any) -> Any:
        given = {"dataset": drives(), "preset": "debug", "device": "cpu"} | arguments
        return VLSafe("MlpPolicy", Road(), **given)

    wrong: dict[str, tuple[Any, ...]] = {
        "preset": ("huge", None, 5),
        "update": ("ppo", None, 1),
        "safety": ("clip", 1.5, -0.1, NAN, True, [0.5, 0.5]),
        "cost_limit": (-1, NAN, INF, "much", None),
        "dataset": ("nowhere", 5, [], {"vector": 1}),
        "config": (5, "fast", [1], {"speed": 1}, {"train": 5}),
    }
    for name, values in wrong.items():
        for value in values:
            yield _case(
                f"VLSafe({name}={value!r})",
                partial(make, **{name: value}),
                name,
                *("speed", "train"),
                "no data set",
                "nowhere",
            )
    settings = {
        ("train", "batch_size"): (0, -1, 2.5, "x"),
        ("train", "learning_rate"): (-1, NAN, "x"),
        ("world_model", "ensemble"): (-1,),
        ("imagination", "gamma"): (0, 1.5, NAN),
        ("imagination", "horizon"): (0, 1.5),
        ("improvement", "beta"): (-1, INF),
        ("multiplier", "constraint_states"): ("last", 5),
        ("multiplier", "kind"): ("pi", 5),
        ("research", "disagreement_penalty"): (1.0,),
    }
    for (part, name), values in settings.items():
        for value in values:
            config = {part: {name: value}}
            yield _case(
                f"VLSafe(config={config!r})", partial(make, config=config), name, "multiplier"
            )
    for value in (-1, NAN, "x"):
        config = {"world_model": {"scales": {"reward": value}}}
        yield _case(f"VLSafe(config={config!r})", partial(make, config=config), "scales.reward")
    yield _case("VLSafe(env=None)", lambda: VLSafe("MlpPolicy", None), "environment")
    yield _case("VLSafe policy unknown", lambda: VLSafe("RNNPolicy", Road()), "RNNPolicy")


def _baselines() -> Iterator[Case]:
    from vlsafe_agents import BC, PPOLag
    from vlsafe_agents.stock import PPO

    def bc(**arguments: Any) -> Any:
        return BC("MlpPolicy", Road(), drives(), device="cpu", **arguments)

    for name in ("batch_size", "ent_coef", "max_grad_norm", "learning_rate", "validation_share"):
        for value in (-1, NAN, "many"):
            yield _case(f"BC({name}={value!r})", partial(bc, **{name: value}), name)
    for name, value in (("validation_interval", 0), ("patience", 0), ("validation_share", 1.0)):
        yield _case(f"BC({name}={value!r})", partial(bc, **{name: value}), name, "share")
    yield _case("BC(patience=3), nothing held out", partial(bc, patience=3), "validation_share")
    for kind in (PPO, PPOLag):
        for name in (
            "n_steps",
            "batch_size",
            "n_epochs",
            "gamma",
            "gae_lambda",
            "ent_coef",
            "learning_rate",
        ):
            for value in (-1, NAN, "many"):
                run = partial(kind, "MlpPolicy", Road(), device="cpu", **{name: value})
                yield _case(f"{kind.__name__}({name}={value!r})", run, name)
    own = {
        "cost_limit": (-1, NAN),
        "cost_gamma": (2, NAN),
        "cost_vf_coef": (-1,),
        "lagrange": ("pi", 5),
    }
    for name, values in own.items():
        for value in values:
            run = partial(PPOLag, "MlpPolicy", Road(), device="cpu", **{name: value})
            yield _case(f"PPOLag({name}={value!r})", run, name, "multiplier")
    for kwargs in ({"speed": 1}, {"maximum": -1}, {"learning_rate": NAN}):
        run = partial(PPOLag, "MlpPolicy", Road(), device="cpu", lagrange_kwargs=kwargs)
        yield _case(f"PPOLag(lagrange_kwargs={kwargs!r})", run, *kwargs)


def _learning() -> Iterator[Case]:
    from vlsafe_agents import BC, PPOLag, VLSafe

    def learn(kind: Any, value: Any) -> None:
        data = {} if kind is PPOLag else {"dataset": drives()}
        preset = {"preset": "debug"} if kind is VLSafe else {}
        kind("MlpPolicy", Road(), device="cpu", **data, **preset).learn(value)

    for kind in (VLSafe, BC, PPOLag):
        for value in (-1, 2.5, NAN, "10", None, True):
            yield _case(
                f"{kind.__name__}.learn({value!r})", partial(learn, kind, value), "total_timesteps"
            )
    yield _case(
        "VLSafe.learn without data",
        lambda: VLSafe("MlpPolicy", Road(), preset="debug").learn(1, online=False),
        "data set",
    )
    yield _case(
        "VLSafe.learn online without scores",
        lambda: VLSafe("MlpPolicy", Road(), preset="debug").learn(1),
        "safety_score",
    )
    yield _case("BC.learn without data", lambda: BC("MlpPolicy", Road()).learn(1), "data set")


def _others() -> Iterator[Case]:
    from vlsafe_agents.data.collect import CollectConfig
    from wrappers import make_scorer

    for mix in ({}, {"expert": 0.5}, {"expert": 2, "noisy": -1}, {"expert": NAN}, {"expert": "x"}):
        run = partial(CollectConfig, "VLSafe-Highway-v0", mix=mix, episodes=1)
        yield _case(f"CollectConfig(mix={mix!r})", run, "shares", "mix")
    for amounts in ({}, {"steps": 1, "episodes": 1}, {"steps": 0}, {"episodes": -3}):
        run = partial(CollectConfig, "VLSafe-Highway-v0", **amounts)
        yield _case(f"CollectConfig({amounts!r})", run, "steps", "episodes")
    specs = (
        "",
        "nonsense",
        "constant:",
        "constant:x",
        "constant:2",
        "constant:nan",
        "random:seed=x",
    )
    specs += (
        "clip:",
        "clip:/nowhere",
        "shuffled:",
        "blind:",
        "blind:constant:0.5",
        "blind:constant:0.5,share=2",
        "blind:constant:0.5,info=speed",
        "calibrated:",
        "ensemble:",
        "oracle:speed=3",
        "distilled:/nowhere",
    )
    for spec in specs:
        yield _case(
            f"make_scorer({spec!r})",
            partial(make_scorer, spec),
            spec.split(":")[0] or "scorer",
            "nowhere",
        )
