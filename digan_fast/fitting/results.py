"""What a fit leaves beside its network: a side-by-side video, the curve, a record of the numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from digan_fast import video
from digan_fast.files import replacing
from digan_fast.fitting.clips import GivenClip
from digan_fast.fitting.fitting import played
from digan_fast.fitting.optimising import Curve
from digan_fast.fitting.quality import Measuring, Quality
from digan_fast.inr import StoredVideo

_RATE: Final = 16.0
_GIF_FASTEST: Final = 50.0


def companions(out: Path) -> dict[str, Path]:
    """The files written beside ``out``, by what they hold; without PyAV the video is a gif."""
    suffix = ".mp4" if _has_av() else ".gif"
    return {
        "comparison": out.with_name(f"{out.stem}-comparison{suffix}"),
        "curve": out.with_name(f"{out.stem}-curve.png"),
        "record": out.with_name(f"{out.stem}.json"),
    }


def compare(path: Path, clip: GivenClip, found: Sequence[StoredVideo]) -> list[Quality]:
    """Write a video of the clip beside the networks' frames, and measure those; frames are played once, one by one."""
    measuring = [Measuring() for _ in found]
    times = clip.times
    pairs = [
        each.watched(zip(played(network, times), clip.frames, strict=True))
        for each, network in zip(measuring, found, strict=True)
    ]
    rate = _RATE if clip.fps is None else clip.fps
    if path.suffix == ".gif":
        rate = min(rate, _GIF_FASTEST)
    video.write(path, _beside(clip.frames, pairs), rate)
    return [each.quality() for each in measuring]


def _beside(clip: Tensor, pairs: Sequence[Iterable[tuple[Tensor, Tensor]]]) -> Iterator[Tensor]:
    for given, *row in zip(clip, *pairs, strict=True):
        yield torch.cat([given, *(frame for frame, _ in row)], -1)


def draw_curve(path: Path, curves: Mapping[str, Curve], target: float | None = None) -> bool:
    """Plot PSNR over steps; False without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return False
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        axes.plot(curve.steps, curve.psnr, label=name, linewidth=1)
    if target is not None:
        axes.axhline(target, linewidth=0.8, linestyle="--", color="grey")
    axes.set(xlabel="step", ylabel="PSNR in dB")
    axes.grid(alpha=0.3)
    if len(curves) > 1:
        axes.legend(fontsize=8)
    with replacing(path) as beside:
        figure.savefig(beside, dpi=110)
    return True


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all; infinite values become null."""
    with replacing(path) as beside:
        text = json.dumps(_plain(record), indent=2, allow_nan=False)
        beside.write_text(f"{text}\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _has_av() -> bool:
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True
