"""Whether a saved configuration describes the same run."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from digan_fast.training.config import CHANNEL_BASE, TrainConfig

# Fields that may change when a run is resumed: they do not affect what it computes up to a given moment, or, like
# init, have already taken effect.
_FREE = {
    "kimg", "out", "resume", "other_data", "init", "snapshot_kimg", "save_minutes", "tick_kimg", "threads", "workers",
    "data", "checkpoint", "strict", "dry_run", "evaluate_kimg", "evaluate_protocol", "evaluate_features", "evaluate_count",
    "batch_per_process", "preset", "keep", "tensorboard", "sample_frames", "patience",
}  # fmt: skip


def differences(config: TrainConfig, saved: dict[str, Any]) -> list[str]:
    """The fields in which a saved configuration describes another run, each value as what it stood for there."""
    own = json.loads(config.to_json())
    saved = {"g_precision": "float32"} | saved  # what runs had before there was a choice
    here = json.loads(json.dumps(config.resolved()))
    there = saved.get("resolved") or _resolved_without_record(saved)
    names = [field.name for field in fields(config) if field.name not in _FREE and field.name in saved]
    different: list[str] = []
    for name in names:
        if name == "generator_config":
            changed = "generator" in there and there["generator"] != here["generator"] and not different
            changed = changed or ("generator" not in there and own[name] != saved[name])
        elif name in here and name != "generator":  # Its resolved value is the configuration's.
            before = here[name] if saved[name] is None else saved[name]
            changed = here[name] != there.get(name, before)
        else:
            changed = own[name] != saved[name]
        if changed:
            different.append(name)
    if here["group"] != there.get("group", here["group"]):
        different.append("batch_per_process")
    made_by = {"grid", "sinusoids", "rank", "resolution"}
    if made_by & set(different) and config.generator_config is None and saved.get("generator_config") is None:
        different = [name for name in different if name != "generator_config"]
    return different


def _resolved_without_record(saved: dict[str, Any]) -> dict[str, Any]:
    """The resolved values of a configuration that was saved without them, by an earlier version."""
    known = {field.name: saved[field.name] for field in fields(TrainConfig) if field.name in saved}
    config = TrainConfig(**known)
    batch, lr, ema_kimg, group = config.schedule()
    found = {"batch": batch, "lr": lr, "ema_kimg": ema_kimg, "group": group}
    if config.generator_config is None:
        found |= {"grid": config.grid_side(), "channel_base": config.channel_base or CHANNEL_BASE}
    return found
