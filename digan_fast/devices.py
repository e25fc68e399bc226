"""Devices by name."""

from __future__ import annotations

import torch


def usable_device(name: str) -> torch.device:
    """The device of this name.  Raises ValueError where torch can compute nothing there."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device: {name!r} cannot be used: {reason}") from error
    return device
