"""Encoder and decoder of the observations of one space: images, vectors, sets of vehicles."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from gymnasium import spaces
from torch import Tensor, nn

from vlsafe_agents.common.devices import own_range, team_size
from vlsafe_agents.common.vehicle_rows import VEHICLES, is_vehicle_set, scaled_rows
from vlsafe_agents.vlsafe.batch import IMAGE, VECTOR, is_image
from vlsafe_agents.vlsafe.config import ImageConfig, WorldModelConfig
from vlsafe_agents.vlsafe.networks import (
    MLP,
    ImageDecoder,
    ImageEncoder,
    SetEncoder,
    Standardise,
    Symlog,
    depth_to_space,
    set_loss,
    sigmoid_squared_error,
    to_patches,
)
from vlsafe_agents.vlsafe.observation_layout import (
    image_layouts,
    shown_rows,
    split_vector,
    vector_size,
)


class Inputs(NamedTuple):
    """Observations prepared once, for the encoder's input and the decoder's target alike."""

    patches: Tensor | None  # (N, H/s, W/s, C*s*s) in [0, 1]
    vector: Tensor | None  # (N, D), scaled
    rows: Tensor | None  # (N, M, F), of vehicles, see vehicle_rows.scaled_rows


class ObservationModel(nn.Module):
    """Observations to embeddings, and features back to observations.

    Images of all names are the channels of one, vectors of all names one vector, as in DreamerV3.
    A set of vehicles (:mod:`~vlsafe_agents.common.vehicle_rows`) is neither: its encoder does not
    see the order of its rows, and its decoder predicts them by distance, so that nothing has to be
    matched.

    Args:
        observations: by name; the order of channels and features is that of the sorted names.
    """

    def __init__(
        self, observations: dict[str, spaces.Box], feat_size: int, config: WorldModelConfig
    ) -> None:
        super().__init__()
        named = dict(sorted(observations.items()))
        self.sets = {name: box for name, box in named.items() if is_vehicle_set(name, box)}
        flat = {name: box for name, box in named.items() if name not in self.sets}
        self.vectors = {name: box for name, box in flat.items() if not is_image(box)}
        images = {name: box for name, box in named.items() if is_image(box)}
        self.layouts = image_layouts(images, math.prod(config.image.strides)) if images else {}
        kinds = {IMAGE: images, VECTOR: self.vectors, VEHICLES: self.sets}
        self.keys = tuple(kind for kind, found in kinds.items() if found)
        self.image: ImageConfig = config.image
        self.rgb = all(layout.channels == 3 for layout in self.layouts.values())
        heads = config.heads
        self.encoders = nn.ModuleDict()
        self.decoders = nn.ModuleDict()
        self.embed_size = 0
        if images:
            first = next(iter(self.layouts.values()))
            self.channels = sum(layout.channels for layout in self.layouts.values())
            shape = (first.height, first.width, self.channels)
            image_encoder = ImageEncoder(shape, config.image)
            self.encoders[IMAGE] = image_encoder
            self.decoders[IMAGE] = ImageDecoder(feat_size, shape, config.image)
            self.embed_size += image_encoder.out_size
        if self.vectors:
            size = vector_size(self.vectors)
            self.encoders[VECTOR] = MLP(size, heads.units, heads.vector_layers)
            self.decoders[VECTOR] = MLP(feat_size, heads.units, heads.vector_layers, size)
            self.scale = Standardise(size) if heads.standardise else Symlog()
            self.embed_size += heads.units
        for name, box in self.sets.items():
            rows, columns = box.shape
            self.encoders[name] = SetEncoder(columns, heads.units, heads.vector_layers)
            sizes = (feat_size, heads.units, heads.vector_layers, rows * columns)
            self.decoders[name] = nn.Sequential(MLP(*sizes), nn.Unflatten(-1, (rows, columns)))
            self.embed_size += heads.units

    def learn_scales(self, obs: dict[str, Tensor]) -> None:
        """Let standardised inputs see a batch of observations, while their scales are learned."""
        if self.layouts:
            scale = self.encoders[IMAGE].scale
            if isinstance(scale, Standardise) and scale.learning:
                scale.learn(self._patches(obs).flatten(1))
        if self.vectors and isinstance(self.scale, Standardise) and self.scale.learning:
            self.scale.learn(self._vector(obs))

    def prepare(self, obs: dict[str, Tensor]) -> Inputs:
        """Flatten leading axes and fold images into patches: ``(..., H, W, C) -> (N, ...)``.

        Raises:
            ValueError: if an observation is missing.
        """
        missing = [key for key in (*self.layouts, *self.vectors, *self.sets) if key not in obs]
        if missing:
            raise ValueError(f"observation lacks {missing}; it has {sorted(obs)}")
        patches = self._patches(obs) if self.layouts else None
        vector = self.scale(self._vector(obs)) if self.vectors else None
        rows = scaled_rows(obs[VEHICLES].float().flatten(0, -3)) if self.sets else None
        return Inputs(patches, vector, rows)

    def _patches(self, obs: dict[str, Tensor]) -> Tensor:
        """All images, folded: ``(N, H/s, W/s, C*s*s)`` in [0, 1]."""
        images = [
            layout.fold(obs[name].flatten(0, -len(layout.shape) - 1))
            for name, layout in self.layouts.items()
        ]
        image = images[0] if len(images) == 1 else torch.cat(images, -1)
        return to_patches(image, self.image.strides[0])

    def _vector(self, obs: dict[str, Tensor]) -> Tensor:
        """All vectors, ``(N, D)``."""
        parts = [
            obs[name].float().reshape(-1, math.prod(box.shape))
            for name, box in self.vectors.items()
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def embed(self, inputs: Inputs) -> Tensor:
        """Embeddings ``(N, E)``, the kinds side by side."""
        parts = []
        if inputs.patches is not None:
            parts.append(self.encoders[IMAGE](inputs.patches))
        if inputs.vector is not None:
            parts.append(self.encoders[VECTOR](inputs.vector))
        if inputs.rows is not None:
            parts.append(self.encoders[VEHICLES](inputs.rows))
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def losses(self, feat: Tensor, inputs: Inputs) -> dict[str, Tensor]:
        """Squared errors summed over pixels or features, ``(N,)`` each; of sets see `set_loss`.

        With ``decoded_share`` < 1 a random part of the frames is decoded; the others' image loss is
        0 and theirs is divided by the share, which leaves the expected gradient as it is.
        """
        losses = {}
        if inputs.patches is not None:
            losses[IMAGE] = self._image_loss(feat, inputs.patches)
        if inputs.vector is not None:
            error = self.decoders[VECTOR](feat) - inputs.vector  # (N, D)
            losses[VECTOR] = error.square().sum(-1)
        if inputs.rows is not None:
            losses[VEHICLES] = set_loss(self.decoders[VEHICLES](feat), inputs.rows)
        return losses

    def decode(self, feat: Tensor) -> dict[str, Tensor]:
        """Predicted observations for features ``(..., F)`` by name; images in [0, 1].

        Column 0 of a set is the probability that there is a vehicle.
        """
        out = {}
        if self.layouts:
            patches = torch.sigmoid(self.decoders[IMAGE](feat.flatten(0, -2)))
            image = depth_to_space(patches, self.image.strides[0])
            parts = image.split([layout.channels for layout in self.layouts.values()], -1)
            for (name, layout), part in zip(self.layouts.items(), parts, strict=True):
                shown = layout.unfold(part)
                out[name] = shown.reshape(*feat.shape[:-1], *layout.shape)
        if self.vectors:
            out |= split_vector(self.scale.inverse(self.decoders[VECTOR](feat)), self.vectors)
        if self.sets:
            out[VEHICLES] = shown_rows(self.decoders[VEHICLES](feat))
        return out

    def _image_loss(self, feat: Tensor, patches: Tensor) -> Tensor:
        frames = len(patches)
        total = frames * team_size()
        count = max(1, round(total * self.image.decoded_share))
        chosen = None
        if count < total:
            first, last = own_range(frames)
            chosen = torch.randperm(total, device=feat.device)[:count]
            chosen = (
                chosen[(chosen >= first) & (chosen < last)] - first if total > frames else chosen
            )
            feat, patches = feat[chosen], patches[chosen]
        channels = 3 if self.rgb else self.channels
        logits = self.decoders[IMAGE](feat).unflatten(-1, (-1, channels))  # (N, h, w, s*s, C)
        target = patches.unflatten(-1, (-1, channels))
        loss = sigmoid_squared_error(logits, target, self._pixel_weight(target))
        if chosen is None:
            return loss
        return loss.new_zeros(frames).index_put((chosen,), loss * (total / count))

    def _pixel_weight(self, pixels: Tensor) -> Tensor | None:
        """``1 + colour_weight * (|red - green| + |green - blue|)`` for pixels ``(..., 3)``.

        None, which is 1 everywhere, unless all images are RGB.

        Cars are a few coloured pixels on a grey road.  A plain squared error is content with bare
        road for long: after 600 updates of the "cpu" preset it had not drawn one car.
        """
        if not self.image.colour_weight or not self.rgb:
            return None
        red, green, blue = pixels.unbind(-1)
        colour = (red - green).abs_().add_((green - blue).abs_())
        return colour.mul_(self.image.colour_weight).add_(1).unsqueeze(-1)  # (..., 1)
