"""Drives with what an agent's signals said in them: driven now, or recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import create_empty_array

from vlsafe_agents.common.vector_episodes import VectorStep, drive_episodes, pick, pick_info
from vlsafe_agents.data import Episode, EpisodeDataset
from vlsafe_agents.evaluation.agents import ROWS, Model, ModelRows, stacked
from vlsafe_agents.evaluation.episode import Sums, name_of
from vlsafe_agents.evaluation.resampling import Array, Floats
from vlsafe_agents.foresight.measure import Drive
from vlsafe_agents.foresight.signals import Moment, Signals
from vlsafe_agents.vlsafe.policies import VLSafePolicy

INTERVAL = 0.5  # [s] between decisions that are looked at; all, where they are rarer
TIME = "time_to_collision"

Progress = Callable[[int], None]  # hears how many drives are done
Sense = Callable[[VectorEnv[Any, Any, Any]], Sequence[Mapping[str, Array]]]  # of every environment


def decisions_apart(seconds: float) -> int:
    """How many decisions of so many seconds lie between two that are looked at."""
    return max(1, round(INTERVAL / seconds))


def seconds_of(metadata: Mapping[str, Any], name: str) -> float:
    """How long a decision lasts [s], as an environment's ``metadata["render_fps"]`` says.

    Raises:
        ValueError: where it does not say.
    """
    frequency = metadata.get("render_fps")
    if isinstance(frequency, bool) or not isinstance(frequency, int | float) or not frequency > 0:
        raise ValueError(
            f"{name} does not say how many decisions it takes in a second: its "
            f"metadata['render_fps'] is {frequency!r}; set it in the environment"
        )
    return 1.0 / float(frequency)


# --- driven now -----------------------------------------------------------------------------------


def drive(
    agent: Model,
    env: VectorEnv[Any, Any, Any],
    seeds: Sequence[int],
    signals: Sequence[Signals],
    every: int,
    progress: Progress = lambda done: None,
    seed: int = 0,
    sense: Sense | None = None,
) -> list[Drive]:
    """One drive for each seed, side by side; the same as those of an evaluation.

    Args:
        agent: an SB3 model; it takes its most likely actions.
        env: at most :data:`~vlsafe_agents.evaluation.agents.ROWS` environments that report
            ``info["cost"]``.
        every: one decision in so many is looked at, the first one of a drive among them.
        seed: of the dreams.
        sense: what a risk model sees in all the environments, each of them a mapping; None: what
            the agent does.

    Returns:
        in the order of the seeds.

    Raises:
        ValueError: for more environments, and for what evaluations refuse.
        KeyError: if the environment reports no cost.
    """
    if env.num_envs > ROWS:
        raise ValueError(f"{env.num_envs} environments side by side; at most {ROWS} are allowed")
    watcher = _Watcher(agent, env, signals, every, sense)
    found: dict[int, Drive] = {}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for of_seed, one in drive_episodes(env, iter(seeds), int, watcher.act, watcher):
            found[of_seed] = one
            progress(len(found))
    return [found[of_seed] for of_seed in seeds]


class _Overheard:
    """A model whose recurrent state is kept, to be asked about it."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.state: tuple[Array, ...] | None = None

    def predict(self, *args: Any, **kwargs: Any) -> tuple[Array, tuple[Array, ...] | None]:
        actions, self.state = self._model.predict(*args, **kwargs)
        return actions, self.state


