"""``digan-fast train``."""

from __future__ import annotations

from digan_fast.cli.errors import UsageError
from digan_fast.training.config import TrainConfig
from digan_fast.training.loop import train


def run(config: TrainConfig) -> None:
    """Train as told and say where the snapshot lies."""
    try:
        config.check()
    except ValueError as error:
        field, colon, rest = str(error).partition(":")
        raise UsageError(f"--{field.replace('_', '-')}{colon}{rest}") from error
    print(train(config))
