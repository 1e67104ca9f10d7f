"""Encoders and decoders for the observation kinds of one space: image, vector or both."""

from __future__ import annotations

from typing import NamedTuple

import torch
from gymnasium import spaces
from torch import Tensor, nn

from vlsafe_agents.common.distributions import symexp, symlog
from vlsafe_agents.vlsafe.batch import IMAGE, VECTOR
from vlsafe_agents.vlsafe.config import ImageConfig, WorldModelConfig
from vlsafe_agents.vlsafe.networks import (
    MLP,
    ImageDecoder,
    ImageEncoder,
    VectorEncoder,
    depth_to_space,
    sigmoid_squared_error,
    to_patches,
)

_FOREGROUND = 0.1  # a pixel is foreground if a channel is this far from the mean image, in [0, 1]


class Inputs(NamedTuple):
    """Observations prepared once, for the encoder's input and the decoder's target alike."""

    patches: Tensor | None  # (N, H/s, W/s, 3*s*s) in [0, 1]
    vector: Tensor | None  # (N, D)


class ObservationModel(nn.Module):
    """Observations to embeddings, and features back to observations."""

    def __init__(
        self, observations: dict[str, spaces.Box], feat_size: int, config: WorldModelConfig
    ) -> None:
        super().__init__()
        self.keys = tuple(key for key in (IMAGE, VECTOR) if key in observations)
        self.image: ImageConfig = config.image
        heads = config.heads
        self.encoders = nn.ModuleDict()
        self.decoders = nn.ModuleDict()
        self.embed_size = 0
        if IMAGE in self.keys:
            shape = observations[IMAGE].shape
            image_encoder = ImageEncoder(shape, config.image)
            self.encoders[IMAGE] = image_encoder
            self.decoders[IMAGE] = ImageDecoder(feat_size, shape, config.image)
            self.embed_size += image_encoder.out_size
        if VECTOR in self.keys:
            size = observations[VECTOR].shape[0]
            self.encoders[VECTOR] = VectorEncoder(size, heads.units, heads.vector_layers)
            self.decoders[VECTOR] = MLP(feat_size, heads.units, heads.vector_layers, size)
            self.embed_size += heads.units

    def prepare(self, obs: dict[str, Tensor]) -> Inputs:
        """Flatten leading axes and fold images into patches: ``(..., H, W, 3) -> (N, ...)``.

        :raises ValueError: if a kind of observation is missing.
        """
        missing = [key for key in self.keys if key not in obs]
        if missing:
            raise ValueError(f"observation lacks {missing}; it has {sorted(obs)}")
        patches = vector = None
        if IMAGE in self.keys:
            patches = to_patches(obs[IMAGE].flatten(0, -4), self.image.strides[0])
        if VECTOR in self.keys:
            vector = obs[VECTOR].float().flatten(0, -2)
        return Inputs(patches, vector)

    def embed(self, inputs: Inputs) -> Tensor:
        """Embeddings ``(N, E)``, the kinds side by side."""
        parts = []
        if inputs.patches is not None:
            parts.append(self.encoders[IMAGE](inputs.patches))
        if inputs.vector is not None:
            parts.append(self.encoders[VECTOR](inputs.vector))
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def losses(self, feat: Tensor, inputs: Inputs) -> dict[str, Tensor]:
        """Squared errors summed over pixels or features, ``(N,)`` each.

        With ``decoded_share`` < 1 a random part of the frames is decoded; the others' image loss is
        0 and theirs is divided by the share, which leaves the expected gradient as it is.
        """
        losses = {}
        if inputs.patches is not None:
            losses[IMAGE] = self._image_loss(feat, inputs.patches)
        if inputs.vector is not None:
            error = self.decoders[VECTOR](feat) - symlog(inputs.vector)
            losses[VECTOR] = error.square().sum(-1)
        return losses

    def decode(self, feat: Tensor) -> dict[str, Tensor]:
        """Predicted observations for features ``(..., F)``: images in [0, 1], channels last."""
        out = {}
        if IMAGE in self.keys:
            patches = torch.sigmoid(self.decoders[IMAGE](feat.flatten(0, -2)))
            image = depth_to_space(patches, self.image.strides[0])
            out[IMAGE] = image.view(*feat.shape[:-1], *image.shape[1:])
        if VECTOR in self.keys:
            out[VECTOR] = symexp(self.decoders[VECTOR](feat))
        return out

    def _image_loss(self, feat: Tensor, patches: Tensor) -> Tensor:
        frames = len(patches)
        count = max(1, round(frames * self.image.decoded_share))
        if count == frames:
            weight = self._pixel_weight(patches)
            return sigmoid_squared_error(self.decoders[IMAGE](feat), patches, weight)
        chosen = torch.randperm(frames, device=feat.device)[:count]
        logits, target = self.decoders[IMAGE](feat[chosen]), patches[chosen]
        loss = sigmoid_squared_error(logits, target, self._pixel_weight(target))
        return feat.new_zeros(frames).index_put((chosen,), loss * (frames / count))

    def _pixel_weight(self, patches: Tensor) -> Tensor | None:
        """1, plus ``foreground_weight`` where a pixel differs from the batch's mean image.

        A car covers a few of 4,096 pixels, a plain squared error is content with bare road.
        """
        if not self.image.foreground_weight:
            return None
        distance = (patches - patches.mean(0)).abs()  # (N, h, w, s*s*3)
        pixels = distance.unflatten(-1, (-1, 3)).amax(-1, keepdim=True) > _FOREGROUND
        weight = 1 + self.image.foreground_weight * pixels.float()
        return weight.expand(*pixels.shape[:-1], 3).flatten(-2)
