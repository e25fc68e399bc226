"""Options shared by the commands that produce videos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import tyro

from digan_fast.cli.arguments import MaybeGrid, MaybeWindow, Times
from digan_fast.cli.presentation import GivenPath, MaybeSnapshot

DEFAULT_FRAMES: Final = 16
DEFAULT_FPS: Final = 16.0
# For an option whose description states its default.
OWN_DEFAULT = tyro.conf.arg(help_behavior_hint="")
_SNAPSHOT = tyro.conf.arg(metavar="SNAPSHOT", help_behavior_hint="")
_CLASS = tyro.conf.arg(name="class", metavar="NAME|N", help_behavior_hint="")


@dataclass(frozen=True, kw_only=True)
class RenderOptions:
    """Which snapshot, what part of each video, and where to write it."""

    snapshot: Annotated[tyro.conf.Positional[MaybeSnapshot], _SNAPSHOT] = None
    """A snapshot of digan_fast, the folder of a run that has one, or a published pickle; default: the shipped one."""
    out: GivenPath = Path("out.mp4")
    """.mp4; .gif; .png: one row per video, one column per frame; no suffix: a folder."""
    frames: Annotated[int | None, OWN_DEFAULT] = None
    """The number of frames; default: 16, or those of the clip that a file of fit or project holds."""
    times: Times = (0.0, 1.0)
    """The times of the first and the last frame. Networks are trained on 0:1; 0:4 extrapolates."""
    loop: bool = False
    """Play forwards, then backwards, so that the end meets the beginning."""
    fps: Annotated[float | None, OWN_DEFAULT] = None
    """Frames per second of the file; default: 16, or those of the clip that a file of fit or project holds."""
    size: Annotated[int | None, OWN_DEFAULT] = None
    """The side of the picture in pixels, the longer one of a clip; default: as trained."""
    window: Annotated[MaybeWindow, OWN_DEFAULT] = None
    """A rectangle of the picture in pixels; it may extend beyond the picture, which extrapolates."""
    levels: Annotated[int | None, OWN_DEFAULT] = None
    """Stop after this many levels, coarse to fine; default: all."""
    precision: Literal["float32", "bfloat16", "int8"] = "float32"
    """bfloat16 and int8 are faster on processors that support them; they change colours by about 1 %."""
    label: Annotated[str | None, _CLASS] = None
    """The class, for snapshots trained with labels: its name, if the snapshot has names, or its index."""
    truncation: float = 1.0
    """Psi: 1 samples as trained; smaller values move contents towards their mean."""
    grid: Annotated[MaybeGrid, OWN_DEFAULT] = None
    """How videos are tiled; default: about square."""
    device: Annotated[str | None, OWN_DEFAULT] = None
    """Such as cpu or cuda:1; default: cuda if available, else cpu."""
