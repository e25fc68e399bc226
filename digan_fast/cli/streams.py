"""From options to streams of frames, and from streams to files."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from digan_fast import snapshot, video
from digan_fast.cli.arguments import FLOAT32
from digan_fast.cli.errors import UsageError
from digan_fast.cli.options import DEFAULT_FPS, DEFAULT_FRAMES, RenderOptions
from digan_fast.devices import default_device, usable_device
from digan_fast.inr import Tuning, tuned
from digan_fast.networks import Generator, latents

SUFFIXES: Final = (".mp4", ".gif", ".png", "")
# Pictures rendered at once by generators without an INR, and by streams with one INR per frame.
TOGETHER: Final = 8
MOST_FRAMES: Final = 10_000_000
LARGEST_SIZE: Final = 2**24
FASTEST_GIF: Final = 50.0
# Pixels of one picture: 3 GiB in float32.
MOST_PIXELS: Final = 2**28


def check(options: RenderOptions) -> None:
    """Raises UsageError for invalid options that can be detected before anything is loaded."""
    if options.out.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--out: {options.out}, expected the suffix .mp4, .gif, .png, or none for a folder")
    if is_sheet(options) and options.grid is not None:
        raise UsageError("--grid: a .png has a row for each video, so it has no grid")
    if options.frames is not None and not 1 <= options.frames <= MOST_FRAMES:
        raise UsageError(f"--frames: {options.frames}, expected 1 to {MOST_FRAMES}")
    if options.size is not None and not 1 <= options.size <= LARGEST_SIZE:
        raise UsageError(f"--size: {options.size}, expected 1 to {LARGEST_SIZE}")
    name, (height, width) = "size", (options.size or 0,) * 2
    if options.window is not None:
        name, (height, width) = "window", options.window[2:]
    if height * width > MOST_PIXELS:
        raise UsageError(f"--{name}: a picture of {height}×{width}, expected at most {MOST_PIXELS} pixels")
    if options.fps is not None and not 0.1 <= options.fps <= 1000:
        raise UsageError(f"--fps: {options.fps}, expected 0.1 to 1000")
    if not abs(options.truncation) <= FLOAT32:
        raise UsageError(f"--truncation: {options.truncation}, expected a finite number within float32")
    if options.out.suffix.lower() == ".gif" and (options.fps or DEFAULT_FPS) > FASTEST_GIF:
        raise UsageError(f"--fps: {options.fps:g}, expected at most 50 for a .gif, which browsers show no faster")
    check_target(options.out)


def check_rate(fps: float | None) -> None:
    """Raises UsageError for a rate that no video is resampled to."""
    if fps is not None and not 0.01 <= fps <= 10000:
        raise UsageError(f"--fps: {fps:g}, expected 0.01 to 10000")


def check_target(path: Path) -> None:
    """Raises UsageError for a file where a folder is to be written, and vice versa."""
    if path.suffix and path.is_dir():
        raise UsageError(f"--out: {path} is a folder, where a file is to be written")
    if not path.suffix and path.is_file():
        raise UsageError(f"--out: {path} is a file, where a folder of frames is to be written")
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UsageError(f"--out: {path} is a pipe or a device, expected a file or a folder")


def is_sheet(options: RenderOptions) -> bool:
    """Whether the output is a contact sheet."""
    return options.out.suffix.lower() == ".png"


def load_generator(options: RenderOptions) -> Generator:
    """The snapshot's generator on the device, with averaged weights if it has them."""
    generator = generator_of(options.snapshot, options.device)
    reason = generator.synthesis.why_not_inr()
    for name in ("size", "window", "levels"):
        if reason is not None and getattr(options, name) is not None:
            raise UsageError(f"--{name}: this generator has no INR: {reason}")
    if reason is not None and options.precision != "float32":
        raise UsageError(f"--precision: this generator has no INR: {reason}")
    return generator


