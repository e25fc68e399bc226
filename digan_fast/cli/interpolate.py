"""``digan-fast interpolate``."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from digan_fast.cli.arguments import Seed, Seeds, UsageError
from digan_fast.cli.options import OWN_DEFAULT, RenderOptions

if TYPE_CHECKING:
    from torch import Tensor

    from digan_fast.networks import Generator


@dataclass(frozen=True, kw_only=True)
class InterpolateOptions(RenderOptions):
    """From each seed's video to the next one's.

    Content moves on straight lines between the seeds' ws, after the mapping network; motion on
    great circles between their z_motion, since a line between two normal vectors passes through
    shorter ones than any in training. In a morph, time and latents move together: time runs over
    --times in --frames frames, then back, and so on.
    """

    seeds: Seeds = (0, 1, 2)
    """Two seeds or more, such as 0,1,5-8."""
    mode: Literal["content", "motion", "both"] = "content"
    """What goes from seed to seed; the other one stays that of the first seed."""
    motion_seed: Annotated[Seed | None, OWN_DEFAULT] = None
    """With --mode content: the motion that stays; default: the first of the seeds."""
    view: Literal["morph", "grid"] = "morph"
    """morph: one long video. grid: a row of videos from each seed to the next."""
    steps: Annotated[int | None, OWN_DEFAULT] = None
    """morph: frames for each leg (default: 48). grid: videos in a row, ends too (default: 6)."""


def run(options: InterpolateOptions) -> None:
    """Write the video."""
    _check(options)
    from digan_fast.cli import rendering

    rendering.check(options)
    legs = len(options.seeds) - 1
    grid = options.view == "grid"
    steps = options.steps or (6 if grid else 48)
    tiles = (1, 1)
    if grid:
        tiles = (steps, legs) if options.grid is None else rendering.grid_of(options, steps * legs)
    generator = rendering.load_generator(options)
    ws, z_motion = _path(generator, options, steps)
    times = rendering.time_line(options)
    if not grid:
        times = _there_and_back(times, len(ws))
    stream = rendering.videos if grid else rendering.morph
    frames = stream(generator, ws, z_motion, times, options)
    rendering.write(options.out, frames, len(times), tiles, options)


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


def _path(generator: Generator, options: InterpolateOptions, steps: int) -> tuple[Tensor, Tensor]:
    """ws [N, num_ws, w_dim] and z_motion [N, w_dim]: one leg after the other.

    In a grid every leg has both its ends; otherwise the end of one is the start of the next.
    """
    import torch

    from digan_fast.cli import rendering
    from digan_fast.networks import latents

    seeds = options.seeds
    first = seeds[0] if options.motion_seed is None else options.motion_seed
    contents = seeds if options.mode != "motion" else seeds[:1] * len(seeds)
    motions = seeds if options.mode != "content" else (first,) * len(seeds)
    ws = rendering.content_ws(generator, contents, options)
    z_motion = rendering.motion_vectors(generator, motions)
    if options.view == "grid":
        fractions = torch.linspace(0, 1, steps, device=ws.device)
    else:
        fractions = torch.arange(steps, device=ws.device) / steps
    weights = fractions.view(-1, 1, 1)
    points = [torch.lerp(a, b, weights) for a, b in itertools.pairwise(ws)]
    turns = [latents.spherical(a, b, fractions) for a, b in itertools.pairwise(z_motion)]
    if options.view == "morph":
        points.append(ws[-1:])
        turns.append(z_motion[-1:])
    return torch.cat(points), torch.cat(turns)


def _there_and_back(times: Tensor, count: int) -> Tensor:
    """`count` times that run over `times`, then back, and so on."""
    import torch

    period = max(1, 2 * (len(times) - 1))
    place = torch.arange(count) % period
    return times[torch.minimum(place, period - place)]
