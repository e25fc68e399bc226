"""Discriminators of pairs of frames behind one protocol; each file in this folder registers one by name.

Training asks a discriminator for its heads and snapshots store its name, so neither depends on a class.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

from torch import Tensor

# The kind of snapshots that do not name one.
DEFAULT = "digan"


class Head(NamedTuple):
    """The logits [N, 1] of one head, and the tensor [N, …] with respect to which its R1 penalty differentiates them."""

    logits: Tensor
    penalised: Tensor


class Judgement(Protocol):
    """What a discriminator returns; a tuple of tensors, so that network wrappers can pass it on."""

    def heads(self, pairs: Tensor) -> Mapping[str, Head]:
        """Each head by the name of its terms in the log.

        pairs [B, 2C + 1, H, W] are the batch before augmentation.
        """


class PairDiscriminator(Protocol):
    """What training and snapshots need of a discriminator, a ``torch.nn.Module``.

    ``init_kwargs`` are the constructor's arguments as plain JSON data.  A discriminator whose heads share nothing may
    have ``head_names``: it is then called with ``head=name`` for one after the other, and only one head's activations
    are held at a time.  It is also called with ``recompute``, true under a gradient penalty: it may then hold less and
    compute more.
    """

    init_kwargs: dict[str, Any]

    @classmethod
    def training_kwargs(
        cls,
        *,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        channel_base: int,
        channel_max: int,
        group: int,
    ) -> dict[str, Any]:
        """The constructor's arguments for training.

        There are min(channel_base/R, channel_max) channels at side R; ``group`` divides every batch.
        """

    def set_precision(self, precision: str) -> None:
        """Compute in ``float32`` or ``bfloat16``.  Raises ValueError for anything else."""

    def __call__(self, pairs: Tensor, c: Tensor | None = None, /) -> Judgement:
        """pairs [B, 2C + 1, H, W]: two frames in [−1, 1] and the plane of their Δt; labels c [B, c_dim]."""


_Kind = TypeVar("_Kind", bound=PairDiscriminator)
_kinds: dict[str, type[Any]] = {}


def register(name: str) -> Callable[[type[_Kind]], type[_Kind]]:
    """A decorator that registers a discriminator as ``name``.  Raises ValueError if the name is taken."""

    def registered(kind: type[_Kind]) -> type[_Kind]:
        other = _kinds.get(name)
        if other is not None and (other.__module__, other.__qualname__) != (kind.__module__, kind.__qualname__):
            raise ValueError(f"register: {name!r} is {other.__module__}.{other.__qualname__} already")
        _kinds[name] = kind
        return kind

    return registered


def named(name: str) -> type[Any]:
    """The discriminator of this name.  Raises ValueError if there is none."""
    if name not in _kinds:
        raise ValueError(f"discriminator: {name!r}, expected one of {', '.join(_kinds)}")
    return _kinds[name]


def kinds() -> tuple[str, ...]:
    """The names that are registered."""
    return tuple(_kinds)


def name_of(network: object) -> str | None:
    """The name under which a network's class is registered, or the nearest of its bases; None if none is."""
    names = {kind: name for name, kind in _kinds.items()}
    return next((names[kind] for kind in type(network).__mro__ if kind in names), None)


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