def generator_of(path: Path | None, device: str | None) -> Generator:
    """The generator of a snapshot, of the shipped one without a path, on a device."""
    given = snapshot.shipped() if path is None else path
    generator = snapshot.load_generator(given, device_of(device))
    if generator.img_channels != 3:
        raise ValueError(f"{os.fspath(given)}: pictures of {generator.img_channels} channels, expected 3")
    return generator


def content_ws(generator: Generator, seeds: Sequence[int], options: RenderOptions) -> Tensor:
    """[B, num_ws, w_dim] of content seeds."""
    device = next(generator.parameters()).device
    z = latents.content(seeds, generator.z_dim).to(device)
    labels = labels_of(generator, options.label, len(seeds))
    if labels is not None:
        labels = labels.to(device)
    if options.truncation != 1 and generator.mapping.w_avg_beta is None:
        raise UsageError("--truncation: this snapshot keeps no mean of w")
    with torch.no_grad():
        ws: Tensor = generator.mapping(z, labels, options.truncation, skip_w_avg_update=True)
    return ws


def motion_vectors(generator: Generator, seeds: Sequence[int]) -> Tensor:
    """[B, w_dim] of motion seeds."""
    device = next(generator.parameters()).device
    return latents.motion(seeds, generator.w_dim).to(device)


def time_line(options: RenderOptions) -> Tensor:
    """The times of the frames, [T]; a single frame shows the first time.

    With --loop, all but the first and the last follow in reverse.
    """
    first, last = options.times
    times = torch.linspace(first, last, options.frames or DEFAULT_FRAMES)
    return torch.cat((times, times[1:-1].flip(0))) if options.loop else times


def videos(
    generator: Generator,
    ws: Tensor,
    z_motion: Tensor,
    times: Tensor,
    options: RenderOptions,
    added: Tuning | None = None,
) -> Iterator[Tensor]:
    """A stream of T frames of B videos, uint8 [B, 3, H, W] on the CPU, at times [T]; their INRs are tuned by ``added``.

    Raises UsageError immediately if an option does not fit the network.
    """

    def pictures() -> Iterator[Tensor]:
        with torch.no_grad():
            inr = tuned(generator.synthesis.inr(ws, z_motion), added)
        yield from inr.frames(times, options.size, options.window, options.levels, options.precision)

    has_inr = generator.synthesis.why_not_inr() is None
    return started(pictures() if has_inr else _published(generator, ws, z_motion, times))


def morph(
    generator: Generator, moments: Iterable[tuple[Tensor, Tensor, Tensor, Tuning | None]], options: RenderOptions
) -> Iterator[Tensor]:
    """A stream of frames, uint8 [1, 3, H, W]: one for each ws[n], z_motion[n], times[n] and tuning of every batch."""

    def pictures() -> Iterator[Tensor]:
        for ws, z_motion, times, added in moments:
            with torch.no_grad():
                made = _pictures(generator, ws, z_motion, times, options, added)
            yield from made.unsqueeze(1)

    return started(pictures())


def tiled(frames: Iterable[Tensor], columns: int, rows: int) -> Iterator[Tensor]:
    """Each [B, 3, H, W] as one picture [3, rows·H, columns·W]; cells without a video are black."""
    for frame in frames:
        batch, channels, height, width = frame.shape
        cells = F.pad(frame, (0, 0, 0, 0, 0, 0, 0, columns * rows - batch))
        cells = cells.view(rows, columns, channels, height, width).permute(2, 0, 3, 1, 4)
        yield cells.reshape(channels, rows * height, columns * width)


