"""The chance of a cost event after an action, learnt from outcomes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor

from vlsafe_agents.common.agent_file import (
    AgentPath,
    read_agent,
    space_from_json,
    space_to_json,
    write_agent,
)
from vlsafe_agents.common.border import Array, check_seen
from vlsafe_agents.common.fitting import fit
from vlsafe_agents.common.typed_config import Count, Share, check_config, replaced
from vlsafe_agents.common.vehicle_rows import VEHICLES, WAYS, row_parts
from vlsafe_agents.detection.detector import Detector
from vlsafe_agents.risk.network import RiskNet, event_loss, scaled
from vlsafe_agents.risk.outcomes import Outcomes
from vlsafe_agents.risk.shared import MODEL_FILE, SharedRisk
from vlsafe_agents.vlsafe.actions import action_kind
from wrappers.checks import one_number

_KIND = "risk_model"  # what its files say that they are
BEGINNINGS = "beginnings"  # in an observation, (N, T, *action shape): how the tails begin
_TOLD = "told"
_DETECTOR = "detector"  # their part of what looks at pictures


@dataclass(frozen=True)
class RiskConfig:
    """Settings of a risk model.

    Args:
        horizon: an event within so many seconds counts [s]; not beyond the outcomes' own.
        units: of each hidden layer.
        layers: hidden layers.
        updates: gradient updates.
        batch_size: branches an update.
        learning_rate: of AdamW, falling to a twentieth along a cosine.
        weight_decay: of AdamW.
        threshold: of shields made of it, unless they are given another: the risk from which on an
            action is not taken.

    Raises:
        ValueError: for numbers out of range.
    """

    horizon: float = 6.0
    units: Count = 64
    layers: Count = 2
    updates: Count = 5000
    batch_size: Count = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    threshold: Share = 0.05

    def __post_init__(self) -> None:
        check_config(self)
        one_number(self.horizon, "horizon", "config", low=0.1)


class Estimate(NamedTuple):
    """What a risk model says of N states, A actions and each of its T tails."""

    risk: npt.NDArray[np.float32]  # (N, A, T) chance of an event within the horizon, or danger
    reward: npt.NDArray[np.float32]  # (N, A, T) sum of rewards within the horizon


class Seen(NamedTuple):
    """What N observations tell a risk model."""

    features: Tensor  # (N, D) vectors, in their own units
    rows: Tensor | None  # (N, M, F) vehicles; None without a set of them
    begun: Array | None = None  # (N, T, *action shape) how the tails begin; None: not told


class RiskModel(SharedRisk):
    """Chances of a cost event if an action is held for a moment and a macro-action drives on.

    An *event* is a terminal step with a cost: a collision, leaving the road.  It is learnt from
    :class:`Outcomes`, by cross-entropy: outcomes of the same state differ where it does not show
    what others are up to.  From outcomes by a judge's word (:attr:`judge`) the expected *danger* is
    learnt instead, 1 - p of the worst frame within the horizon, which is no chance of a crash.

    Args:
        observation_space: a ``Dict`` of vectors, a set of vehicles (``vehicle_rows``), or both;
            ``"ways"`` ``(M, W)`` may say more of each row of the set.
        action_space: Discrete, MultiDiscrete, MultiBinary or Box.
        tails: names of the macro-actions.
        config: settings.
        seed: of the first weights and of the batches.
        detector: finds what is in ``observation_space`` in pictures; the model then looks at
            pictures only, and learns from what is found in them. None: it is shown all that.
        told: whether observations say how the tails begin, under ``"beginnings"``, ``(N, T,
            *action_space.shape)``; else that is learnt, as a function of the observation.

    Raises:
        ValueError: for other observations and actions, and a detector of others.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        tails: Sequence[str],
        config: RiskConfig | None = None,
        seed: int = 0,
        detector: Detector | None = None,
        told: bool = False,
    ) -> None:
        self._known, self.action_space = _checked(observation_space), action_space
        if detector is not None and detector.shown != self._known:
            raise ValueError(f"the detector finds {detector.shown}, not {self._known}")
        self.detector = detector
        self.observation_space = self._known if detector is None else detector.observation_space
        self.tails, self.seed, self.told = tuple(tails), seed, told
        self.config = RiskConfig() if config is None else config
        self.facts: dict[str, Any] = {}  # what the outcomes cost, see :meth:`fit`
        self._begun = False  # with another's weights
        self.judge = ""  # from whose word it has learnt (``Outcomes.judge``); "": the simulator's
        parts = self._known.spaces
        self._sets = row_parts(parts)
        self._vectors = sorted(parts.keys() - set(self._sets))
        self._kind = action_kind(action_space)
        shapes = [parts[name].shape or () for name in self._vectors]
        columns = sum((parts[name].shape or (0, 0))[1] for name in self._sets)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = RiskNet(
                features=sum(math.prod(shape) for shape in shapes),
                columns=columns,
                choices=self._kind.size + len(self.tails),
                beginnings=self._kind.size * len(self.tails),
                units=self.config.units,
                layers=self.config.layers,
            )

    # --- learning ---------------------------------------------------------------------------------

    def begin_with(self, other: RiskModel) -> Self:
        """Take over another's weights, and what its numbers are measured by; :meth:`fit` goes on.

        For a road whose outcomes are dear, from one where they are cheap.

        Raises:
            ValueError: for a model of other observations, actions, tails or layers.
        """
        mine, theirs = (
            (m._known, m.action_space, m.tails, m.config.units, m.config.layers)
            for m in (self, other)
        )
        if mine != theirs:
            raise ValueError(f"a model of {theirs} cannot be the beginning of one of {mine}")
        self.net.load_state_dict(other.net.state_dict())
        self._begun = True
        return self

    def fit(
        self,
        outcomes: Outcomes,
        progress: Callable[[int, float], None] = lambda done, loss: None,
        beside: Outcomes | None = None,
    ) -> Self:
        """Learn from outcomes, from the first weights on, or from those of :meth:`begin_with`.

        Args:
            progress: hears of every update and its loss.
            beside: of another road, where outcomes are cheaper: half of every batch.

        Raises:
            ValueError: for other tails, and where nothing is known of ``config.horizon``.
        """
        if outcomes.tails != self.tails:
            raise ValueError(f"the outcomes' tails are {outcomes.tails}, the model's {self.tails}")
        config, own = self.config, len(outcomes)
        every = outcomes if beside is None else Outcomes.joined([outcomes, beside])
        targets = every.targets(config.horizon)
        known = np.flatnonzero(~np.isnan(targets))
        parts = [known[known < own], known[known >= own]][: 1 if beside is None else 2]
        if not all(len(part) for part in parts):
            within = f"no outcome says what comes within {config.horizon} s"
            raise ValueError(f"{within}; lower the horizon, or collect longer branches")
        data = self._tensors(every, targets)
        rng, share = np.random.default_rng(self.seed), -(-config.batch_size // len(parts))

        def loss() -> Tensor:
            batch = np.concatenate([rng.choice(part, share) for part in parts])
            return self._loss(data, torch.as_tensor(batch))

        fit(self.net, config, loss, progress)
        self.facts, self.judge, self._taken_from = dict(outcomes.counts), outcomes.judge, None
        return self

    def _tensors(self, outcomes: Outcomes, targets: Array) -> _Data:
        features, rows, _ = self.look(outcomes.obs)
        reward = torch.as_tensor(outcomes.reward)
        if not self._begun:
            self.net.standardise.learn(features)
            self.net.reward_mean.copy_(reward.mean())
            self.net.reward_deviation.copy_(reward.std().clamp_min(1e-3))
        return _Data(
            features=self.net.standardise(features),
            rows=scaled(rows),
            state=torch.as_tensor(outcomes.state),
            action=self._kind.vector(torch.as_tensor(outcomes.action)),
            tail=F.one_hot(torch.as_tensor(outcomes.tail), len(self.tails)).float(),
            own=torch.as_tensor(outcomes.own),
            target=torch.as_tensor(targets),
            reward=reward,
        )

    def _loss(self, data: _Data, batch: Tensor) -> Tensor:
        """Of events or danger, rewards and beginnings, of the branches ``(B,)``."""
        state, action, tail = data.state[batch], data.action[batch], data.tail[batch]
        features = data.features[state]
        rows = None if data.rows is None else data.rows[state]
        choice = torch.cat([action, tail], -1)
        loss = event_loss(self.net.log_safe(features, rows, choice), data.target[batch]).mean()
        loss = loss + self.net.reward_loss(features, choice, data.reward[batch]).mean()
        begun = self.net.begin(features).view(-1, len(self.tails), self._kind.size)  # (B, T, A)
        begun = (begun * tail.unsqueeze(-1)).sum(1)  # (B, A)
        if self._kind.countable:
            error = F.cross_entropy(begun, action, reduction="none")
        else:
            error = (begun - action).square().sum(-1)
        own = data.own[batch]
        return loss + (error * own).sum() / own.sum().clamp_min(1)

    # --- use --------------------------------------------------------------------------------------

    def look(self, obs: Mapping[str, Array]) -> Seen:
        """What observations ``(N, ...)`` say; found in their pictures, if there is a detector.

        Args:
            obs: each ``(N, ...)``; more than the model sees is left out.

        Raises:
            ValueError: for observations that are missing or not finite.
        """
        missing = [name for name in self.observation_space.spaces if name not in obs]
        if missing:
            kind = "image" if self.detector is not None else WAYS if WAYS in missing else VEHICLES
            raise ValueError(
                f"the risk model sees {missing}, the observation has {list(obs)}; make the "
                f'environment with observation="{kind}" or "all", or give the shield a `sense`'
            )
        begun = np.asarray(obs[BEGINNINGS]) if self.told and BEGINNINGS in obs else None
        found = obs if self.detector is None else self.detector.detect(obs)
        seen = {name: np.array(found[name], np.float32) for name in self._known.spaces}
        check_seen(seen)
        flat = [torch.as_tensor(seen[name]).flatten(1) for name in self._vectors]
        features = torch.cat(flat, -1) if flat else torch.zeros(len(seen[VEHICLES]), 0)
        rows = [torch.as_tensor(seen[name]) for name in self._sets]
        return Seen(features, torch.cat(rows, -1) if rows else None, begun)

    @torch.no_grad()
    def estimate(self, obs: Mapping[str, Array] | Seen, actions: Array) -> Estimate:
        """Chances and rewards after each of some actions.

        Args:
            obs: as of :meth:`look`, or what it has returned.
            actions: ``(N, A, *action_space.shape)``.

        Raises:
            ValueError: as :meth:`look`.
        """
        features, rows, _ = obs if isinstance(obs, Seen) else self.look(obs)
        features, rows = self.net.standardise(features), scaled(rows)
        vector = self._kind.vector(torch.as_tensor(np.asarray(actions)))  # (N, A, size)
        count, tried, tails = len(vector), vector.shape[1], len(self.tails)
        each = count * tried * tails
        choice = torch.cat(
            [
                vector.unsqueeze(2).expand(-1, -1, tails, -1).reshape(each, -1),
                torch.eye(tails).repeat(count * tried, 1),
            ],
            -1,
        )
        state = torch.arange(count).repeat_interleave(tried * tails)
        features, rows = features[state], None if rows is None else rows[state]
        risk = -torch.expm1(self.net.log_safe(features, rows, choice))
        reward = self.net.rewards(features, choice)
        shape = (count, tried, tails)
        return Estimate(risk.view(shape).numpy(), reward.view(shape).numpy())

    @torch.no_grad()
    def beginnings(self, obs: Mapping[str, Array] | Seen) -> Array:
        """The action with which each tail begins, ``(N, T, *action_space.shape)``.

        Raises:
            ValueError: where the model is told that, and the observations do not say it.
        """
        features, _, told = obs if isinstance(obs, Seen) else self.look(obs)
        if told is not None:
            return told
        if self.told:
            raise ValueError(
                f"the risk model is told how {', '.join(self.tails)} begin, and the observation "
                f"has no {BEGINNINGS!r}; give the shield a sense that says it, for ours "
                "vlsafe_envs.drivers.macros.vehicles_and_beginnings"
            )
        begun = self.net.begin(self.net.standardise(features))
        vector = begun.view(-1, self._kind.size).clamp(-1e6, 1e6).numpy()
        if not self._kind.countable:
            vector = vector.clip(-1.0, 1.0)
        actions = self._kind.to_env(vector)
        return actions.reshape(len(features), len(self.tails), *actions.shape[1:])

    # --- files ------------------------------------------------------------------------------------

    def save(self, path: AgentPath) -> None:
        """Write settings, spaces, facts and weights to one file, which holds no code."""
        data = {
            "kind": _KIND,
            "observation_space": space_to_json(self._known),
            "action_space": space_to_json(self.action_space),
            "tails": list(self.tails),
            "config": asdict(self.config),
            "seed": self.seed,
            "facts": self.facts,
            "judge": self.judge,
            **({_TOLD: True} if self.told else {}),
        }
        weights = {"policy": self.net.state_dict()}
        if self.detector is not None:
            data[_DETECTOR] = self.detector.to_data()
            weights[_DETECTOR] = self.detector.net.state_dict()
        write_agent(path, data, weights)

    @classmethod
    def load(cls, path: AgentPath) -> Self:
        """Inverse of :meth:`save`; nothing in the file is run.

        Args:
            path: a file, or the folder that ``vlsafe train-risk`` has written it to.

        Raises:
            FileNotFoundError: where there is no file.
            ValueError: for a file that holds no risk model.
        """
        if isinstance(path, str | Path) and Path(path).is_dir():
            path = Path(path) / MODEL_FILE
        data, params = read_agent(path)
        if data.get("kind") != _KIND:
            raise ValueError(f"{path} holds no risk model; train one with `vlsafe train-risk`")
        detector = None
        if _DETECTOR in data:
            detector = Detector.from_data(data[_DETECTOR], params[_DETECTOR])
        model = cls(
            space_from_json(data["observation_space"]),
            space_from_json(data["action_space"]),
            data["tails"],
            replaced(RiskConfig(), data["config"]),
            data["seed"],
            detector,
            bool(data.get(_TOLD, False)),
        )
        model.net.load_state_dict(params["policy"])
        model.facts, model.judge = dict(data["facts"]), str(data.get("judge", ""))
        return model


class _Data(NamedTuple):
    """Outcomes as tensors of S states and N branches."""

    features: Tensor  # (S, D)
    rows: Tensor | None  # (S, M, F)
    state: Tensor  # (N,)
    action: Tensor  # (N, A)
    tail: Tensor  # (N, T)
    own: Tensor  # (N,) bool
    target: Tensor  # (N,) see ``Outcomes.targets``; NaN where it is not known
    reward: Tensor  # (N,)


def _checked(space: spaces.Space[Any]) -> spaces.Dict:
    """The observation space of a risk model, else ``ValueError``."""
    if isinstance(space, spaces.Dict):
        boxes = {n: len(p.shape) for n, p in space.spaces.items() if isinstance(p, spaces.Box)}
        known = {*row_parts(space.spaces), *(name for name, axes in boxes.items() if axes == 1)}
        if known and known == space.spaces.keys():
            return space
    raise ValueError(
        f"a risk model sees a Dict of vectors and of a set of vehicles, not {space}; for ours: "
        'gym.make(..., observation="vehicles")'
    )
