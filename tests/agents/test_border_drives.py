"""Recorded drives that cannot be right are refused where they enter, with place and remedy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from toy_envs import CountingEnv

from vlsafe_agents.bc import BC
from vlsafe_agents.common.border import actions_of
from vlsafe_agents.data import Episode, EpisodeDataset, training_cost
from vlsafe_agents.ppo_lag import PPOLag
from vlsafe_agents.stock import PPO
from vlsafe_agents.vlsafe import VLSafe

BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)
SPACE = spaces.Dict({"vector": BOX})
STEPS = 3
ERRORS = (ValueError, TypeError)


def parts(**changes: Any) -> dict[str, Any]:
    """Arguments of a right episode of three steps, some of them changed."""
    good = {
        "obs": {"vector": np.zeros((STEPS + 1, 2), np.float32)},
        "action": np.array([0, 1, 2]),
        "reward": np.ones(STEPS),
        "env_cost": np.zeros(STEPS + 1),
        "safety_score": np.ones(STEPS + 1),
        "terminated": False,
    }
    return {**good, **changes}


def with_entry(values: Any, entry: Any, value: Any) -> Any:
    """A copy of an array with another value at an entry."""
    changed = np.array(values, np.float64)
    changed[entry] = value
    return changed


IMPOSSIBLE_EPISODES: dict[str, tuple[dict[str, Any], str]] = {
    "no step": ({"action": np.zeros(0, int)}, "at least one step"),
    "action text": ({"action": ["left", "left", "right"]}, "action is an array of <U"),
    "action object": ({"action": np.array([0, None, 1])}, "action is an array of object"),
    "action none": ({"action": None}, "action is NoneType"),
    "action number": ({"action": 3}, "action is int"),
    "action ragged": ({"action": [[0], [1, 2], [3]]}, "action is no array of numbers"),
    "action nan": ({"action": np.array([0.0, np.nan, 1.0])}, "action holds nan at entry 1"),
    "action inf": ({"action": np.array([[0.0], [np.inf], [1.0]])}, r"inf at entry \(1, 0\)"),
    "obs empty": ({"obs": {}}, "obs is empty"),
    "obs bare": ({"obs": np.zeros((4, 2))}, "obs is ndarray; expected a dict"),
    "obs none": ({"obs": None}, "obs is NoneType; expected a dict"),
    "obs name": ({"obs": {3: np.zeros((4, 2))}}, "obs has the name 3"),
    "obs text": ({"obs": {"vector": ["a"] * 4}}, "'vector'.* is an array of <U1"),
    "obs nan": ({"obs": {"vector": with_entry(np.zeros((4, 2)), (2, 1), np.nan)}}, r"\(2, 1\)"),
    "obs inf": ({"obs": {"vector": with_entry(np.zeros((4, 2)), (0, 0), -np.inf)}}, "-inf"),
    "obs short": ({"obs": {"vector": np.zeros((3, 2))}}, "3 entries, expected 4"),
    "obs long": ({"obs": {"vector": np.zeros((5, 2))}}, "5 entries, expected 4"),
    "obs scalar": ({"obs": {"vector": 0.5}}, "'vector'.* is float"),
    "reward nan": ({"reward": with_entry(np.ones(3), 1, np.nan)}, "reward holds nan at entry 1"),
    "reward inf": ({"reward": with_entry(np.ones(3), 2, np.inf)}, "reward holds inf at entry 2"),
    "reward float64": ({"reward": with_entry(np.ones(3), 0, 1e39)}, "that float32 can hold"),
    "reward minus float64": ({"reward": with_entry(np.ones(3), 0, -1e39)}, "float32 can hold"),
    "reward text": ({"reward": ["1", "2", "3"]}, "reward is an array of <U1"),
    "reward complex": ({"reward": np.ones(3, complex)}, "reward is an array of complex128"),
    "reward date": ({"reward": np.zeros(3, "datetime64[s]")}, "reward is an array of datetime64"),
    "reward long": ({"reward": np.ones(4)}, "4 entries, expected 3: one for each action"),
    "reward short": ({"reward": np.ones(2)}, "2 entries, expected 3"),
    "reward column": ({"reward": np.ones((3, 1))}, r"shape \(3, 1\).*reshape"),
    "reward none": ({"reward": None}, "reward is NoneType"),
    "cost negative": ({"env_cost": with_entry(np.zeros(4), 3, -0.1)}, "at least 0"),
    "cost nan": ({"env_cost": with_entry(np.zeros(4), 3, np.nan)}, "env_cost holds nan at entry 3"),
    "cost inf": ({"env_cost": with_entry(np.zeros(4), 0, np.inf)}, "env_cost holds inf"),
    "cost float64": ({"env_cost": with_entry(np.zeros(4), 0, 1e300)}, "float32 can hold"),
    "cost without the reset": ({"env_cost": np.zeros(3)}, "one more than the 3 actions"),
    "cost of parts": ({"env_cost": np.zeros((4, 2))}, r"env_cost has shape \(4, 2\)"),
    "cost text": ({"env_cost": ["none"] * 4}, "env_cost is an array of <U4"),
    "score above 1": ({"safety_score": np.full(4, 1.01)}, r"1.01 at entry 0.*\[0, 1\]"),
    "score below 0": ({"safety_score": np.full(4, -0.01)}, r"-0.01.*\[0, 1\]"),
    "score nan": ({"safety_score": np.full(4, np.nan)}, "safety_score holds nan"),
    "score short": ({"safety_score": np.ones(3)}, "3 entries, expected 4"),
    "terminated text": ({"terminated": "False"}, "'False'; expected True or False"),
    "terminated nan": ({"terminated": np.nan}, "nan; expected True or False"),
    "terminated none": ({"terminated": None}, "None; expected True or False"),
    "terminated two": ({"terminated": 2}, "2; expected True or False"),
    "terminated per step": ({"terminated": np.zeros(3, bool)}, "expected True or False"),
    "seed text": ({"seed": "1"}, "seed is '1'; expected a whole number"),
    "seed fraction": ({"seed": 1.5}, "seed is 1.5"),
    "infos short": ({"infos": {"speed": np.zeros(3)}}, "'speed'.* has 3 entries, expected 4"),
    "infos text": ({"infos": {"speed": "fast"}}, "'speed'.* is str"),
    "infos list": ({"infos": [1, 2, 3, 4]}, "infos is list; expected a dict"),
    "infos twice": ({"infos": {"env_cost": np.zeros(4)}}, "'env_cost'.*of their own"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE_EPISODES)
def test_impossible_episodes_are_refused_with_column_and_entry(case: str) -> None:
    changes, said = IMPOSSIBLE_EPISODES[case]
    with pytest.raises(ERRORS, match=said):
        Episode(**parts(**changes))


def test_lists_and_whole_numbers_of_other_types_become_arrays() -> None:
    episode = Episode(
        obs={"vector": [[0.0, 0.0]] * 4},  # type: ignore[dict-item]
        action=[0, 1, 2],  # type: ignore[arg-type]
        reward=[1, 2, 3],  # type: ignore[arg-type]
        env_cost=(0, 0, 0, 1),  # type: ignore[arg-type]
        terminated=np.bool_(True),  # type: ignore[arg-type]
        seed=np.int64(7),  # type: ignore[arg-type]
    )
    assert episode.unsafe_steps == 1
    assert episode.terminated is True
    assert type(episode.seed) is int


BOX_ACTIONS = spaces.Box(-1.0, 1.0, (2,), np.float32)
IMPOSSIBLE_ACTIONS: dict[str, tuple[Any, spaces.Space[Any], str]] = {
    "fraction": ([0.0, 1.7, 2.0], spaces.Discrete(3), r"1\.7 at entry 1.*whole numbers"),
    "too high": ([0, 1, 3], spaces.Discrete(3), r"3 at entry 2, outside Discrete\(3\)"),
    "negative": ([0, -1, 2], spaces.Discrete(3), "-1 at entry 1, outside"),
    "below start": ([1, 0, 2], spaces.Discrete(3, start=1), "0 at entry 1, outside"),
    "above start": ([1, 2, 4], spaces.Discrete(3, start=1), "4 at entry 2, outside"),
    "unsigned": (np.array([0, 2**63, 1], np.uint64), spaces.Discrete(3), "outside"),
    "column": ([[0], [1], [2]], spaces.Discrete(3), r"take action\.reshape\(-1\)"),
    "one-hot": (np.eye(3), spaces.Discrete(3), r"take action\.argmax\(-1\)$"),
    "one-hot from 1": (np.eye(3), spaces.Discrete(3, start=1), r"action\.argmax\(-1\) \+ 1"),
    "flat": ([0.0, 0.1, 0.2], spaces.Box(-1, 1, (1,), np.float32), r"reshape\(-1, 1\)"),
    "too many": (np.zeros((3, 3)), BOX_ACTIONS, r"shape \(3, 3\), expected \(3, 2\)"),
    "too far": ([[0, 0], [0, 1.01], [0, 0]], BOX_ACTIONS, r"1\.01 at entry \(1, 1\), outside Box"),
    "too low": ([[-2, 0], [0, 0], [0, 0]], BOX_ACTIONS, r"-2 at entry \(0, 0\), outside Box"),
    "nan": ([[0, 0], [0, np.nan], [0, 0]], BOX_ACTIONS, "nan"),
    "float64": (
        np.full((3, 1), 1e39),
        spaces.Box(-np.inf, np.inf, (1,), np.float32),
        "float32 can hold",
    ),
    "not binary": ([[0, 2]] * 3, spaces.MultiBinary(2), "holds 2 at entry"),
    "several": (
        [0, 1, 0],
        spaces.Tuple([spaces.Discrete(2)] * 2),
        "must be Discrete, MultiDiscrete, MultiBinary or Box",
    ),
}


@pytest.mark.parametrize("case", IMPOSSIBLE_ACTIONS)
def test_actions_outside_their_space_are_refused(case: str) -> None:
    actions, space, said = IMPOSSIBLE_ACTIONS[case]
    with pytest.raises(ValueError, match=said) as caught:
        actions_of(np.asarray(actions), space, 3, "episode 4")
    assert case == "several" or str(caught.value).startswith("episode 4: action ")


@pytest.mark.parametrize(
    ("actions", "space"),
    [
        ([0.0, 1.0, 2.0], spaces.Discrete(3)),  # nothing is lost
        (np.array([0, 1, 2], np.uint8), spaces.Discrete(3)),
        (np.array([False, True, True]), spaces.Discrete(2)),
        ([-1, 0, 1], spaces.Discrete(3, start=-1)),
        ([[1.0000001, -1.0]] * 3, BOX_ACTIONS),  # rounded
        (np.zeros((3, 2), np.float64), BOX_ACTIONS),
    ],
)
def test_actions_of_the_space_are_kept_in_its_own_numbers(
    actions: Any, space: spaces.Space[Any]
) -> None:
    kept = actions_of(np.asarray(actions), space, 3)
    assert kept.dtype == (np.int64 if isinstance(space, spaces.Discrete) else np.float32)
    np.testing.assert_allclose(kept, np.asarray(actions, np.float64), atol=1e-6)


def data(cost: Any = "env", count: int = 2, **changes: Any) -> EpisodeDataset:
    episodes = [Episode(**parts()) for _ in range(count - 1)] + [Episode(**parts(**changes))]
    return EpisodeDataset.from_arrays(episodes, SPACE, spaces.Discrete(3), cost)


def vectors(dtype: Any, width: int = 2) -> dict[str, Any]:
    return {"vector": np.zeros((STEPS + 1, width), dtype)}


def from_arrays(*given: Any, cost: Any = "env") -> Callable[[], Any]:
    return lambda: EpisodeDataset.from_arrays(*given, cost=cost)


EPISODE = Episode(**parts())
OTHER = Episode(**parts(obs={"other": np.zeros((4, 2), np.float32)}))
UNSCORED = Episode(**parts(safety_score=None))
SPACES = (SPACE, spaces.Discrete(3))
TOO_LARGE = np.full((4, 2), 1e200)
IMPOSSIBLE_DATA: dict[str, tuple[Callable[[], Any], str]] = {
    "no episode": (from_arrays([], *SPACES), "no episodes were given"),
    "a path": (from_arrays("my/data", *SPACES), "path 'my/data'; open it with from_minari"),
    "one episode": (from_arrays(EPISODE, *SPACES), "one Episode; give a list"),
    "a dict": (from_arrays({"a": EPISODE}, *SPACES), "episode 0 is a str"),
    "none": (from_arrays(None, *SPACES), "one NoneType"),
    "mixed": (from_arrays([EPISODE, 3], *SPACES), "episode 1 is a int"),
    "cost in capitals": (from_arrays([EPISODE], *SPACES, cost="VLM"), "unknown cost mode 'VLM'"),
    "cost 0": (from_arrays([EPISODE], *SPACES, cost=0), "unknown cost mode 0"),
    "cost none": (from_arrays([EPISODE], *SPACES, cost=None), "unknown cost mode None"),
    "cost list": (from_arrays([EPISODE], *SPACES, cost=["env"]), r"unknown cost mode \['env'\]"),
    "no score": (from_arrays([UNSCORED], *SPACES, cost="vlm"), "vlsafe label"),
    "no space": (from_arrays([EPISODE], None, spaces.Discrete(3)), "observation_space is None, no"),
    "no action space": (from_arrays([EPISODE], SPACE, "Discrete"), "MultiBinary or Box"),
    "two kinds": (from_arrays([EPISODE, OTHER], *SPACES), "episode 1 has observations"),
    "other name": (from_arrays([OTHER], *SPACES), "but no 'vector'"),
    "action": (lambda: data(action=[0, 1, 3]), "episode 1: action holds 3 at entry 2"),
    "float64": (lambda: data(count=1, obs=vectors(np.float64)), r"astype\(np.float32\)"),
    "one float64": (lambda: data(obs=vectors(np.float64)), "episode 1: .*make them alike"),
    "wide": (lambda: data(count=1, obs=vectors(np.float32, 3)), "the environment that was"),
    "one wide": (lambda: data(obs=vectors(np.float32, 3)), "episode 1: .*make them alike"),
    "too large": (
        from_arrays(
            [Episode(**parts(obs={"vector": TOO_LARGE}))],
            spaces.Dict({"vector": spaces.Box(-np.inf, np.inf, (2,), np.float64)}),
            spaces.Discrete(3),
        ),
        r"episode 0: observation 'vector' holds 1e\+200 at entry \(0, 0\).*float32",
    ),
    "bare and two": (
        from_arrays(
            [Episode(**parts(obs={"a": np.zeros((4, 2)), "b": np.zeros((4, 2))}))],
            BOX,
            spaces.Discrete(3),
        ),
        r"cannot hold the observations \['a', 'b'\]",
    ),
}


@pytest.mark.parametrize("case", IMPOSSIBLE_DATA)
def test_impossible_data_sets_are_refused(case: str) -> None:
    make, said = IMPOSSIBLE_DATA[case]
    with pytest.raises(ERRORS, match=said):
        make()


RNG = np.random.default_rng(0)
IMPOSSIBLE_CALLS: dict[str, tuple[Callable[[EpisodeDataset], Any], str]] = {
    "batch 0": (lambda d: d.sample(0, 2, RNG), "batch_size is 0; expected a whole number"),
    "batch negative": (lambda d: d.sample(-1, 2, RNG), "batch_size is -1"),
    "batch fraction": (lambda d: d.sample(2.5, 2, RNG), r"batch_size is 2\.5"),  # type: ignore[arg-type]
    "batch true": (lambda d: d.sample(True, 2, RNG), "batch_size is True"),
    "length 0": (lambda d: d.sample(1, 0, RNG), "length is 0"),
    "length text": (lambda d: d.sample(1, "2", RNG), "length is '2'"),  # type: ignore[arg-type]
    "length 99": (lambda d: d.sample(1, 99, RNG), "sequences of 99 rows.*collect more"),
    "rng seed": (lambda d: d.sample(1, 2, 0), "rng is 0; give a np.random"),  # type: ignore[arg-type]
    "rng none": (lambda d: d.sample(1, 2, None), "rng is None"),  # type: ignore[arg-type]
    "share 2": (lambda d: d.sample(1, 2, RNG, 2.0), "unsafe_ends is 2"),
    "share nan": (lambda d: d.sample(1, 2, RNG, np.nan), "unsafe_ends is nan"),
    "share text": (lambda d: d.sample(1, 2, RNG, "all"), "unsafe_ends is 'all'"),  # type: ignore[arg-type]
    "steps 0": (lambda d: d.sample_transitions(0, RNG), "batch_size is 0"),
    "steps rng": (lambda d: d.sample_transitions(1, 7), "rng is 7"),  # type: ignore[arg-type]
    "split negative": (lambda d: d.split(-0.5), r"share is -0\.5; expected a number in \[0, 1\]"),
    "split nan": (lambda d: d.split(np.nan), "share is nan"),
    "split text": (lambda d: d.split("half"), "share is 'half'"),  # type: ignore[arg-type]
    "split 1": (lambda d: d.split(1.0), "leaves one side empty"),
    "split 0": (lambda d: d.split(0), "leaves one side empty"),
    "split seed": (lambda d: d.split(0.5, seed=-1), "seed is -1"),
    "select none": (lambda d: d.select(None), "observation_space is None, no"),  # type: ignore[arg-type]
    "select other": (lambda d: d.select(spaces.Box(0, 1, (7,))), "the data hold only"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE_CALLS)
def test_impossible_requests_name_argument_and_value(case: str) -> None:
    call, said = IMPOSSIBLE_CALLS[case]
    with pytest.raises(ERRORS, match=said):
        call(data())


@pytest.mark.parametrize("index", [2, -3])
def test_an_episode_that_is_not_there_is_named(index: int) -> None:
    for ask in (data().episode, data().episode_batch, data().episodes.__getitem__):
        with pytest.raises(IndexError, match=f"no episode {index} in a data set of 2"):
            ask(index)


def test_observations_beyond_their_bounds_are_told_once_and_kept() -> None:
    obs = np.zeros((4, 2), np.float32)
    obs[2, 1] = 2.5
    said = (
        r"'vector' leaves the bounds .* in 1 of 8 rows, first in episode 1 at entry \(2, 1\): 2.5"
    )
    with pytest.warns(UserWarning, match=said) as seen:
        kept = data(obs={"vector": obs})
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # views do not say it again
        left, right = kept.split(0.5)
        kept.select(SPACE)
    assert max(part.episodes[0].obs["vector"].max() for part in (left, right)) == 2.5


class FakeMinari:
    """What ``minari.load_dataset`` returns, as far as a message needs it."""

    class spec:
        dataset_id = "D4RL/door/human-v2"


FakeMinari.__module__ = "minari.dataset.minari_dataset"
NO_DATA_SETS: dict[str, tuple[Any, str]] = {
    "text": ("my/data", r"the path 'my/data'.*dataset=EpisodeDataset\.from_minari\('my/data'\)"),
    "path": (Path("my/data"), r"the path 'my/data'.*from_minari\('my/data'\)"),
    "minari": (FakeMinari(), r"FakeMinari.*from_minari\('D4RL/door/human-v2'\)"),
    "list": ([EPISODE], r"a list.*from_arrays\(episodes"),
    "episode": (EPISODE, r"a Episode.*from_arrays\(episodes"),
    "number": (3, "a int"),
}


@pytest.mark.parametrize("case", NO_DATA_SETS)
def test_what_is_no_data_set_is_refused_with_what_to_write(case: str) -> None:
    given, said = NO_DATA_SETS[case]
    with pytest.raises(TypeError, match=said):
        BC("MlpPolicy", None, given)
    model = BC("MlpPolicy", None, data())
    with pytest.raises(TypeError, match=said):
        model.set_dataset(given)


def test_a_world_model_refuses_what_is_no_data_set_too() -> None:
    with pytest.raises(TypeError, match="from_minari"):
        VLSafe("MlpPolicy", CountingEnv(), "my/data", preset="debug")  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [-0.1, 1.5, np.nan, "half"])
def test_an_impossible_validation_share_is_named(share: Any) -> None:
    with pytest.raises(ValueError, match="validation_share"):
        BC("MlpPolicy", None, data(), validation_share=share)


@pytest.mark.parametrize("threshold", [0.0, -1.0, 2.0, np.nan, "low"])
def test_an_impossible_threshold_is_named(threshold: Any) -> None:
    with pytest.raises(ValueError, match="threshold"):
        training_cost("vlm", np.zeros(2), np.zeros(2), np.zeros(2, bool), threshold)


@pytest.mark.parametrize("start", [-1, 0, 1, 5])
def test_actions_are_the_spaces_own_numbers_from_data_to_prediction(start: int) -> None:
    """The expert turns by the sign of the first feature: first or last action of the space."""
    rng = np.random.default_rng(0)
    space = spaces.Discrete(3, start=start)
    episodes = []
    for _ in range(8):
        obs = rng.uniform(-1, 1, (21, 2)).astype(np.float32)
        action = np.where(obs[:-1, 0] > 0, start + 2, start)
        episodes.append(
            Episode({"vector": obs}, action, np.zeros(20), np.zeros(21), False, np.ones(21))
        )
    drives = EpisodeDataset.from_arrays(episodes, SPACE, space)
    batch = drives.sample(64, 4, np.random.default_rng(0))
    assert {int(a) for a in batch.action.reshape(-1)} <= {start, start + 1, start + 2}
    np.testing.assert_array_equal(drives.episodes[3].action, episodes[3].action)
    seen = np.array([[0.9, 0.0], [-0.9, 0.0]], np.float32)
    clone = BC("MultiInputPolicy", None, drives, seed=0, device="cpu").learn(150)
    actions = clone.predict({"vector": seen}, deterministic=True)[0]
    assert actions.tolist() == [start + 2, start]
    env = CountingEnv()
    env.observation_space, env.action_space = SPACE, space
    model = VLSafe("MultiInputPolicy", env, drives, preset="debug", seed=0).learn(6)
    action, _ = model.predict({"vector": seen[0]})
    assert space.contains(action)


@pytest.mark.parametrize("kind", ["VLSafe", "BC", "PPOLag", "PPO"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_no_agent_acts_on_what_is_not_finite(kind: str, wrong: float) -> None:
    env, policy = CountingEnv(), "MlpPolicy"
    models: dict[str, Callable[[], Any]] = {
        "VLSafe": lambda: VLSafe(policy, env, preset="debug"),
        "BC": lambda: BC(policy, env),
        "PPOLag": lambda: PPOLag(policy, env, n_steps=8, batch_size=8),
        "PPO": lambda: PPO(policy, env, n_steps=8, batch_size=8),
    }
    model = models[kind]()
    for seen, entry in ((np.zeros(3), "1"), (np.zeros((2, 3)), r"\(1, 1\)")):
        seen = seen.astype(np.float32)
        model.predict(seen)
        seen[(-1, 1) if seen.ndim == 2 else 1] = wrong
        with pytest.raises(ValueError, match=f"predict: the observation holds .* at entry {entry}"):
            model.predict(seen)
