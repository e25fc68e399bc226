"""``digan-fast train``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tyro

from digan_fast.cli.errors import UsageError, by_option
from digan_fast.processes import is_first_process
from digan_fast.training import presets
from digan_fast.training.config import TrainConfig
from digan_fast.training.loop import train
from digan_fast.training.preview import preview

# Every field but data, which is positional.
_OPTIONS = {field.name for field in dataclasses.fields(TrainConfig)} - {"data"}


def defaults(words: Sequence[str]) -> TrainConfig | None:
    """The options' defaults under a preset that is among the words; None without one, or for an unknown one."""
    given = [word.partition("=") for word in words]
    named = [value for name, equals, value in given if name == "--preset" and equals]
    named += [words[place + 1] for place, word in enumerate(words[:-1]) if word == "--preset"]
    if not named or named[-1] not in presets.NAMES:
        return None
    return TrainConfig(data=tyro.MISSING, **presets.settings(named[-1]))


def run(config: TrainConfig) -> None:
    """Train and print the snapshot's path, or with --dry-run what would be read."""
    try:
        config.check()
    except ValueError as error:
        raise UsageError(by_option(error, _OPTIONS)) from error
    try:
        done = preview(config) if config.dry_run else train(config)
        if is_first_process():
            print(done)
    except ValueError as error:
        raise ValueError(by_option(error, _OPTIONS)) from error
