"""Lower precisions must be requested by name; nothing else lowers precision."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

# Training precisions, and their types of weights and activations.
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Mixed, as in the published training: float16 at this many of the highest levels on a GPU, otherwise float32;
# activations are clamped to stay in its range.
MIXED, MIXED_LEVELS, MIXED_CLAMP = "mixed", 4, 256
TRAINING_PRECISIONS = (*PRECISIONS, MIXED)
# Precisions of coordinate MLPs.
MLP_PRECISIONS = (*PRECISIONS, "float16")
# Precisions of rendering without gradients.
RENDER_PRECISIONS = (*PRECISIONS, "int8")

Function = TypeVar("Function", bound=Callable[..., Any])


def computes_half(tensor: torch.Tensor) -> bool:
    """Whether mixed precision has float16 where the tensor is: on GPUs."""
    return tensor.is_cuda


def full_precision(function: Function) -> Function:
    """Disable autocast in a function: it computes in the types of its inputs, forward and backward."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not (torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")):
            return function(*args, **kwargs)
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return function(*args, **kwargs)

    return cast("Function", run)
