"""The data of a run: a packed file, or a folder, which is packed into the run's folder first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from digan_fast.data.clips import Clips
from digan_fast.data.finding import Findings, survey
from digan_fast.data.layouts import SETS
from digan_fast.data.packed import Pack, PackedSource, is_pack
from digan_fast.data.packing import Preparation, pack
from digan_fast.data.workers import default_workers
from digan_fast.processes import Processes, say
from digan_fast.training.config import TrainConfig
from digan_fast.training.folder import PACK

# Bytes of videos that this process decodes itself: starting others takes seconds.
_FEW: Final = 1 << 25


def read_clips(config: TrainConfig, found: Findings, processes: Processes) -> Clips:
    """The clips of a run's videos, decoded and packed if they are not; prints :func:`report`.

    For the first process; the others open what it packed, :func:`open_clips`.

    Raises ValueError, its message beginning with the field's name, if no video can be used, or a packed file does not
    hold what the configuration asks for.
    """
    if is_pack(config.data):
        clips, left_out = packed_clips(config, found, processes), found.left_out
    else:
        packed = _packed(config, found)
        clips, left_out = clips_of(config, packed, None, processes), packed.left_out
    for line in report(config, clips, len(found.sources), left_out):
        say(f"data: {line}")
    return clips


def packed_clips(config: TrainConfig, found: Findings, processes: Processes) -> Clips:
    """The clips of the videos that were found in a packed file.  Raises what :func:`read_clips` raises."""
    packed = Pack(config.data)
    _check_packed(config, packed)
    return clips_of(config, packed, _numbers(found), processes)


def report(config: TrainConfig, clips: Clips, videos: int, left_out: Sequence[str]) -> list[str]:
    """What of ``videos`` that were found is used, a line for each thing left out, and whether DIGAN's clips differ."""
    path = clips.pack.path
    classes = f" in {clips.c_dim} classes" if clips.c_dim else ""
    size = path.stat().st_size / 2**20
    used = f"{len(clips.used)} of {videos} videos{classes} used, {clips.frame_count} frames, {len(clips)} clips"
    return [
        f"{used}, {size:.0f} MiB in {path}",
        *(f"left out: {line}" for line in (*left_out, *clips.left_out)),
        *_other_than_published(config, clips.pack),
    ]


def open_clips(config: TrainConfig, processes: Processes) -> Clips:
    """The same clips, after the first process's :func:`read_clips`."""
    if not is_pack(config.data):
        return clips_of(config, Pack(Path(config.out) / PACK), None, processes)
    found = survey(config.data, config.conditional, config.split, config.take, [Path(config.out)])
    return packed_clips(config, found, processes)


def clips_of(config: TrainConfig, packed: Pack, videos: list[int] | None, processes: Processes) -> Clips:
    """The clips of which a configuration draws pairs from a packed file, in this process every world-th pair."""
    return Clips(
        packed,
        config.clip_length,
        config.clip_stride,
        config.frame_range() if is_pack(config.data) else None,
        config.clips,
        config.mirror,
        config.conditional,
        config.seed,
        processes.rank,
        processes.world,
        videos,
        whole=config.judges_clips,
    )


def _check_packed(config: TrainConfig, packed: Pack) -> None:
    """Raises ValueError, its message beginning with the field's name, for what a packed file cannot give."""
    if packed.resolution != config.resolution:
        raise ValueError(f"resolution: {config.resolution}, but {packed.path} has frames of side {packed.resolution}")
    crop = packed.record["frames"]["crop"]
    if config.crop not in ("center", crop):
        raise ValueError(f"crop: {config.crop!r}, but the frames of {packed.path} are cropped already: {crop!r}")
    if config.fps is not None:
        raise ValueError(f"fps: {config.fps:g}, but the frames of {packed.path} have no times any more")
    if config.take is not None:
        raise ValueError(f"take: {config.take!r}, but {packed.path} is a packed file")


def _packed(config: TrainConfig, found: Findings) -> Pack:
    """The decoded frames of a folder, in the run's folder; they are kept, for the run to be resumed."""
    part = config.frame_range()
    how = Preparation(
        config.resolution,
        config.crop,
        part.start or 0,
        part.stop,
        config.fps,
        shortest=(config.clip_length - 1) * config.clip_stride + 1,
    )
    size = sum(size for source in found.sources for _, size, _ in source.files())
    return pack(
        config.data,
        found,
        how,
        {"set": "folder", "split": config.split},
        Path(config.out) / PACK,
        workers=0 if size < _FEW else default_workers(),
        strict=config.strict,
        replace=True,
    )


def _other_than_published(config: TrainConfig, packed: Pack) -> list[str]:
    """A line with DIGAN's clips of the set that was packed, if the run draws others."""
    chosen = SETS.get(str(packed.record.get("set")))
    if chosen is None or packed.record["set"] in ("folder", "packed", "stylegan-v"):
        return []
    if (chosen.stride, chosen.clips) == (config.clip_stride, config.clips):
        return []
    published = f"--clip-stride {chosen.stride} --clips {chosen.clips}"
    own = f"--clip-stride {config.clip_stride} --clips {config.clips}"
    return [f"DIGAN trains on {packed.record['set']} with {published}, this run with {own}"]


def _numbers(found: Findings) -> list[int]:
    return [source.number for source in found.sources if isinstance(source, PackedSource)]
