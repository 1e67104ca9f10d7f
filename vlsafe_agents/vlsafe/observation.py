"""Encoders and decoders for the observation kinds of one space: image, vector or both."""

from __future__ import annotations

from typing import NamedTuple

import torch
from gymnasium import spaces
from torch import Tensor, nn

from vlsafe_agents.vlsafe.batch import IMAGE, VECTOR
from vlsafe_agents.vlsafe.config import ImageConfig, WorldModelConfig
from vlsafe_agents.vlsafe.networks import (
    MLP,
    ImageDecoder,
    ImageEncoder,
    Standardise,
    Symlog,
    depth_to_space,
    sigmoid_squared_error,
    to_patches,
)


class Inputs(NamedTuple):
    """Observations prepared once, for the encoder's input and the decoder's target alike."""

    patches: Tensor | None  # (N, H/s, W/s, 3*s*s) in [0, 1]
    vector: Tensor | None  # (N, D), scaled


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
            self.encoders[VECTOR] = MLP(size, heads.units, heads.vector_layers)
            self.decoders[VECTOR] = MLP(feat_size, heads.units, heads.vector_layers, size)
            self.scale = Standardise(size) if heads.standardise else Symlog()
            self.embed_size += heads.units

    def learn_scales(self, obs: dict[str, Tensor]) -> None:
        """Let standardised inputs see a batch of observations, while their scales are learned."""
        if IMAGE in self.keys:
            scale = self.encoders[IMAGE].scale
            if isinstance(scale, Standardise) and scale.learning:
                scale.learn(to_patches(obs[IMAGE].flatten(0, -4), self.image.strides[0]).flatten(1))
        if VECTOR in self.keys and isinstance(self.scale, Standardise):
            self.scale.learn(obs[VECTOR].float())

    def prepare(self, obs: dict[str, Tensor]) -> Inputs:
        """Flatten leading axes and fold images into patches: ``(..., H, W, 3) -> (N, ...)``.

        Raises:
            ValueError: if a kind of observation is missing.
        """
        missing = [key for key in self.keys if key not in obs]
        if missing:
            raise ValueError(f"observation lacks {missing}; it has {sorted(obs)}")
        patches = vector = None
        if IMAGE in self.keys:
            patches = to_patches(obs[IMAGE].flatten(0, -4), self.image.strides[0])
        if VECTOR in self.keys:
            vector = self.scale(obs[VECTOR].float().flatten(0, -2))
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
            error = self.decoders[VECTOR](feat) - inputs.vector  # (N, D)
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
            out[VECTOR] = self.scale.inverse(self.decoders[VECTOR](feat))
        return out

    def _image_loss(self, feat: Tensor, patches: Tensor) -> Tensor:
        frames = len(patches)
        count = max(1, round(frames * self.image.decoded_share))
        chosen = None if count == frames else torch.randperm(frames, device=feat.device)[:count]
        if chosen is not None:
            feat, patches = feat[chosen], patches[chosen]
        logits = self.decoders[IMAGE](feat).unflatten(-1, (-1, 3))  # (N, h, w, s*s, 3)
        target = patches.unflatten(-1, (-1, 3))
        loss = sigmoid_squared_error(logits, target, self._pixel_weight(target))
        if chosen is None:
            return loss
        return loss.new_zeros(frames).index_put((chosen,), loss * (frames / count))

    def _pixel_weight(self, pixels: Tensor) -> Tensor | None:
        """``1 + colour_weight * (|red - green| + |green - blue|)`` for pixels ``(..., 3)``.

        Cars are a few coloured pixels on a grey road.  A plain squared error is content with bare
        road for long: after 600 updates of the "cpu" preset it had not drawn one car.
        """
        if not self.image.colour_weight:
            return None
        red, green, blue = pixels.unbind(-1)
        colour = (red - green).abs_().add_((green - blue).abs_())
        return colour.mul_(self.image.colour_weight).add_(1).unsqueeze(-1)  # (..., 1)