class _Watcher:
    """Drives all environments and asks the signals."""

    def __init__(
        self,
        agent: Model,
        env: VectorEnv[Any, Any, Any],
        signals: Sequence[Signals],
        every: int,
        sense: Sense | None,
    ) -> None:
        self._env, self._signals, self._every, self._sense = env, signals, every, sense
        self._model = _Overheard(agent)
        self._has_state = isinstance(getattr(agent, "policy", None), VLSafePolicy)
        self._rows = ModelRows(self._model)
        self._infos: dict[int, dict[str, Any]] = {}
        self._sums: dict[int, Sums] = {}
        self._said: dict[int, list[tuple[int, dict[str, float]]]] = {}
        self._ended: dict[int, bool] = {}

    def begin(self, tasks: Mapping[int, int], observations: Any, infos: dict[str, Any]) -> None:
        for slot, seed in tasks.items():
            self._rows.begin(slot)
            self._infos[slot] = pick_info(infos, slot)
            self._sums[slot] = Sums(name_of(self._env), seed, self._infos[slot])
            self._said[slot] = []

    def act(self, observations: Any, slots: list[int]) -> Any:
        seen = {slot: pick(observations, slot) for slot in slots}
        space = self._env.single_action_space
        for slot, observation in seen.items():
            self._sums[slot].check_observation(observation)
        actions: Any = create_empty_array(space, self._env.num_envs, np.zeros)
        for slot, action in self._rows.act(seen).items():
            self._sums[slot].check_action(action, space)
            actions[slot] = action
        asked = [slot for slot in slots if self._sums[slot].steps % self._every == 0]
        if asked:
            state = self._model.state if self._has_state else None
            state = None if state is None else tuple(part[asked] for part in state)
            infos = [self._infos[slot] for slot in asked]
            moment = Moment(state, infos, actions[asked], self._sensed(observations, asked))
            for slot, values in zip(asked, _ask(self._signals, moment), strict=True):
                self._said[slot].append((self._sums[slot].steps, values))
        return actions

    def _sensed(self, observations: Any, slots: list[int]) -> Mapping[str, Array] | None:
        if self._sense is not None:
            every = self._sense(self._env)
            return stacked([every[slot] for slot in slots])
        return _rows_of(observations, slots) if isinstance(observations, Mapping) else None

    def add(self, step: VectorStep, slots: Sequence[int]) -> None:
        for slot in slots:
            self._infos[slot] = pick_info(step.infos, slot)
            self._sums[slot].add(float(step.rewards[slot]), self._infos[slot])
            self._ended[slot] = bool(step.terminated[slot])

    def end(self, slot: int) -> tuple[int, Drive]:
        info, sums = self._infos[slot], self._sums[slot]
        cost = info["cost"] if info.get("env_cost") is None else info["env_cost"]
        ended = self._ended[slot]
        return sums.seed, _drive_of(self._said[slot], sums.steps, ended, float(cost))


def _ask(signals: Sequence[Signals], moment: Moment) -> list[dict[str, float]]:
    """All values of each drive of a moment."""
    columns: dict[str, Floats] = {}
    for one in signals:
        columns |= one.values(moment)
    return [
        {name: float(column[row]) for name, column in columns.items()}
        for row in range(len(moment.infos))
    ]


def _drive_of(
    said: Sequence[tuple[int, Mapping[str, float]]], decisions: int, ended: bool, cost: float
) -> Drive:
    names = said[0][1]
    signals = {name: np.array([values[name] for _, values in said]) for name in names}
    step = np.array([step for step, _ in said], np.int64)
    return Drive(step, decisions, ended, ended and cost > 0, signals)


def _rows_of(observations: Any, rows: list[int]) -> Any:
    if isinstance(observations, Mapping):
        return {name: _rows_of(part, rows) for name, part in observations.items()}
    return observations[rows]


# --- recorded -------------------------------------------------------------------------------------


def replay(
    agent: Any,
    dataset: EpisodeDataset,
    signals: Sequence[Signals],
    every: int,
    most: int | None = None,
    progress: Progress = lambda done: None,
    seed: int = 0,
    sensed: EpisodeDataset | None = None,
) -> list[Drive]:
    """Recorded drives, as the agent would have judged them; others chose the actions.

    Branches of recorded drives are left out.

    Args:
        agent: a VLSafe agent follows the drives with its world model; of others only signals that
            need no state can be asked.
        dataset: with what the agent sees, and costs by simulator truth.
        every: one decision in so many is looked at, the first one of a drive among them.
        most: drives, the first ones; None: all.
        sensed: the same drives with what a risk model sees; None: what the agent does.

    Raises:
        ValueError: for data without costs.
    """
    drives = islice(_recorded(agent, dataset, sensed or dataset), most)
    found: list[Drive] = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        while group := list(islice(drives, ROWS)):
            found += _replay_together(agent, group, signals, every)
            progress(len(found))
    return found


