"""``digan-fast train``."""

from __future__ import annotations

import dataclasses

from digan_fast.cli.errors import UsageError, by_option
from digan_fast.training.config import TrainConfig
from digan_fast.training.loop import train
from digan_fast.training.preview import preview

# Every field but data, which is positional.
_OPTIONS = {field.name for field in dataclasses.fields(TrainConfig)} - {"data"}


def run(config: TrainConfig) -> None:
    """Train and print the snapshot's path, or with --dry-run what would be read."""
    try:
        config.check()
    except ValueError as error:
        raise UsageError(by_option(error, _OPTIONS)) from error
    try:
        print(preview(config) if config.dry_run else train(config))
    except ValueError as error:
        raise ValueError(by_option(error, _OPTIONS)) from error
