"""``digan-fast motions``."""

from __future__ import annotations

from dataclasses import dataclass

from digan_fast.cli.arguments import Seed, Seeds
from digan_fast.cli.options import RenderOptions


@dataclass(frozen=True, kw_only=True)
class MotionsOptions(RenderOptions):
    """One content with many motions, side by side.

    Seeds are as for `digan-fast generate`: a tile shows the video of `generate --seeds SEED
    --motion-seed MOTION`.
    """

    seed: Seed = 0
    """The content seed."""
    motion_seeds: Seeds = (0, 1, 2, 3, 4, 5, 6, 7)
    """Motion seeds, such as 0,1,5-8."""


def run(options: MotionsOptions) -> None:
    """Write the grid of videos."""
    from digan_fast.cli import streams

    streams.check(options)
    count = len(options.motion_seeds)
    grid = streams.grid_of(options, count)
    generator = streams.load_generator(options)
    times = streams.time_line(options)
    ws = streams.content_ws(generator, [options.seed], options)
    z_motion = streams.motion_vectors(generator, options.motion_seeds)
    frames = streams.videos(generator, ws.repeat(count, 1, 1), z_motion, times, options)
    streams.write(options.out, frames, len(times), grid, options)