def _recorded(agent: Any, dataset: EpisodeDataset, sensed: EpisodeDataset) -> Iterator[_Recorded]:
    """The drives that are no branches, each read when it is its turn."""
    try:
        times = dataset.infos([TIME])[TIME]  # (R',), one episode after another
    except ValueError:  # not recorded: one signal fewer
        times = None
    begin = 0
    for index in range(dataset.num_episodes):
        episode = dataset.episode(index)
        rows = slice(begin, begin + episode.num_steps + 1)
        begin = rows.stop
        if episode.branch is None:
            seen = sensed.episode(index).obs
            yield _Recorded(agent, episode, None if times is None else times[rows], seen)


class _Recorded:
    """One recorded drive of T decisions."""

    def __init__(
        self, agent: Any, episode: Episode, times: Array | None, sensed: Mapping[str, Array]
    ) -> None:
        self.decisions, self.ended = episode.num_steps, bool(episode.terminated)
        self._bare = not isinstance(agent.observation_space, spaces.Dict)
        self._obs, self.action, self._times = episode.obs, episode.action, times
        self.sensed = sensed  # each (T + 1, ...)
        if episode.env_cost is None:
            raise ValueError(
                "the data set has no costs by simulator truth, by which a crash is known; record "
                "it again with info['cost'], or leave out --data"
            )
        self.cost = float(episode.env_cost[-1])

    def observation(self, step: int) -> Any:
        """What was seen, as the agent's environment shows it; at the end what was seen last."""
        shown = {name: array[min(step, self.decisions)] for name, array in self._obs.items()}
        return next(iter(shown.values())) if self._bare else shown

    def info(self, step: int) -> dict[str, Any]:
        """What came with it, as far as signals read it."""
        return {} if self._times is None else {TIME: self._times[step]}


def _replay_together(
    agent: Any, group: Sequence[_Recorded], signals: Sequence[Signals], every: int
) -> list[Drive]:
    said: list[list[tuple[int, dict[str, float]]]] = [[] for _ in group]
    for step, state in _follow(agent, group):
        if step % every:
            continue
        asked = [row for row, drive in enumerate(group) if step < drive.decisions]
        state = None if state is None else tuple(part[asked] for part in state)
        infos = [group[row].info(step) for row in asked]
        moment = Moment(
            state,
            infos,
            np.stack([group[row].action[step] for row in asked]),
            stacked([{k: x[step] for k, x in group[row].sensed.items()} for row in asked]),
        )
        for row, values in zip(asked, _ask(signals, moment), strict=True):
            said[row].append((step, values))
    return [
        _drive_of(values, drive.decisions, drive.ended, drive.cost)
        for values, drive in zip(said, group, strict=True)
    ]


def _follow(
    agent: Any, group: Sequence[_Recorded]
) -> Iterator[tuple[int, tuple[Array, ...] | None]]:
    """Steps, and states after the recorded decisions."""
    policy = agent.policy if isinstance(getattr(agent, "policy", None), VLSafePolicy) else None
    state: tuple[Array, ...] | None = None
    for step in range(max(drive.decisions for drive in group)):
        if policy is not None:
            observation = stacked([drive.observation(step) for drive in group])
            _, state = policy.predict(observation, state, deterministic=True)
            assert state is not None
            taken = np.stack([drive.action[min(step, drive.decisions - 1)] for drive in group])
            vectors = policy.world_model.action_vector(torch.as_tensor(taken))  # (N, A)
            state = (*state[:-1], vectors.cpu().numpy())
        yield step, state
