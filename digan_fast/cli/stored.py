"""Plays the files of ``digan-fast fit``, ``digan-fast project`` and ``VideoINR.save``."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from digan_fast.cli import streams
from digan_fast.cli.errors import UsageError
from digan_fast.cli.options import DEFAULT_FPS, DEFAULT_FRAMES, RenderOptions
from digan_fast.inr import StoredVideo, VideoINR, is_stored_video

_SLOWEST_RATE, _FASTEST_RATE = 0.1, 1000.0


def is_video(path: Path | None) -> bool:
    """Whether the file to generate from is a video's network instead of a snapshot."""
    return path is not None and is_stored_video(path)


def play(path: Path, options: RenderOptions) -> None:
    """Write the video that a file holds; frames and their rate are by default those of the clip it was fitted to.

    Raises UsageError for an option that needs a generator or does not fit the network.
    """
    for name, given in (("truncation", options.truncation != 1), ("class", options.label is not None)):
        if given:
            raise UsageError(f"--{name}: {path} holds a video, expected a snapshot")
    device = streams.device_of(options.device)
    video = StoredVideo.load(path, str(device))
    clip = video.clip
    _check_extents(path, video, options)
    rate = DEFAULT_FPS if clip is None or clip.fps is None else min(max(clip.fps, _SLOWEST_RATE), _FASTEST_RATE)
    if options.out.suffix.lower() == ".gif":
        rate = min(rate, streams.FASTEST_GIF)
    count = DEFAULT_FRAMES if clip is None else clip.frames
    options = dataclasses.replace(options, frames=options.frames or count, fps=options.fps or rate)
    times = streams.time_line(options)
    videos = len(video.network) if isinstance(video.network, VideoINR) else 1
    grid = streams.grid_of(options, videos)
    try:
        pictures = video.frames(times, options.size, options.window, options.levels, options.precision)
    except ValueError as error:
        raise UsageError(f"--{error}") from error
    streams.write(options.out, streams.started(pictures, path), len(times), grid, options)


def _check_extents(path: Path, video: StoredVideo, options: RenderOptions) -> None:
    """Raises ValueError, naming the file, if the picture at its own size is larger than any that may be asked for."""
    if options.size is not None or options.window is not None:
        return
    network = video.network
    if video.clip is not None:
        height, width = video.clip.height, video.clip.width
    elif isinstance(network, VideoINR):
        height = width = network.img_resolution
    else:
        height, width = network.height, network.width
    if height * width > streams.MOST_PIXELS:
        limit = f"expected at most {streams.MOST_PIXELS} pixels; --size chooses a smaller one"
        raise ValueError(f"{path}: a picture of {width}×{height}, {limit}")


def check_snapshot(path: Path | None, instead: str) -> None:
    """Raises ValueError, which ends with what to do instead, if the file holds a video and not a snapshot."""
    if path is not None and is_stored_video(path):
        raise ValueError(f"{os.fspath(path)}: a video's network, expected a snapshot; {instead}")
