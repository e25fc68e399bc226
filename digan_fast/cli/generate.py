"""``digan-fast generate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from digan_fast.cli.arguments import MaybeSeeds, Seeds
from digan_fast.cli.errors import UsageError
from digan_fast.cli.options import RenderOptions


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(RenderOptions):
    """Videos from seeds, or the video of a file.

    Instead of a snapshot, a file of digan-fast fit, digan-fast project or VideoINR.save is
    played, at any size, rate and time; it has no seeds.

    A content seed s gives z = randn(z_dim), and a motion seed z_motion = randn(w_dim), each from
    its own torch.Generator on the CPU (motion: seeded with s xor 0x6D6F7469), so the same
    seeds give the same latents on every machine. Several seeds are tiled into one video; if
    the output's name contains {seed}, each gets its own file.
    """

    seeds: Seeds = (0,)
    """Content seeds, such as 0,1,5-8."""
    motion_seed: Annotated[MaybeSeeds, tyro.conf.arg(aliases=["--motion-seeds"], help_behavior_hint="")] = None
    """One motion seed for all videos, or one for each; default: the content seeds."""


def run(options: GenerateOptions) -> None:
    """Write the videos."""
    from digan_fast.cli import grid as on_grid
    from digan_fast.cli import stored, streams
    from digan_fast.networks import generators

    streams.check(options)
    if options.snapshot is not None and stored.is_video(options.snapshot):
        _check_no_seeds(options)
        stored.play(options.snapshot, options)
        return
    seeds, motions = options.seeds, _motion_seeds(options)
    apart = "{seed}" in str(options.out)
    if apart and options.grid is not None:
        raise UsageError("--grid: with {seed} in --out each video has a file of its own")
    if apart and len(set(seeds)) < len(seeds):
        raise UsageError("--seeds: with {seed} in --out each may be there once")
    for seed in seeds if apart else seeds[:1]:
        streams.check_target(_path(options, seed))
    grid = (1, 1) if apart else streams.grid_of(options, len(seeds))
    times = streams.time_line(options)
    if options.snapshot is not None and on_grid.generator_kind(options.snapshot) != generators.DEFAULT:
        if options.motion_seed is not None:
            raise UsageError("--motion-seed: a generator on a pixel grid has no motion vectors")
        made = on_grid.load(options.snapshot, options)
        for contents in [(s,) for s in seeds] if apart else [seeds]:
            frames = on_grid.clips(made, contents, options)
            streams.write(_path(options, contents[0]), frames, len(times), grid, options)
        return
    generator = streams.load_generator(options)
    batches = [((s,), (m,)) for s, m in zip(seeds, motions, strict=True)]
    for contents, movements in batches if apart else [(seeds, motions)]:
        frames = streams.videos(
            generator,
            streams.content_ws(generator, contents, options),
            streams.motion_vectors(generator, movements),
            times,
            options,
        )
        streams.write(_path(options, contents[0]), frames, len(times), grid, options)


def _check_no_seeds(options: GenerateOptions) -> None:
    """Raises UsageError if a file's video is to depend on seeds."""
    for name, given in (("seeds", options.seeds != (0,)), ("motion-seed", options.motion_seed is not None)):
        if given:
            raise UsageError(f"--{name}: {options.snapshot} holds a video, expected a snapshot")
    if "{seed}" in str(options.out):
        raise UsageError(f"--out: {options.out} names a seed, but {options.snapshot} holds a video")


def _path(options: GenerateOptions, seed: int) -> Path:
    return Path(str(options.out).replace("{seed}", str(seed)))


def _motion_seeds(options: GenerateOptions) -> tuple[int, ...]:
    count = len(options.seeds)
    if options.motion_seed is None:
        return options.seeds
    if len(options.motion_seed) not in (1, count):
        found = len(options.motion_seed)
        raise UsageError(f"--motion-seed: {found} seeds, expected 1, or {count} as in --seeds")
    return options.motion_seed * (count // len(options.motion_seed))
