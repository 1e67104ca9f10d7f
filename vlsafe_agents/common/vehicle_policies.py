"""Stable-Baselines3's multi-input policies for observations with a set of vehicles in them."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces
from stable_baselines3.common.policies import MultiInputActorCriticPolicy
from stable_baselines3.common.torch_layers import CombinedExtractor
from torch import Tensor, nn

from vlsafe_agents.common.vehicle_rows import is_vehicle_set, pooled, scaled_rows


class VehicleFeatures(nn.Module):
    """Rows ``(N, M, F)`` in their own units to features ``(N, 2 units)``, for SB3's policies."""

    def __init__(self, columns: int, units: int = 64) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(columns, units), nn.ReLU(), nn.Linear(units, units), nn.ReLU()
        )
        self.out_size = 2 * units

    def forward(self, rows: Tensor) -> Tensor:
        scaled = scaled_rows(rows)
        return pooled(self.net(scaled), scaled[..., 0] > 0.5)


class VehiclesExtractor(CombinedExtractor):
    """SB3's ``CombinedExtractor``, which would flatten a set of vehicles, with a network for it."""

    def __init__(self, observation_space: spaces.Dict, **kwargs: Any) -> None:
        super().__init__(observation_space, **kwargs)
        for name, space in observation_space.spaces.items():
            if is_vehicle_set(name, space):
                rows, columns = space.shape or (0, 0)
                features = VehicleFeatures(columns)
                self.extractors[name] = features
                self._features_dim += features.out_size - rows * columns


class SeesVehicles:
    """Mixin, to be named before SB3's multi-input policies: sets of vehicles are seen as such."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("features_extractor_class", VehiclesExtractor)
        super().__init__(*args, **kwargs)


class MultiInputPolicy(SeesVehicles, MultiInputActorCriticPolicy):
    """SB3's own for Dict observations; as it is where there is no set of vehicles."""
