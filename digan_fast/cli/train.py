"""``digan-fast train``."""

from __future__ import annotations

import dataclasses

from digan_fast.cli.errors import UsageError
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
        raise UsageError(_by_option(error)) from error
    try:
        print(preview(config) if config.dry_run else train(config))
    except ValueError as error:
        raise ValueError(_by_option(error)) from error


def _by_option(error: ValueError) -> str:
    """The error's message, a leading field name replaced by the option's."""
    field, colon, rest = str(error).partition(":")
    return f"--{field.replace('_', '-')}{colon}{rest}" if colon and field in _OPTIONS else str(error)
