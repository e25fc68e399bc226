"""The options of coordinate MLPs, checked alike for a function's layers and a module's."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from digan_fast.precision import MLP_PRECISIONS
from digan_fast.reference.coord_mlp import MLP_ACTIVATIONS

_LARGEST_OMEGA = torch.finfo(torch.float32).max


def checked_activation(activation: str, name: str = "activation") -> str:
    """The activation; raises ValueError if coordinate MLPs have none of this name."""
    if not isinstance(activation, str) or activation not in MLP_ACTIVATIONS:
        raise ValueError(f"{name}: {activation!r}, expected one of {', '.join(MLP_ACTIVATIONS)}")
    return activation


def checked_omega(omega: float, name: str = "omega") -> float:
    """The frequency as a float.

    Raises ValueError for what is no number, or none that float32 holds, and for a tensor that requires a gradient.
    """
    plain = isinstance(omega, int | float)  # all that a compiled graph asks
    refused = not plain and (isinstance(omega, Sequence | None) or getattr(omega, "requires_grad", False))
    number = math.nan if refused else float(omega)
    if not abs(number) <= _LARGEST_OMEGA:  # not by isfinite, which graphs that take any omega do not have
        raise ValueError(f"{name}: {omega!r}, expected a finite number")
    return number


def checked_precision(precision: str) -> str:
    """The precision; raises ValueError if coordinate MLPs have none of this name."""
    if precision not in MLP_PRECISIONS:
        raise ValueError(f"precision: {precision!r}, expected one of {', '.join(MLP_PRECISIONS)}")
    return precision
