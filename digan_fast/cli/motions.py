"""``digan-fast motions``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from digan_fast.cli.arguments import Seed, Seeds
from digan_fast.cli.errors import UsageError
from digan_fast.cli.options import OWN_DEFAULT, RenderOptions
from digan_fast.cli.presentation import MaybePath


@dataclass(frozen=True, kw_only=True)
class MotionsOptions(RenderOptions):
    """One content with many motions, side by side.

    Seeds are as for `digan-fast generate`: a tile shows the video of `generate --seeds SEED
    --motion-seed MOTION`.
    """

    seed: Seed = 0
    """The content seed."""
    projected: Annotated[MaybePath, OWN_DEFAULT] = None
    """A file of digan-fast project, whose content moves instead of the seed's."""
    motion_seeds: Seeds = (0, 1, 2, 3, 4, 5, 6, 7)
    """Motion seeds, such as 0,1,5-8."""


def run(options: MotionsOptions) -> None:
    """Write the grid of videos."""
    from digan_fast.cli import projected, stored, streams
    from digan_fast.inr import without_motion

    streams.check(options)
    if options.projected is not None and options.seed:
        raise UsageError("--seed: with --projected the content is that of the file")
    stored.check_snapshot(options.snapshot, "pass it as --projected FILE")
    count = len(options.motion_seeds)
    grid = streams.grid_of(options, count)
    generator = streams.load_generator(options)
    times = streams.time_line(options)
    z_motion = streams.motion_vectors(generator, options.motion_seeds)
    if options.projected is None:
        ws, added = streams.content_ws(generator, [options.seed], options), None
    else:
        point = projected.projected(generator, [options.projected])
        ws, added = point.ws, without_motion(point.tuning or {})
    frames = streams.videos(generator, ws.repeat(count, 1, 1), z_motion, times, options, added)
    streams.write(options.out, frames, len(times), grid, options)
