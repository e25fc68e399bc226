"""The losses for discriminators of clips: what each head is shown, and how an INR renders no more than that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from digan_fast.inr import VideoINR
from digan_fast.networks.discriminators import ClipDiscriminator, View
from digan_fast.networks.reduction import reduced, side_of
from digan_fast.training.augment import DiffAugment
from digan_fast.training.draws import of_batch
from digan_fast.training.loss import Heads, Loss, Shown

# Frames [B, K, C, S, S] of B videos, for the numbers of K frames [B, K], or None for all, and a side S or None.
Frames = Callable[[Tensor | None, int | None], Tensor]


@runtime_checkable
class MakesClips(Protocol):
    """What is needed of the synthesis of a grid generator."""

    def clips(self, ws: Tensor, z_motion: Tensor, length: int, /) -> Tensor:
        """Clips [B, T, C, R, R] of ``length`` frames."""


class MakesINRs(Protocol):
    """What is needed of the synthesis of other generators."""

    precision: str
    checkpoint: bool

    def why_not_inr(self) -> str | None:
        """Why there is no INR; None if there is one."""

    def inr(self, ws: Tensor, z_motion: Tensor, /) -> VideoINR:
        """The INRs of B videos."""

    def __call__(self, ws: Tensor, times: Tensor, z_motion: Tensor, /) -> Tensor:
        """Frames [B·K, C, R, R] at times [B·K, 1, 1, 1]."""


class ClipLoss(Loss):
    """As :class:`Loss`, for a ``ClipDiscriminator`` and clips [B, T, C, R, R].

    Random draws follow this order: motion vectors, mixing, then each view's frames and offsets.
    """

    def __init__(
        self,
        mapping: nn.Module,
        synthesis: nn.Module,
        discriminator: nn.Module,
        w_dim: int,
        clip_length: int,
        augment: DiffAugment,
        **options: Any,
    ) -> None:
        super().__init__(mapping, synthesis, discriminator, w_dim, **options)
        self.makes = cast(MakesClips | MakesINRs, synthesis)
        self.judge = cast(ClipDiscriminator, discriminator)
        self.clip_length = clip_length
        self.augment = augment.clips

    def _shown_fakes(self, z: Tensor, c: Tensor) -> Shown:
        ws, z_motion = self._latents(z, c)
        return self._views(_frames_of(self.makes, ws, z_motion, self.clip_length), len(z))

    def _shown_reals(self, real: Tensor) -> Shown:
        def frames(chosen: Tensor | None, side: int | None) -> Tensor:
            found = _chosen(real, chosen)
            return found if side is None else reduced(found, "render")

        return self._views(frames, len(real))

    def _views(self, frames: Frames, batch: int) -> Shown:
        return {name: self._view(view, frames, batch) for name, view in self.judge.views.items()}

    def _view(self, view: View, frames: Frames, batch: int) -> Tensor:
        chosen = None
        if view.frames is not None:
            order = of_batch(lambda rows: torch.rand(rows, self.clip_length), batch).argsort(dim=1)
            chosen = order[:, : view.frames].sort(dim=1).values
        if view.reduction == "render":
            return frames(chosen, side_of("render", self.judge.img_resolution))
        shown = frames(chosen, None)
        offsets = None
        if view.reduction == "crop":
            most = shown.shape[-1] - side_of("crop", shown.shape[-1])
            offsets = of_batch(lambda rows: torch.randint(0, most + 1, [rows, 2]), batch)
        return reduced(shown, view.reduction, offsets)

    def _judge(self, augmented: Shown, c: Tensor, shown: Shown, penalised: bool = False) -> Iterator[Heads]:
        for name in self.judge.views:
            yield self.judge(augmented[name], c, head=name).heads(shown[name])


def _chosen(clips: Tensor, chosen: Tensor | None) -> Tensor:
    """Frames [B, K, …] of clips [B, T, …], by their numbers [B, K]."""
    if chosen is None:
        return clips
    chosen = chosen.to(clips.device)
    return clips[torch.arange(len(clips), device=clips.device)[:, None], chosen]


def _frames_of(synthesis: MakesClips | MakesINRs, ws: Tensor, z_motion: Tensor, length: int) -> Frames:
    """The frames of generated clips: an INR renders those that are asked for, a grid generator makes all of them."""
    if isinstance(synthesis, MakesClips):
        clips = synthesis.clips(ws, z_motion, length)
        return lambda chosen, side: _chosen(clips, chosen)
    times = torch.linspace(0, 1, length, device=ws.device).expand(len(ws), -1)
    if synthesis.why_not_inr() is not None:
        return lambda chosen, side: _published(synthesis, ws, z_motion, _chosen(times, chosen))
    inr = synthesis.inr(ws, z_motion)

    def rendered(chosen: Tensor | None, side: int | None) -> Tensor:
        shown = _chosen(times, chosen)
        return inr.render(shown, size=side, precision=synthesis.precision, checkpoint=synthesis.checkpoint)

    return rendered


def _published(synthesis: MakesINRs, ws: Tensor, z_motion: Tensor, times: Tensor) -> Tensor:
    """Frames of a generator without an INR, at times [B, K]."""
    return synthesis(ws, times.reshape(-1, 1, 1, 1), z_motion).unflatten(0, times.shape)
