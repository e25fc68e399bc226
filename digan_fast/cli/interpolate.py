"""``digan-fast interpolate``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from digan_fast.cli.arguments import Seed, Seeds
from digan_fast.cli.errors import UsageError
from digan_fast.cli.options import OWN_DEFAULT, RenderOptions

if TYPE_CHECKING:
    from torch import Tensor

    from digan_fast.networks import Generator


@dataclass(frozen=True, kw_only=True)
class InterpolateOptions(RenderOptions):
    """From each seed's video to the next.

    Content moves along straight lines between the seeds' ws, after the mapping network; motion
    along great circles between their z_motion, since a line between two normal vectors passes
    through shorter ones than any seen in training. In a morph, time and latents move together:
    time runs over --times in --frames frames, then back, and so on.
    """

    seeds: Seeds = (0, 1, 2)
    """Two seeds or more, such as 0,1,5-8."""
    mode: Literal["content", "motion", "both"] = "content"
    """What changes from seed to seed; the other stays that of the first seed."""
    motion_seed: Annotated[Seed | None, OWN_DEFAULT] = None
    """With --mode content: the seed of the fixed motion; default: the first of the seeds."""
    view: Literal["morph", "grid"] = "morph"
    """morph: one long video. grid: a row of videos from each seed to the next."""
    steps: Annotated[int | None, OWN_DEFAULT] = None
    """morph: frames for each leg (default: 48). grid: videos per row, both ends included (default: 6)."""


def run(options: InterpolateOptions) -> None:
    """Write the video."""
    _check(options)
    from digan_fast.cli import streams

    streams.check(options)
    legs = len(options.seeds) - 1
    grid = options.view == "grid"
    steps = options.steps or (6 if grid else 48)
    tiles = (1, 1)
    if grid:
        tiles = (steps, legs) if options.grid is None else streams.grid_of(options, steps * legs)
    generator = streams.load_generator(options)
    ws, z_motion = _stations(generator, options)
    times = streams.time_line(options)
    if grid:
        frames = streams.videos(generator, *_rows(ws, z_motion, steps), times, options)
        count = len(times)
    else:
        frames = streams.morph(generator, _moments(ws, z_motion, times, steps), options)
        count = legs * steps + 1
    streams.write(options.out, frames, count, tiles, options)


def _check(options: InterpolateOptions) -> None:
    morph = options.view == "morph"
    if len(options.seeds) < 2:
        raise UsageError(f"--seeds: {len(options.seeds)} seed, expected two or more")
    if options.steps is not None and options.steps < (1 if morph else 2):
        raise UsageError(f"--steps: {options.steps}, expected {1 if morph else 2} or more")
    if options.motion_seed is not None and options.mode != "content":
        raise UsageError("--motion-seed: only with --mode content does one motion stay")
    if morph and options.grid is not None:
        raise UsageError("--grid: only with --view grid are there several videos")
    if morph and options.out.suffix.lower() == ".png":
        raise UsageError("--out: a .png needs --view grid")


def _stations(generator: Generator, options: InterpolateOptions) -> tuple[Tensor, Tensor]:
    """ws [S, num_ws, w_dim] and z_motion [S, w_dim] at the seeds."""
    from digan_fast.cli import streams

    seeds = options.seeds
    first = seeds[0] if options.motion_seed is None else options.motion_seed
    contents = seeds if options.mode != "motion" else seeds[:1] * len(seeds)
    motions = seeds if options.mode != "content" else (first,) * len(seeds)
    return streams.content_ws(generator, contents, options), streams.motion_vectors(generator, motions)


def _rows(ws: Tensor, z_motion: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Each leg's `steps` points, both ends included, leg by leg: ws [B, num_ws, w_dim], z_motion [B, w_dim]."""
    import torch

    from digan_fast.networks import latents

    fractions = torch.linspace(0, 1, steps, device=ws.device)
    points = [torch.lerp(a, b, fractions.view(-1, 1, 1)) for a, b in itertools.pairwise(ws)]
    turns = [latents.spherical(a, b, fractions) for a, b in itertools.pairwise(z_motion)]
    return torch.cat(points), torch.cat(turns)


def _moments(ws: Tensor, z_motion: Tensor, times: Tensor, steps: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The frames of a morph in batches: ws [N, num_ws, w_dim], z_motion [N, w_dim] and times [N].

    Each leg has `steps` frames and excludes its end, which starts the next leg; the last seed has one frame. Times run
    over `times`, then back, and so on.
    """
    import torch

    from digan_fast.cli.streams import TOGETHER
    from digan_fast.networks import latents

    last = len(ws) - 1
    period = max(1, 2 * (len(times) - 1))
    count = last * steps + 1
    for first in range(0, count, TOGETHER):
        frames = range(first, min(first + TOGETHER, count))
        starts = [frame // steps for frame in frames]
        ends = [min(start + 1, last) for start in starts]
        fractions = torch.tensor([frame % steps / steps for frame in frames], device=ws.device)
        turns = [
            latents.spherical(z_motion[start], z_motion[end], fraction)
            for start, end, fraction in zip(starts, ends, fractions.split(1), strict=True)
        ]
        places = [min(frame % period, period - frame % period) for frame in frames]
        yield torch.lerp(ws[starts], ws[ends], fractions.view(-1, 1, 1)), torch.cat(turns), times[places]
