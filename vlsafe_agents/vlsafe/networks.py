"""Building blocks: multi-layer perceptrons, encoders and decoders.

Symbols: N samples, H height, W width, C channels.  Images are channels-last throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlsafe_agents.common.distributions import symexp, symlog
from vlsafe_agents.common.vehicle_rows import pooled
from vlsafe_agents.vlsafe.config import ImageConfig
from vlsafe_agents.vlsafe.fused import norm_silu

NORM_EPS = 1e-4
PIXEL_DEVIATION = 0.1  # pixels that vary less are not blown up to variance 1


class NormSiLU(nn.Module):
    """Root-mean-square normalisation over the last axis with a learned scale, then SiLU."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return norm_silu(x, self.weight, NORM_EPS)


class BlockLinear(nn.Module):
    """Product with block-diagonal weights: ``blocks`` independent smaller layers, no bias.

    Output layout: block after block, ``out_size / blocks`` features each.
    """

    def __init__(self, in_size: int, out_size: int, blocks: int) -> None:
        super().__init__()
        if in_size % blocks or out_size % blocks:
            raise ValueError(f"{in_size} and {out_size} features do not split into {blocks} blocks")
        self.blocks = blocks
        self.weight = nn.Parameter(torch.empty(blocks, in_size // blocks, out_size // blocks))
        nn.init.trunc_normal_(self.weight, std=(blocks / in_size) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        parts = x.view(-1, self.blocks, self.weight.shape[1]).transpose(0, 1)  # (G, N, I / G)
        out = torch.bmm(parts, self.weight).transpose(0, 1)  # (N, G, O / G)
        return out.reshape(*x.shape[:-1], -1)


def linear(in_size: int, out_size: int, zero: bool = False, bias: bool = True) -> nn.Linear:
    """Linear layer with truncated-normal weights of standard deviation 1/sqrt(in), or zeros."""
    layer = nn.Linear(in_size, out_size, bias)
    if zero:
        nn.init.zeros_(layer.weight)
    else:
        nn.init.trunc_normal_(layer.weight, std=in_size**-0.5)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class MLP(nn.Sequential):
    """``layers`` times (Linear, RMSNorm, SiLU), then a Linear to ``out_size`` unless that is 0.

    Args:
        zero_output: last layer starts at zero, so the output starts at zero.
    """

    def __init__(
        self, in_size: int, units: int, layers: int, out_size: int = 0, zero_output: bool = False
    ) -> None:
        modules: list[nn.Module] = []
        for _ in range(layers):
            modules += [linear(in_size, units), NormSiLU(units)]
            in_size = units
        if out_size:
            modules.append(linear(in_size, out_size, zero_output))
        super().__init__(*modules)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x)
        return out.float()  # losses are not computed in half precision


class SetEncoder(nn.Module):
    """Scaled rows of vehicles ``(N, M, F)`` to an embedding ``(N, units)``, in whatever order.

    Each row alone goes through ``layers`` layers, then their largest and mean features through one.
    """

    def __init__(self, columns: int, units: int, layers: int) -> None:
        super().__init__()
        self.rows = MLP(columns, units, layers)
        self.out = MLP(2 * units, units, 1)

    def forward(self, rows: Tensor) -> Tensor:
        return self.out(pooled(self.rows(rows), rows[..., 0] > 0.5))


def set_loss(prediction: Tensor, rows: Tensor) -> Tensor:
    """Loss ``(N,)`` of predicted against true scaled rows ``(N, M, F)``, nearest first in both.

    Cross-entropy of who is present (column 0 of a prediction is its logit), and the squared error
    of the present ones' features, each summed.
    """
    present = rows[..., 0]
    bce = F.binary_cross_entropy_with_logits(prediction[..., 0], present, reduction="none")
    error = (prediction[..., 1:] - rows[..., 1:]).square().sum(-1)  # (N, M)
    return (bce + error * present).sum(-1)


def space_to_depth(x: Tensor, stride: int) -> Tensor:
    """Fold ``stride x stride`` pixels into channels: ``(N, H, W, C) -> (N, H/s, W/s, s*s*C)``."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // stride, stride, w // stride, stride, c).transpose(2, 3)
    return x.reshape(n, h // stride, w // stride, stride * stride * c)


def depth_to_space(x: Tensor, stride: int) -> Tensor:
    """Inverse of :func:`space_to_depth`."""
    n, h, w, c = x.shape
    x = x.reshape(n, h, w, stride, stride, c // stride**2).transpose(2, 3)
    return x.reshape(n, h * stride, w * stride, c // stride**2)


class _Convolution(nn.Module):
    """Convolution of stride 1 on channels-last images; width 1 is a matrix product."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.layer = linear(in_channels * kernel**2, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel == 1:
            return self.layer(x)
        out, k = self.layer.out_features, self.kernel
        weight = self.layer.weight.view(out, k, k, -1).permute(0, 3, 1, 2)  # (O, C, k, k)
        y = F.conv2d(x.permute(0, 3, 1, 2), weight, self.layer.bias, padding=k // 2)
        return y.permute(0, 2, 3, 1)  # channels last again; a view


class Centre(nn.Module):
    """Pixels from [0, 1] to [-0.5, 0.5]."""

    def forward(self, x: Tensor) -> Tensor:
        return x - 0.5


class ImageEncoder(nn.Module):
    """Patches of an image, ``(N, H/s, W/s, 3*s*s)`` in [0, 1], to an embedding ``(N, E)``.

    The first stage's ``space_to_depth`` is left to the caller (:func:`to_patches`), who shares
    the patches between the encoder's input and the decoder's target.
    """

    def __init__(self, shape: Sequence[int], config: ImageConfig) -> None:
        super().__init__()
        self.strides = config.strides
        pixels = math.prod(shape)
        self.scale = Standardise(pixels, PIXEL_DEVIATION) if config.standardise else Centre()
        self.stages = nn.ModuleList()
        self.norms = nn.ModuleList()
        channels = shape[2]
        for stride, out in zip(config.strides, config.channels, strict=True):
            self.stages.append(_Convolution(channels * stride**2, out, config.kernel))
            smallest = len(self.norms) == len(config.strides) - 1
            self.norms.append(NormSiLU(out) if smallest or config.norm else nn.SiLU())
            channels = out
        height, width = smallest_map(shape, config)
        self.out_size = height * width * channels

    def forward(self, patches: Tensor) -> Tensor:
        x = self.scale(patches.flatten(1)).view_as(patches)
        for i, (stage, norm) in enumerate(zip(self.stages, self.norms, strict=True)):
            x = norm(stage(space_to_depth(x, self.strides[i]) if i else x))
        return x.flatten(1)


class ImageDecoder(nn.Module):
    """Features ``(N, F)`` to the logits of an image's patches ``(N, H/s, W/s, 3*s*s)``."""

    def __init__(self, in_size: int, shape: Sequence[int], config: ImageConfig) -> None:
        super().__init__()
        self.strides = config.strides[::-1]
        outs = (*config.channels[-2::-1], shape[2])
        self.map = (*smallest_map(shape, config), config.channels[-1])
        self.project = linear(in_size, self.map[0] * self.map[1] * self.map[2])
        self.stages = nn.ModuleList()
        self.norms = nn.ModuleList()
        channels = config.channels[-1]
        for stride, out in zip(self.strides, outs, strict=True):
            smallest = not len(self.norms)
            self.norms.append(NormSiLU(channels) if smallest or config.norm else nn.SiLU())
            self.stages.append(_Convolution(channels, out * stride**2, config.kernel))
            channels = out

    def forward(self, feat: Tensor) -> Tensor:
        x = self.project(feat).view(-1, *self.map)
        for i, (stage, norm) in enumerate(zip(self.stages, self.norms, strict=True)):
            x = stage(norm(depth_to_space(x, self.strides[i - 1]) if i else x))
        return x.float()


def smallest_map(shape: Sequence[int], config: ImageConfig) -> tuple[int, int]:
    """Height and width after all stages.

    Raises:
        ValueError: if the image's sides are not multiples of the product of the strides.
    """
    total = 1
    for stride in config.strides:
        total *= stride
    if shape[0] % total or shape[1] % total:
        raise ValueError(f"image sides must be multiples of {total}; got {tuple(shape[:2])}")
    return shape[0] // total, shape[1] // total


def to_patches(image: Tensor, stride: int) -> Tensor:
    """uint8 images ``(N, H, W, C)`` to float patches in [0, 1], ``(N, H/s, W/s, s*s*C)``."""
    return space_to_depth(image, stride).float().mul_(1 / 255)


class _SigmoidSquaredError(torch.autograd.Function):
    """Sum of ``weight * (sigmoid(logits) - target)**2`` over all but the first axis.

    One node instead of five: images are by far the largest tensors, and each pass over them costs
    as much as a small matrix product.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        prediction = torch.sigmoid(logits)
        error = prediction - target
        if weight is None:
            loss = torch.linalg.vector_norm(error.flatten(1), dim=1).square()
        else:
            weighted = error * weight
            loss = torch.linalg.vecdot(error.flatten(1), weighted.flatten(1))
            error = weighted
        # d/dlogits = 2 * weight * error * s * (1 - s); sigmoid_backward gives the last two factors
        ctx.save_for_backward(torch.ops.aten.sigmoid_backward(error, prediction))
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        scale = (2 * grads[0]).view(-1, *[1] * (gradient.dim() - 1))
        return gradient * scale, None, None


def sigmoid_squared_error(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """``sum(weight * (sigmoid(logits) - target)**2)`` for each sample: ``(N, ...) -> (N,)``."""
    loss: Tensor = _SigmoidSquaredError.apply(logits, target, weight)
    return loss


class Symlog(nn.Module):
    """DreamerV3's scale of vector observations, which needs to know nothing about them."""

    def forward(self, x: Tensor) -> Tensor:
        return symlog(x)

    def inverse(self, x: Tensor) -> Tensor:
        """Back to the observation's own units."""
        return symexp(x)


class Standardise(nn.Module):
    """Features ``(..., D)`` to mean 0 and variance 1 of what was seen in training.

    Mean and variance are averages over the first ``WARMUP`` batches that :meth:`learn` sees, and
    stay as they are then: a latent state that was learned on one scale means nothing on another.
    Outliers are clipped.

    Departure from DreamerV3, which squashes by symlog only: driving features move by hundredths of
    their range, so in 2,000 updates the latent state knew the gap to the leader to 7 m.

    Args:
        least_deviation: features that vary less are not blown up any further.
    """

    WARMUP = 50  # [batches]
    LIMIT = 8.0  # [standard deviations]

    mean: Tensor
    square: Tensor
    batches: Tensor

    def __init__(self, size: int, least_deviation: float = 1e-3) -> None:
        super().__init__()
        self.least_deviation = least_deviation
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("square", torch.ones(size))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    @property
    def learning(self) -> bool:
        """Whether another batch still counts."""
        return bool(self.batches < self.WARMUP)

    @torch.no_grad()
    def learn(self, x: Tensor) -> None:
        """Take a batch ``(..., D)`` in, one of the first."""
        if not self.learning:
            return
        x = x.flatten(0, -2)
        self.batches += 1
        share = 1.0 / float(self.batches)
        self.mean.lerp_(x.mean(0), share)
        self.square.lerp_(x.square().mean(0), share)

    def _deviation(self) -> Tensor:
        variance = self.square - self.mean.square()
        return variance.clamp_min(self.least_deviation**2).sqrt()

    def forward(self, x: Tensor) -> Tensor:
        inverse = 1.0 / self._deviation()
        scaled = torch.addcmul(-self.mean * inverse, x, inverse)  # one pass over many pixels
        return scaled.clamp_(-self.LIMIT, self.LIMIT)

    def inverse(self, x: Tensor) -> Tensor:
        """Back to the observation's own units."""
        return x * self._deviation() + self.mean
