"""Discriminators behind one protocol; each file in this folder registers one by name.

A discriminator judges pairs of frames, or clips, of which each of its heads is shown what its view selects.  Training
asks it for its heads, views and recipe, and snapshots store its name, so neither depends on a class.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from torch import Tensor

# The kind of snapshots that do not name one.
DEFAULT = "digan"


class Head(NamedTuple):
    """The logits [N, 1] of one head, and the tensor [N, …] with respect to which its R1 penalty differentiates them."""

    logits: Tensor
    penalised: Tensor


class Judgement(Protocol):
    """What a discriminator returns; a tuple of tensors, so that network wrappers can pass it on."""

    def heads(self, shown: Tensor) -> Mapping[str, Head]:
        """Each head by the name of its terms in the log.

        ``shown`` is what was judged, before augmentation: pairs [B, 2C + 1, H, W], or a view of clips.
        """


@dataclass(frozen=True)
class View:
    """What one head is shown of a clip [B, T, C, R, R]: frames [B, K, C, S, S].

    frames: K, drawn at random without repetition, in ascending order; None is all T.
    reduction: one of :data:`digan_fast.networks.reduction.REDUCTIONS`, from side R to S.
    """

    frames: int | None = None
    reduction: str = "none"


@dataclass(frozen=True)
class Recipe:
    """How a discriminator is trained unless options say otherwise.

    loss: ``logistic``, softplus(∓logits), or ``hinge``, max(0, 1 ∓ logits), the generator's loss then being −logits.
    d_steps: steps of the discriminator, each with a batch of its own, for every step of the generator.
    lr, d_lr: the learning rates of the generator and the discriminator; None for the loop's own.
    frames: of each clip, those that are judged one by one, or all of a shorter clip.
    """

    loss: Literal["logistic", "hinge"] = "logistic"
    d_steps: int = 1
    r1_gamma: float = 1.0
    lr: float | None = None
    d_lr: float | None = None
    frames: int = 8


class AnyDiscriminator(Protocol):
    """What training and snapshots need of every discriminator, a ``torch.nn.Module``.

    ``init_kwargs`` are the constructor's arguments as plain JSON data; without a ``recipe``, that is ``Recipe()``.  One
    with a method ``advance`` has it called before each phase that trains it, in all processes alike: state that moves
    with every step, such as that of power iterations, moves there and not in ``forward``, so that it does not depend
    on how a batch is divided.
    """

    init_kwargs: dict[str, Any]

    def set_precision(self, precision: str) -> None:
        """Compute in ``float32`` or ``bfloat16``.  Raises ValueError for anything else."""


class PairDiscriminator(AnyDiscriminator, Protocol):
    """A discriminator of pairs of frames.

    If its heads share nothing it may have ``head_names``: it is then called with ``head=name`` for one after the other,
    and only one head's activations are held at a time.  It is also called with ``recompute``, true under a gradient
    penalty: it may then hold less and compute more.
    """

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

    def __call__(self, pairs: Tensor, c: Tensor | None = None, /) -> Judgement:
        """pairs [B, 2C + 1, H, W]: two frames in [−1, 1] and the plane of their Δt; labels c [B, c_dim]."""


class ClipDiscriminator(AnyDiscriminator, Protocol):
    """A discriminator of clips.

    ``judges_clips`` is true; ``views``: what each head is shown.  An INR renders only that: K frames, at the reduced
    side if the reduction is ``render``.  Heads are judged one after the other, so only one head's activations are held
    at a time.
    """

    judges_clips: bool
    img_resolution: int
    views: Mapping[str, View]

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
        clip_length: int,
        frames: int,
        reduction: str,
    ) -> dict[str, Any]:
        """As for pairs; ``frames`` of ``clip_length`` are judged one by one, the whole clip through ``reduction``."""

    def __call__(self, shown: Tensor, c: Tensor | None = None, /, *, head: str) -> Judgement:
        """shown [B, K, C, S, S]: frames in [−1, 1], as the head's view selects them; labels c [B, c_dim]."""


_Kind = TypeVar("_Kind", bound=AnyDiscriminator)
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


def judges_clips(name: str) -> bool:
    """Whether the discriminator of this name is a :class:`ClipDiscriminator`.  Raises ValueError if there is none."""
    return bool(getattr(named(name), "judges_clips", False))


def recipe(name: str) -> Recipe:
    """How the discriminator of this name is trained.  Raises ValueError if there is none."""
    found: Recipe = getattr(named(name), "recipe", Recipe())
    return found


def kinds() -> tuple[str, ...]:
    """The names that are registered."""
    return tuple(_kinds)


def name_of(network: object) -> str | None:
    """The name under which a network's class is registered, or the nearest of its bases; None if none is."""
    names = {kind: name for name, kind in _kinds.items()}
    return next((names[kind] for kind in type(network).__mro__ if kind in names), None)


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