def near_square(count: int) -> tuple[int, int]:
    """Columns and rows of the grid with at least this many cells that is closest to a square."""
    columns = math.isqrt(count - 1) + 1
    return columns, -(-count // columns)


def grid_of(options: RenderOptions, count: int) -> tuple[int, int]:
    """Columns and rows for this many videos.  Raises UsageError if they do not fit."""
    columns, rows = near_square(count) if options.grid is None else options.grid
    if columns * rows < count:
        raise UsageError(f"--grid: {columns}x{rows}, expected room for {count} videos")
    return columns, rows


def write(
    path: Path,
    frames: Iterable[Tensor],
    count: int,
    grid: tuple[int, int],
    options: RenderOptions,
) -> None:
    """Write a stream of `count` frames, uint8 [B, 3, H, W], and print its path."""
    shown = tqdm(frames, desc=path.name, total=count, unit="frame", disable=None, leave=False)
    with contextlib.closing(shown):
        if is_sheet(options):
            rows = zip(*(frame.unbind(0) for frame in shown), strict=True)
            video.write_image(path, video.sheet(rows))
        else:
            video.write(path, tiled(shown, *grid), options.fps or DEFAULT_FPS)
    print(path)


def device_of(name: str | None) -> torch.device:
    if name is None:
        return default_device()
    try:
        return usable_device(name)
    except ValueError as error:
        raise UsageError(f"--{error}") from error


def labels_of(generator: Generator, label: str | None, batch: int) -> Tensor | None:
    """One-hot [B, classes]; None for a network without classes."""
    classes, names = generator.c_dim, generator.class_names
    if classes == 0:
        if label is not None:
            raise UsageError(f"--class: {label}, but this snapshot was trained without classes")
        return None
    if label is not None and label in names:
        number = names.index(label)
    elif label is not None and label.isdecimal() and int(label) < classes:
        number = int(label)
    else:
        given = "not given" if label is None else label
        known = f" or a name: {', '.join(names[:20])}" if names else ""
        raise UsageError(f"--class: {given}, expected 0 to {classes - 1}{known} for this snapshot")
    return F.one_hot(torch.tensor(number), classes).float().expand(batch, -1)


def started(frames: Iterator[Tensor], file: Path | None = None) -> Iterator[Tensor]:
    """The same frames as uint8 on the CPU, the first already computed.

    A ValueError names an argument of `VideoINR.render`, which is also the option's name.  ``file``: the video's own,
    which errors of its pictures name; otherwise they are a generator's.
    """
    try:
        first = next(frames)
    except ValueError as error:
        raise UsageError(f"--{error}") from error
    return (video.to_uint8(_finite(frame, file)).cpu() for frame in itertools.chain([first], frames))


def _finite(frame: Tensor, file: Path | None) -> Tensor:
    """The frame, if it is finite: values beyond float32's range would otherwise become grey pixels."""
    if not bool(frame.isfinite().all()):
        name, options = ("the", "--times or --truncation") if file is None else (f"{file}: its", "--times")
        raise ValueError(
            f"{name} pictures are not finite: {options} takes the network beyond float32, or its weights do"
        )
    return frame


def _pictures(
    generator: Generator, ws: Tensor, z_motion: Tensor, times: Tensor, options: RenderOptions, added: Tuning | None
) -> Tensor:
    """[N, 3, H, W]: one picture for each entry of ws, z_motion and times [N]."""
    synthesis: Any = generator.synthesis
    if synthesis.why_not_inr() is not None:
        times = times.to(ws.device).view(-1, 1, 1, 1)
        pictures: Tensor = synthesis(ws, times, z_motion, noise_mode="const")
        return pictures
    inr = tuned(synthesis.inr(ws, z_motion), added)
    return inr.render(times.unsqueeze(1), options.size, options.window, options.levels, options.precision)[:, 0]


def _published(generator: Generator, ws: Tensor, z_motion: Tensor, times: Tensor) -> Iterator[Tensor]:
    """A stream of frames [B, 3, H, W] of a generator without an INR, several frames at a time."""
    batch = len(ws)
    for part in times.to(ws.device).split(max(1, TOGETHER // batch)):
        columns = part.expand(batch, -1).reshape(-1, 1, 1, 1)
        with torch.no_grad():
            pictures = generator.synthesis(ws, columns, z_motion, noise_mode="const")
        yield from pictures.unflatten(0, (batch, len(part))).unbind(1)
