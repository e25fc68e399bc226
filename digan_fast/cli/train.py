"""``digan-fast train``."""

from __future__ import annotations

from digan_fast.cli.errors import UsageError
from digan_fast.training.config import TrainConfig
from digan_fast.training.loop import train
from digan_fast.training.preview import preview


def run(config: TrainConfig) -> None:
    """Train as told and say where the snapshot lies, or what would be read."""
    try:
        config.check()
    except ValueError as error:
        field, colon, rest = str(error).partition(":")
        raise UsageError(f"--{field.replace('_', '-')}{colon}{rest}") from error
    print(preview(config) if config.dry_run else train(config))
