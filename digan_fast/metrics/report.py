"""The result of an evaluation, as plain data and in words."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import digan_fast
from digan_fast.data.sources import fingerprint
from digan_fast.files import replacing
from digan_fast.metrics.scores import Score
from digan_fast.metrics.work import Data, Work


def result(
    scores: Sequence[Score], snapshot: Mapping[str, str], data: Data, work: Work, device: torch.device, total: float
) -> dict[str, Any]:
    """Everything that a reader needs to trust the numbers: protocols beside them, hashes, counts, versions, times.

    snapshot: its path and hash.  total: seconds.
    """
    frames = data.reading.frames
    first, stop = ("" if end is None else end for end in (frames.start, frames.stop))
    return {
        "scores": [score.to_json() for score in scores],
        "snapshot": dict(snapshot),
        "data": {
            "path": str(data.root),
            "videos": len(data.sources),
            "file_list_sha256": fingerprint(data.root, data.sources)[0],
            "frames": f"{first}:{stop}",
            "fps": data.reading.fps,
            **data.described,
            "left_out": work.left_out,
        },
        "device": str(device),
        "threads": torch.get_num_threads(),
        "processes": work.processes.world,
        "versions": {
            "digan_fast": digan_fast.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "seconds": {name: round(value, 3) for name, value in work.seconds.items()} | {"total": round(total, 3)},
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def write(path: Path, whole: Mapping[str, Any]) -> None:
    """As JSON, whole or not at all."""
    with replacing(path) as part:
        part.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


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
