"""The result of an evaluation, as plain data and in words."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import torch

import digan_fast
from digan_fast.metrics.scores import Score


def result(
    scores: Sequence[Score], about: Mapping[str, Any], seconds: Mapping[str, float], total: float
) -> dict[str, Any]:
    """Everything that a reader needs to trust the numbers: protocols beside them, hashes, counts, versions, times."""
    return {
        "scores": [score.to_json() for score in scores],
        **about,
        "versions": {
            "digan_fast": digan_fast.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "seconds": {name: round(value, 3) for name, value in seconds.items()} | {"total": round(total, 3)},
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def show(whole: Mapping[str, Any], scores: Sequence[Score]) -> list[str]:
    """The protocols, what was measured, and a line per score."""
    lines: list[str] = []
    for index, score in enumerate(scores):
        described = score.protocol.lines()
        before = scores[index - 1].protocol.lines() if index else []
        # Of a protocol that differs from the one before in its statistics, these alone.
        same = score.protocol.network == scores[index - 1].protocol.network if index else False
        lines += [line for line in described if not (same and line in before)] + [""]
    data, snapshot = whole["data"], whole["snapshot"]
    lines.append(f"snapshot   {snapshot['path']}, SHA-256 {snapshot['sha256']}")
    videos = f"{data['videos']} video{'' if data['videos'] == 1 else 's'}"
    lines.append(f"data       {data['path']}, {videos}, file list SHA-256 {data['file_list_sha256']}")
    stages = ", ".join(f"{name} {value:.1f}" for name, value in whole["seconds"].items())
    lines += [f"seconds    {stages}", ""]
    return lines + [score.line() for score in scores]
