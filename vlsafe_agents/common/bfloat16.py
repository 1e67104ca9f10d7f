"""Where halved precision pays."""

from __future__ import annotations

import torch as th


def bfloat16_is_fast(device: th.device) -> bool:
    """Whether a device multiplies matrices in bfloat16 faster than in float32."""
    if device.type != "cpu":
        return True
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # of PyTorch 2.6 and later
    return any(getattr(th.cpu, name, lambda: False)() for name in names)
