"""The data of a run: a packed file, or a folder, which is packed into the run's folder first."""

from __future__ import annotations

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
    """The clips of a run's videos, decoded and packed if they are not; says what was found, used and left out.

    For the first process; the others open what it packed, :func:`open_clips`.

    Raises ValueError, its message beginning with the field's name, if no video can be used, or a packed file does not
    hold what the configuration asks for.
    """
    if is_pack(config.data):
        packed = Pack(config.data)
        check_packed(config, packed)
        videos = _numbers(found)
        left_out = [*found.left_out]
    else:
        packed = _packed(config, found)
        videos, left_out = None, packed.left_out
    clips = clips_of(config, packed, videos, processes)
    classes = f" in {clips.c_dim} classes" if clips.c_dim else ""
    size = packed.path.stat().st_size / 2**20
    say(
        f"data: {len(clips.used)} of {len(found.sources)} videos{classes} used, {clips.frame_count} frames, "
        f"{len(clips)} clips, {size:.0f} MiB in {packed.path}"
    )
    for line in (*left_out, *clips.left_out):
        say(f"data: left out: {line}")
    _say_published(config, packed)
    return clips


def open_clips(config: TrainConfig, processes: Processes) -> Clips:
    """The same clips, after the first process's :func:`read_clips`."""
    if not is_pack(config.data):
        return clips_of(config, Pack(Path(config.out) / PACK), None, processes)
    found = survey(config.data, config.conditional, config.split, config.take, [Path(config.out)])
    return clips_of(config, Pack(config.data), _numbers(found), processes)


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


def check_packed(config: TrainConfig, packed: Pack) -> None:
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


def _say_published(config: TrainConfig, packed: Pack) -> None:
    """DIGAN's clips of the set that was packed, if the run draws others."""
    chosen = SETS.get(str(packed.record.get("set")))
    if chosen is None or packed.record["set"] in ("folder", "packed", "stylegan-v"):
        return
    if (chosen.stride, chosen.clips) != (config.clip_stride, config.clips):
        say(
            f"data: DIGAN trains on {packed.record['set']} with --clip-stride {chosen.stride} --clips {chosen.clips}, "
            f"this run with --clip-stride {config.clip_stride} --clips {config.clips}"
        )


def _numbers(found: Findings) -> list[int]:
    return [source.number for source in found.sources if isinstance(source, PackedSource)]
