"""``digan-fast train``."""

from __future__ import annotations

import dataclasses

from digan_fast.cli.errors import UsageError
from digan_fast.training.config import TrainConfig
from digan_fast.training.loop import train
from digan_fast.training.preview import preview

# Every field but the data, which has no option's name.
_OPTIONS = {field.name for field in dataclasses.fields(TrainConfig)} - {"data"}


def run(config: TrainConfig) -> None:
    """Train as told and say where the snapshot lies, or what would be read."""
    try:
        config.check()
    except ValueError as error:
        raise UsageError(_by_option(error)) from error
    try:
        print(preview(config) if config.dry_run else train(config))
    except ValueError as error:
        raise ValueError(_by_option(error)) from error


def _by_option(error: ValueError) -> str:
    """Its message, which begins with the option where it begins with the field."""
    field, colon, rest = str(error).partition(":")
    return f"--{field.replace('_', '-')}{colon}{rest}" if colon and field in _OPTIONS else str(error)
