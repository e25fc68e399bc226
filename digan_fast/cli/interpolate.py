"""``digan-fast interpolate``."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from digan_fast.cli.arguments import Seed, Seeds
from digan_fast.cli.errors import UsageError
from digan_fast.cli.options import OWN_DEFAULT, RenderOptions
from digan_fast.cli.presentation import GivenPath

if TYPE_CHECKING:
    from torch import Tensor

    from digan_fast.cli.projected import Points
    from digan_fast.inr import Tuning
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
    """Two seeds or more, such as 0,1,5-8; after projected clips one is enough."""
    projected: tuple[GivenPath, ...] = ()
    """Files of digan-fast project, from whose videos the first legs start; the seeds follow."""
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
    from digan_fast.cli import stored, streams

    streams.check(options)
    stored.check_snapshot(options.snapshot, "pass it as --projected FILE")
    legs = len(options.projected) + len(options.seeds) - 1
    grid = options.view == "grid"
    steps = options.steps or (6 if grid else 48)
    tiles = (1, 1)
    if grid:
        tiles = (steps, legs) if options.grid is None else streams.grid_of(options, steps * legs)
    generator = streams.load_generator(options)
    stations = _stations(generator, options)
    times = streams.time_line(options)
    if grid:
        rows = _rows(stations, steps)
        frames = streams.videos(generator, rows.ws, rows.z_motion, times, options, rows.tuning)
        count = len(times)
    else:
        frames = streams.morph(generator, _moments(stations, times, steps), options)
        count = legs * steps + 1
    streams.write(options.out, frames, count, tiles, options)


def _check(options: InterpolateOptions) -> None:
    morph = options.view == "morph"
    if len(options.projected) + len(options.seeds) < 2:
        raise UsageError(f"--seeds: {len(options.seeds)} seed, expected two or more")
    if options.steps is not None and options.steps < (1 if morph else 2):
        raise UsageError(f"--steps: {options.steps}, expected {1 if morph else 2} or more")
    if options.motion_seed is not None and options.mode != "content":
        raise UsageError("--motion-seed: only with --mode content does one motion stay")
    if options.motion_seed is not None and options.projected:
        raise UsageError("--motion-seed: with --projected the motion is that of the first file")
    if morph and options.loop:
        raise UsageError("--loop: a morph runs over its times forwards and backwards already")
    if morph and options.grid is not None:
        raise UsageError("--grid: only with --view grid are there several videos")
    if morph and options.out.suffix.lower() == ".png":
        raise UsageError("--out: a .png needs --view grid")


def _stations(generator: Generator, options: InterpolateOptions) -> Points:
    """The points of the projected clips and then of the seeds; what does not change is that of the first."""
    from digan_fast.cli import streams
    from digan_fast.cli.projected import Points, projected

    seeds = options.seeds
    motions = seeds if options.motion_seed is None else (options.motion_seed,) * len(seeds)
    ws = streams.content_ws(generator, seeds, options)
    points = Points(ws, streams.motion_vectors(generator, motions))
    if options.projected:
        points = projected(generator, options.projected) + points
    first, count = [0] * len(points.ws), len(points.ws)
    if options.mode == "content":
        return Points(points.ws, points.z_motion[first], points.tuning)
    if options.mode == "motion":
        return Points(
            points.ws[first], points.z_motion, points.tuned(lambda added: added[:1].expand(count, *added.shape[1:]))
        )
    return points


def _rows(stations: Points, steps: int) -> Points:
    """Each leg's `steps` points, both ends included, leg by leg."""
    import torch

    from digan_fast.cli.projected import Points
    from digan_fast.networks import latents

    fractions = torch.linspace(0, 1, steps, device=stations.ws.device)

    def line(values: Tensor) -> Tensor:
        along = fractions.view(-1, *[1] * (values.ndim - 1))
        return torch.cat([torch.lerp(a, b, along) for a, b in itertools.pairwise(values)])

    turns = [latents.spherical(a, b, fractions) for a, b in itertools.pairwise(stations.z_motion)]
    return Points(line(stations.ws), torch.cat(turns), stations.tuned(line))


def _moments(stations: Points, times: Tensor, steps: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tuning | None]]:
    """The frames of a morph in batches: ws [N, num_ws, w_dim], z_motion [N, w_dim], times [N] and tunings [N, …].

    Each leg has `steps` frames and excludes its end, which starts the next leg; the last station has one frame. Times
    run over `times`, then back, and so on.
    """
    import torch

    from digan_fast.cli.streams import TOGETHER
    from digan_fast.networks import latents

    ws, z_motion = stations.ws, stations.z_motion
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
        line = functools.partial(_between, starts=starts, ends=ends, fractions=fractions)
        yield line(ws), torch.cat(turns), times[places], stations.tuned(line)


def _between(values: Tensor, starts: list[int], ends: list[int], fractions: Tensor) -> Tensor:
    """On the straight lines from values[starts] to values[ends], at fractions [N]."""
    import torch

    return torch.lerp(values[starts], values[ends], fractions.view(-1, *[1] * (values.ndim - 1)))
