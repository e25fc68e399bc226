"""``digan-fast data pack``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from digan_fast.cli.data_options import DataOptions, option_names
from digan_fast.cli.errors import UsageError, by_option
from digan_fast.cli.options import OWN_DEFAULT
from digan_fast.cli.presentation import GivenPath


@dataclass(frozen=True, kw_only=True)
class PackOptions(DataOptions):
    """Decode a data set once, into one file with random access to its frames.

    A killed packing goes on where it was when the command is repeated. Videos that are broken or
    too short are left out, and listed.
    """

    resolution: int
    """Side of the frames, which are cropped to squares."""
    out: GivenPath
    """The packed file."""
    encoding: Literal["raw", "jpeg"] = "raw"
    """raw: 3·resolution² bytes a frame, exact; jpeg: several times less, of the given quality,
    colours not subsampled."""
    quality: int = 95
    """Quality of jpeg, 1 to 100."""
    crop: Literal["center", "left", "right"] = "center"
    """Square to crop from each frame."""
    frames: Annotated[str, tyro.conf.arg(metavar="START:STOP", help_behavior_hint="")] = ":"
    """Frames to use of each video, counted from 0; default: all."""
    fps: Annotated[float | None, OWN_DEFAULT] = None
    """Resample videos by time to this rate; default: each video's own."""
    strict: bool = False
    """Treat a broken video as an error; otherwise it is listed and left out."""


def run(options: PackOptions) -> None:
    """Pack, list what was left out, and print the file's path and size.  Raises ValueError if no video can be used."""
    from digan_fast.cli.streams import check_rate
    from digan_fast.data.frames import frame_range
    from digan_fast.data.packing import Preparation, pack

    options.check()
    check_rate(options.fps)
    try:
        part = frame_range(options.frames)
        how = Preparation(
            options.resolution,
            options.crop,
            part.start or 0,
            part.stop,
            options.fps,
            options.encoding,
            options.quality,
            options.least_frames(),
        )
        how.check()
    except ValueError as error:
        raise UsageError(by_option(error, option_names(PackOptions))) from error
    try:
        layout = options.layout()
        packed = pack(
            options.data,
            layout.find(options.data),
            how,
            layout.record(),
            options.out,
            workers=options.processes(),
            strict=options.strict,
        )
    except ValueError as error:
        raise ValueError(by_option(error, option_names(PackOptions))) from error
    for line in packed.left_out:
        print(f"left out: {line}", file=sys.stderr)
    size = packed.path.stat().st_size / 2**20
    classes = f" in {len(packed.classes)} classes" if packed.classes else ""
    print(f"{len(packed.videos)} videos{classes}, {packed.frame_count} frames, {size:.0f} MiB")
    print(options.out)
