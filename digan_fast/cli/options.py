"""The options that the commands with videos as their result share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from digan_fast.cli.arguments import MaybeGrid, MaybeWindow, Times
from digan_fast.cli.presentation import GivenPath, MaybePath

# For an option whose description tells its default.
OWN_DEFAULT = tyro.conf.arg(help_behavior_hint="")
_SNAPSHOT = tyro.conf.arg(metavar="SNAPSHOT", help_behavior_hint="")
_CLASS = tyro.conf.arg(name="class", metavar="NAME|N", help_behavior_hint="")


@dataclass(frozen=True, kw_only=True)
class RenderOptions:
    """From which snapshot, what of each video, and where to."""

    snapshot: Annotated[tyro.conf.Positional[MaybePath], _SNAPSHOT] = None
    """A snapshot of digan_fast or a published pickle; default: the one that comes along."""
    out: GivenPath = Path("out.mp4")
    """.mp4; .gif; .png: a row for each video, a column for each frame; no suffix: a folder."""
    frames: int = 16
    """The number of frames."""
    times: Times = (0.0, 1.0)
    """The first and the last frame's time. Networks are trained on 0:1; 0:4 extrapolates."""
    fps: float = 16.0
    """Frames per second of the file."""
    size: Annotated[int | None, OWN_DEFAULT] = None
    """The side of the picture in pixels; default: as trained."""
    window: Annotated[MaybeWindow, OWN_DEFAULT] = None
    """A rectangle of the picture in pixels; it may reach outside, which extrapolates."""
    levels: Annotated[int | None, OWN_DEFAULT] = None
    """Stop after so many levels, coarse to fine; default: all."""
    precision: Literal["float32", "bfloat16", "int8"] = "float32"
    """bfloat16 and int8 are faster where the processor has them; they change colours by about a hundredth."""
    label: Annotated[str | None, _CLASS] = None
    """The class, for snapshots trained with labels: its name, where the snapshot has names, or its number."""
    truncation: float = 1.0
    """Psi: 1 samples as trained; towards 0 contents come closer to their mean."""
    grid: Annotated[MaybeGrid, OWN_DEFAULT] = None
    """How videos are tiled; default: about square."""
    device: Annotated[str | None, OWN_DEFAULT] = None
    """Such as cpu or cuda:1; default: cuda where there is one, else cpu."""
