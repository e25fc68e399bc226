"""``digan-fast train``."""

from __future__ import annotations

from digan_fast.training.config import TrainConfig
from digan_fast.training.loop import train


def run(config: TrainConfig) -> None:
    """Train as told and say where the snapshot lies."""
    print(train(config))
