"""Options of a run that exclude or need each other."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from digan_fast.networks.reduction import side_of
from digan_fast.precision import MIXED

if TYPE_CHECKING:
    from digan_fast.training.config import TrainConfig


def check_combinations(config: TrainConfig) -> None:
    """Raises ValueError, its message beginning with a field's name, for options that do not go together."""
    if config.other_data and not config.resume:
        raise ValueError("other_data: only a run that is resumed has read data; --other-data needs --resume")
    if config.generator != "digan":
        _check_grid_generator(config)
    if config.judges_clips:
        _check_clips(config)
    else:
        _check_without_effect(config, ("d_frames", "d_reduction"), "--discriminator dvd-gan")
    if not config.evaluate_kimg:
        names = ("evaluate_protocol", "evaluate_features", "evaluate_count")
        _check_without_effect(config, names, "--evaluate-kimg, since without it nothing is evaluated")


def _check_without_effect(config: TrainConfig, names: tuple[str, ...], needed: str) -> None:
    """Rejects options that were given and would be ignored."""
    usual = {field.name: field.default for field in dataclasses.fields(config)}
    for name in names:
        value = getattr(config, name)
        if value != usual[name]:
            raise ValueError(f"{name}: {value!r} needs {needed}")


def _check_grid_generator(config: TrainConfig) -> None:
    kind = f"--generator {config.generator}"
    if not config.judges_clips:
        raise ValueError(f"discriminator: {config.discriminator!r}, but {kind} makes clips")
    if config.g_precision != "float32":
        raise ValueError(f"g_precision: {config.g_precision!r}, but {kind} has only float32")
    for name in ("style_mixing", "evaluate_kimg", "checkpoint"):
        if getattr(config, name):
            raise ValueError(f"{name}: {getattr(config, name)}, but {kind} has none")
    if config.generator_config is not None:
        raise ValueError(f"generator_config: {config.generator_config}, but --generator is {config.generator}")
    if config.d_reduction == "render":
        raise ValueError(f"d_reduction: 'render', but {kind} makes no INR")


def _check_clips(config: TrainConfig) -> None:
    kind = f"--discriminator {config.discriminator}"
    if config.d_precision == MIXED:
        raise ValueError(f"d_precision: 'mixed', but {kind} has float32 and bfloat16")
    if config.path_length:
        raise ValueError(f"path_length: {config.path_length}, expected 0 with {kind}")
    if config.d_frames is not None and config.d_frames > config.clip_length:
        raise ValueError(f"d_frames: {config.d_frames}, expected 1 to {config.clip_length}, the clip length")
    try:
        side_of(config.d_reduction, config.resolution)
    except ValueError as error:
        raise ValueError(f"d_{error}") from error
