"""Where networks run."""

from __future__ import annotations

import torch


def device_of(name: str) -> torch.device:
    """The PyTorch device of a name.

    Raises:
        ValueError: for one that PyTorch does not know, or cannot use on this machine.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"device={name!r} cannot be used here ({reason}); use 'cpu'") from None
    return device
