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
    "data", "checkpoint", "strict", "dry_run", "evaluate_kimg", "evaluate_protocol", "evaluate_features",
    "evaluate_count", "batch_per_process", "preset", "keep", "tensorboard", "sample_frames", "patience",
}  # fmt: skip


def differences(config: TrainConfig, saved: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The fields in which a saved configuration describes another run, each with its value there and here.

    Values that were left to defaults are those that they stood for.
    """
    own = json.loads(config.to_json())
    saved = {"g_precision": "float32"} | saved  # what runs had before there was a choice
    here = json.loads(json.dumps(config.resolved()))
    there = saved.get("resolved") or _resolved_without_record(saved)
    ignored = set() if config.judges_clips else {"d_frames", "d_reduction"}
    names = [field.name for field in fields(config) if field.name in saved and field.name not in _FREE | ignored]
    different: dict[str, tuple[Any, Any]] = {}
    for name in names:
        before, now = saved[name], own[name]
        if name == "generator_config":
            changed = "generator" in there and there["generator"] != here["generator"] and not different
            changed = changed or ("generator" not in there and now != before)
        else:
            if name in here and name != "generator":  # Its resolved value is the configuration's.
                before, now = there.get(name, here[name] if before is None else before), here[name]
            changed = now != before
        if changed:
            different[name] = before, now
    if here["group"] != there.get("group", here["group"]):
        different["batch_per_process"] = saved.get("batch_per_process"), own["batch_per_process"]
    made_by = {"grid", "sinusoids", "rank", "resolution"}
    if made_by & different.keys() and config.generator_config is None and saved.get("generator_config") is None:
        different.pop("generator_config", None)
    return different


def described(different: dict[str, tuple[Any, Any]]) -> str:
    """What :func:`differences` found, in words."""
    return ", ".join(
        f"{name} ({_shown(before)}, now {_shown(now)})" if before != now else f"{name} (its contents are others)"
        for name, (before, now) in different.items()
    )


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "not given" if value is None else str(value)


def _resolved_without_record(saved: dict[str, Any]) -> dict[str, Any]:
    """The resolved values of a configuration that was saved without them, by an earlier version."""
    known = {field.name: saved[field.name] for field in fields(TrainConfig) if field.name in saved}
    config = TrainConfig(**known)
    found: dict[str, Any] = config.schedule()._asdict()
    if config.generator_config is None:
        found |= {"grid": config.grid_side(), "channel_base": config.channel_base or CHANNEL_BASE}
    return found
