"""``digan-fast curves``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from digan_fast.cli.presentation import GivenPath
from digan_fast.training.curves import plot


@dataclass(frozen=True)
class CurvesOptions:
    """Draw the losses, logits and penalties of a training run."""

    run: tyro.conf.Positional[GivenPath]
    """The run's folder."""
    out: Path | None = None
    """The picture; default: curves.png in the folder."""


def run(options: CurvesOptions) -> None:
    """Draw the picture and print its path."""
    print(plot(options.run, options.out))
