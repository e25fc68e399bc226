"""What ``digan-fast fit`` and ``digan-fast project`` share: checks before the work, and files after it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from digan_fast.cli.errors import UsageError
from digan_fast.cli.streams import check_target
from digan_fast.files import remove_leftovers
from digan_fast.fitting import GivenClip, Quality
from digan_fast.fitting.optimising import Curve
from digan_fast.fitting.results import companions, compare, draw_curve, write_record
from digan_fast.inr import StoredVideo
from digan_fast.threads import using_threads
from digan_fast.training.folder import check_folder


def check_out(out: Path, inputs: Sequence[Path | None]) -> dict[str, Path]:
    """The files to write beside ``out``; what killed writers of them left is removed.

    Raises UsageError if one cannot be written, or is one of the inputs.
    """
    if out.suffix.lower() != ".safetensors":
        raise UsageError(f"--out: {out}, expected the suffix .safetensors")
    beside = companions(out)
    for path in (out, *beside.values()):
        check_target(path)
        for given in inputs:
            if given is not None and os.path.realpath(given) == os.path.realpath(path):
                raise UsageError(f"--out: {path} would be written, but is to be read")
    try:
        check_folder(out.parent)
    except ValueError as error:
        raise UsageError(f"--{error}") from error
    remove_leftovers(out.parent, [re.escape(path.name) for path in (out, *beside.values())])
    return beside


def check_room(out: Path, size: float) -> None:
    """Raises OSError if the disk has no room for a file of so many bytes."""
    place = next(each for each in out.absolute().parents if each.exists())
    free = shutil.disk_usage(place).free
    if free < size:
        raise OSError(f"{out}: {free / 1000:.0f} kB are free in {place}, expected {size / 1000:.0f} kB or more")


@contextlib.contextmanager
def threads(count: int | None) -> Iterator[None]:
    """PyTorch and the kernels on this many threads."""
    if count is None:
        yield
        return
    if not 1 <= count <= 4096:
        raise UsageError(f"--threads: {count}, expected 1 to 4096")
    with using_threads(count):
        yield


def clip_line(path: Path, clip: GivenClip) -> str:
    height, width = clip.frames.shape[2:]
    rate = "" if clip.fps is None else f", {clip.fps:g} frames per second"
    return f"clip: {path}: {len(clip)} frames of {width}×{height}{rate}"


def size_line(path: Path, clip: GivenClip) -> str:
    size = path.stat().st_size
    pixels = clip.frames.numel() // 3
    return f"{path}: {size / 1000:.1f} kB, {8 * size / pixels:.3f} bits per pixel"


def finish(
    beside: Mapping[str, Path],
    clip: GivenClip,
    found: Mapping[str, StoredVideo],
    curves: Mapping[str, Curve],
    record: Mapping[str, Any],
    interrupted: bool,
    target: float | None = None,
) -> None:
    """Measure, print and write what belongs beside the network; after an interrupt, only the curve and the record."""
    qualities: Sequence[Quality] = ()
    if not interrupted:
        qualities = compare(beside["comparison"], clip, list(found.values()))
        for name, quality in zip(found, qualities, strict=True):
            print(f"{name}: {quality}")
        print(beside["comparison"])
    if any(curve.steps for curve in curves.values()):
        drawn = draw_curve(beside["curve"], curves, target)
        print(beside["curve"] if drawn else 'the curve is not drawn without matplotlib: pip install "digan_fast[plot]"')
    measured = {name: vars(quality) for name, quality in zip(found, qualities, strict=False)}
    curve = {name: vars(curve) for name, curve in curves.items()}
    write_record(beside["record"], {**record, "quality": measured, "curve": curve})
    print(beside["record"])
