"""Vehicles, and vectors about the ego vehicle, from one picture from above."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
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
from vlsafe_agents.common.bfloat16 import bfloat16_is_fast
from vlsafe_agents.common.border import Array
from vlsafe_agents.common.fitting import fit
from vlsafe_agents.common.typed_config import Count, Share, check_config, replaced
from vlsafe_agents.common.vehicle_rows import VEHICLES, is_vehicle_set
from vlsafe_agents.detection.grid import View, inside, least_distances, strongest, targets
from vlsafe_agents.detection.network import CELL, DetectionNet
from vlsafe_agents.detection.network import Seen as Features

IMAGE = "image"  # the observation's name
_KIND = "detector"  # what its files say that they are
LOOKS = 5  # at the ego vehicle's plan, a second
CANDIDATES = 32  # cells that are looked at closely
_AT_ONCE = 128  # pictures
_PLACE, _VELOCITY, _HEADING = slice(1, 3), slice(3, 5), slice(5, 7)  # columns of a row
_FIRST_OTHER = 7
_PACE = 5.0  # [m/s] that a plan's velocity changes by, roughly
_PLACE_WEIGHT, _COLUMN_WEIGHT = 4.0, 2.0
_LEAST_DEVIATION = 1e-2


@dataclass(frozen=True)
class DetectorConfig:
    """Settings of a detector.

    Args:
        channels: of the first convolution and of the others.
        updates: gradient updates.
        batch_size: pictures an update.
        learning_rate: of AdamW, falling to a twentieth along a cosine.
        weight_decay: of AdamW.
        threshold: chance from which on a cell has a vehicle.
        least_distance: centres closer than this are one vehicle's [m].

    Raises:
        ValueError: for numbers out of range.
    """

    channels: tuple[int, int] = (24, 32)
    updates: Count = 3000
    batch_size: Count = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    threshold: Share = 0.4
    least_distance: float = 1.5

    def __post_init__(self) -> None:
        check_config(self)


class Detector:
    """Finds vehicles in pictures, and what a risk model sees besides.

    One network for a picture: which cells of a coarse grid hold a vehicle, by cross-entropy, and of
    each the place, as in YOLO (Redmon et al. 2016, arXiv 1506.02640), the other columns of its row
    and the vectors by regression, as in CenterNet (Zhou et al. 2019, arXiv 1904.07850).
    Departures: cells that a vehicle all but touches do not count; distances from the ego vehicle's
    plan are computed from place and velocity, and a plan that is learnt through them.

    What a picture does not show, such as the last command, is guessed from what it does.

    Args:
        image: ``Box (H, H, 3)`` of bytes.
        shown: what is to be found, a ``Dict`` of vectors and a set of vehicles (``vehicle_rows``;
            columns 3 and 4 are velocities minus the ego vehicle's [m/s], 5 and 6 cosine and sine of
            the heading).
        view: of the picture.
        distances: how many of a row's last columns hold the least distance of a vehicle at constant
            velocity from the ego vehicle's plan, in one second after the other [m].
        config: settings.
        seed: of the first weights and of the batches.

    Raises:
        ValueError: for other spaces and columns.
    """

    def __init__(
        self,
        image: spaces.Space[Any],
        shown: spaces.Space[Any],
        view: View,
        distances: int = 0,
        config: DetectorConfig | None = None,
        seed: int = 0,
    ) -> None:
        self.config = DetectorConfig() if config is None else config
        self.image, self.shown, self.view = _picture(image), _found(shown), view
        self.distances, self.seed = distances, seed
        self._vectors = {
            name: math.prod(space.shape or ())
            for name, space in sorted(self.shown.spaces.items())
            if name != VEHICLES
        }
        self._most, self._width = self.shown[VEHICLES].shape or (0, 0)
        self._cells = (self.image.shape or (0,))[0] // CELL  # of the grid, along a side
        others = range(_FIRST_OTHER, self._width - distances)
        self._columns = [*range(_VELOCITY.start, _VELOCITY.stop), *others]
        columns = len(self._columns)
        features = sum(self._vectors.values())
        if not 0 <= distances <= self._width - _FIRST_OTHER:
            raise ValueError(
                f"distances={distances} leave no heading in rows of {self._width} columns"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = DetectionNet(
                self._cells, columns, features, LOOKS * distances, self.config.channels
            )
        self.facts: dict[str, Any] = {}  # what it was learnt from, see :meth:`fit`

    @property
    def observation_space(self) -> spaces.Dict:
        """What it looks at."""
        return spaces.Dict({IMAGE: self.image})

    # --- learning ---------------------------------------------------------------------------------

    def fit(
        self,
        obs: Mapping[str, Array],
        progress: Callable[[int, float], None] = lambda done, loss: None,
    ) -> Self:
        """Learn from pictures of which it is known what they show, from the first weights on.

        Args:
            obs: the picture, the vectors and the set of vehicles, each ``(N, ...)``.
            progress: hears of every update and its loss.
        """
        self._check(obs, [IMAGE, *self.shown.spaces])
        pictures = torch.as_tensor(np.asarray(obs[IMAGE]))
        rows = torch.as_tensor(np.asarray(obs[VEHICLES], np.float32))
        vectors = self._flat(obs)
        self._learn_scales(rows, vectors)
        config, rng = self.config, np.random.default_rng(self.seed)

        def loss() -> Tensor:
            batch = torch.as_tensor(rng.choice(len(pictures), config.batch_size))
            return self._loss(pictures[batch], rows[batch], vectors[batch])

        fit(self.net, config, loss, progress)
        self.facts = {"pictures": len(pictures)}
        return self

    @torch.no_grad()
    def _learn_scales(self, rows: Tensor, vectors: Tensor) -> None:
        net, present = self.net, rows[rows[..., 0] > 0.5][:, self._columns]
        for mean, deviation, values in (
            (net.column_mean, net.column_deviation, present),
            (net.vector_mean, net.vector_deviation, vectors),
        ):
            if len(values) > 1:
                mean.copy_(values.mean(0))
                deviation.copy_(values.std(0).clamp_min(_LEAST_DEVIATION))

    def _loss(self, pictures: Tensor, rows: Tensor, vectors: Tensor) -> Tensor:
        net, count = self.net, len(pictures)
        seen = net(pictures, bfloat16_is_fast(pictures.device))
        wanted = targets(rows, self.view, CELL, seen.logit.shape[-1])
        error = F.binary_cross_entropy_with_logits(
            seen.logit, wanted.present.float(), reduction="none"
        )
        loss = (error * wanted.counted).sum() / count
        guess = net.vectors(seen.whole)
        known = (vectors - net.vector_mean) / net.vector_deviation
        loss = loss + F.smooth_l1_loss(guess, known, reduction="sum") / count
        vehicles = net.vehicles(seen, wanted.picture, wanted.cell)
        row = rows[wanted.picture, wanted.row]  # (K, F)
        rest = (row[:, self._columns] - net.column_mean) / net.column_deviation
        found = max(len(row), 1)
        for guess, right, weight in (
            (vehicles.offset, wanted.offset, _PLACE_WEIGHT),
            (vehicles.heading, row[:, _HEADING], _PLACE_WEIGHT),
            (vehicles.columns, rest, _COLUMN_WEIGHT),
        ):
            error = F.smooth_l1_loss(guess, right, reduction="sum", beta=0.1)
            loss = loss + weight * error / found
        if self.distances:
            drift = self._drift(seen)[wanted.picture]
            least = least_distances(row[:, _PLACE], row[:, _VELOCITY], drift, LOOKS)
            error = torch.log1p(least) - torch.log1p(row[:, -self.distances :])
            loss = (
                loss
                + F.smooth_l1_loss(error, torch.zeros_like(error), reduction="sum", beta=0.1)
                / found
            )
        return loss

    def _drift(self, seen: Features) -> Tensor:
        """``(N, L, 2)`` [m]."""
        time = torch.arange(1, self.net.steps + 1) / LOOKS
        return self.net.drift(seen) * _PACE * time[:, None]

    # --- use --------------------------------------------------------------------------------------

    @torch.no_grad()
    def detect(self, obs: Mapping[str, Array]) -> dict[str, Array]:
        """What the pictures ``(N, H, H, 3)`` show: vectors ``(N, D)`` and rows ``(N, M, F)``.

        Raises:
            ValueError: where there are no pictures of the right kind.
        """
        self._check(obs, [IMAGE])
        pictures = np.asarray(obs[IMAGE])
        parts = [
            self._detect(torch.as_tensor(pictures[begin : begin + _AT_ONCE]))
            for begin in range(0, len(pictures), _AT_ONCE)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.shown.spaces}

    def _detect(self, pictures: Tensor) -> dict[str, Array]:
        net = self.net
        seen = net(pictures)
        flat = net.vectors(seen.whole) * net.vector_deviation + net.vector_mean
        pieces = flat.split(list(self._vectors.values()), -1)
        found = {
            name: part.view(len(part), *(self.shown[name].shape or ())).numpy()
            for name, part in zip(self._vectors, pieces, strict=True)
        }
        found[VEHICLES] = self._rows(seen).numpy()
        return {
            name: part.clip(self.shown[name].low, self.shown[name].high)  # type: ignore[attr-defined]
            for name, part in found.items()
        }

    def _rows(self, seen: Features) -> Tensor:
        """Rows ``(N, M, F)``, the nearest first."""
        net, most, width = self.net, self._most, self._width
        count, cells = seen.logit.shape[:2]
        chance, best = seen.logit.sigmoid().flatten(1).topk(min(CANDIDATES, cells**2))  # (N, K)
        kept = chance > self.config.threshold
        picture, candidate = torch.nonzero(kept, as_tuple=True)
        index = best[picture, candidate]
        cell = torch.stack([index // cells, index % cells], -1)
        vehicles = net.vehicles(seen, picture, cell)
        row = torch.zeros(len(index), width)
        row[:, 0] = 1.0
        row[:, _PLACE] = self.view.to_place(cell + 0.5 + vehicles.offset, CELL)
        row[:, _HEADING] = F.normalize(vehicles.heading, dim=-1)
        row[:, self._columns] = vehicles.columns * net.column_deviation + net.column_mean
        if self.distances:
            drift = self._drift(seen)[picture]
            row[:, -self.distances :] = least_distances(
                row[:, _PLACE], row[:, _VELOCITY], drift, LOOKS
            )
        rows = torch.zeros(count, chance.shape[1], width)
        rows[picture, candidate] = row
        place = rows[..., _PLACE]
        kept = strongest(chance, place, self.config.threshold, self.config.least_distance)
        distance = place.norm(dim=-1).where(kept, torch.inf)
        order = distance.argsort(dim=-1, stable=True)[:, :most]  # (N, M)
        rows = (rows * kept.unsqueeze(-1)).gather(1, order.unsqueeze(-1).expand(-1, -1, width))
        return F.pad(rows, (0, 0, 0, most - rows.shape[1]))

    def shows(self, rows: Array) -> Array:
        """Of which places ``(N, M, F)`` a picture shows the centre, bool ``(N, M)``."""
        points = self.view.to_cells(torch.as_tensor(rows[..., _PLACE]), CELL)
        return inside(points, self._cells).numpy()

    def _flat(self, obs: Mapping[str, Array]) -> Tensor:
        """Vectors ``(N, D)``."""
        count = len(obs[VEHICLES])
        parts = [np.asarray(obs[name], np.float32).reshape(count, -1) for name in self._vectors]
        return torch.as_tensor(np.concatenate([np.zeros((count, 0), np.float32), *parts], -1))

    def _check(self, obs: Mapping[str, Array], names: list[str]) -> None:
        missing = [name for name in names if name not in obs]
        if missing:
            raise ValueError(
                f"the detector needs {missing}, the observation has {list(obs)}; make the "
                'environment with observation="image"'
            )
        shape, dtype = np.shape(obs[IMAGE])[1:], np.asarray(obs[IMAGE]).dtype
        if shape != self.image.shape or dtype != np.uint8:
            raise ValueError(
                f"the detector looks at uint8 pictures {self.image.shape}, not {dtype} {shape}"
            )

    # --- files ------------------------------------------------------------------------------------

    def save(self, path: AgentPath) -> None:
        """Write all to one file, which holds no code."""
        write_agent(path, {"kind": _KIND, **self.to_data()}, {"policy": self.net.state_dict()})

    @classmethod
    def load(cls, path: AgentPath) -> Self:
        """Inverse of :meth:`save`; nothing in the file is run.

        Raises:
            FileNotFoundError: where there is no file.
            ValueError: for a file that holds no detector.
        """
        data, params = read_agent(path)
        if data.get("kind") != _KIND:
            raise ValueError(
                f"{path} holds no detector; train one with `vlsafe train-risk --observation image`"
            )
        return cls.from_data(data, params["policy"])

    def to_data(self) -> dict[str, Any]:
        """Settings and spaces as plain data; the weights are those of ``net``."""
        return {
            "image": space_to_json(self.image),
            "shown": space_to_json(self.shown),
            "view": asdict(self.view),
            "distances": self.distances,
            "config": asdict(self.config),
            "seed": self.seed,
            "facts": self.facts,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any], weights: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_data`, with the weights."""
        detector = cls(
            space_from_json(data["image"]),
            space_from_json(data["shown"]),
            View(**data["view"]),
            data["distances"],
            replaced(DetectorConfig(), data["config"]),
            data["seed"],
        )
        detector.net.load_state_dict(weights)
        detector.facts = dict(data["facts"])
        return detector


def _picture(space: spaces.Space[Any]) -> spaces.Box:
    if isinstance(space, spaces.Box) and len(space.shape) == 3 and space.dtype == np.uint8:
        height, width, channels = space.shape
        if height == width and channels == 3 and height % CELL == 0:
            return space
    raise ValueError(
        f"a detector looks at square pictures of bytes, their side a multiple of {CELL} px, not "
        f"at {space}"
    )


def _found(space: spaces.Space[Any]) -> spaces.Dict:
    if isinstance(space, spaces.Dict) and VEHICLES in space.spaces:
        vectors = [part for name, part in space.spaces.items() if name != VEHICLES]
        boxes = [isinstance(part, spaces.Box) and len(part.shape) == 1 for part in vectors]
        if all(boxes) and is_vehicle_set(VEHICLES, space[VEHICLES]):
            return space
    raise ValueError(f"a detector finds a set of vehicles and vectors, not {space}")
