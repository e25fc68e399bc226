"""What a training run is, as data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from digan_fast.networks.config import coordinate_config, read_config

# Fields that may differ when a run is resumed: they do not change what it computes up to a given moment.
_FREE = {"kimg", "out", "resume", "snapshot_kimg", "tick_kimg", "threads", "data"}


@dataclass(frozen=True)
class TrainConfig:
    """Train a generator on clips of videos.

    kimg counts thousands of pairs shown to the discriminator.  None takes the published schedule's value.
    """

    data: Annotated[Path, tyro.conf.Positional]
    """A video file, a folder of frames, or a tree of either."""
    out: Path = Path("runs/train")
    """The run's folder: config.json, log.jsonl, samples/, snapshot.safetensors, state.pt."""
    resume: bool = False
    """Go on with the run in the folder."""

    resolution: int = 128
    """Side of the frames: a power of two."""
    crop: Literal["center", "left", "right"] = "center"
    """Which square of a frame is taken."""
    frames: str = ":"
    """Which frames of each video are used, as START:STOP."""
    clip_length: int = 16
    """Frames of a clip, over which t runs from 0 to 1."""
    clip_stride: int = 1
    """Frames of the video from one of a clip to the next."""
    mirror: bool = True
    """Double the clips by x-flips."""
    conditional: bool = False
    """The first folder below the data is a video's class."""

    generator_config: Path | None = None
    """A published generator configuration (YAML); it replaces grid, sinusoids and rank."""
    z_dim: int = 512
    w_dim: int = 512
    grid: int = 32
    """Side of the grid that the coarse levels share."""
    sinusoids: int = 128
    """Sinusoids of each level's coordinate features."""
    rank: int = 10
    """Rank of the factorised modulation."""
    channel_base: int = 32768
    """Generator channels at side R are min(channel_base/R, channel_max)."""
    channel_max: int = 512
    d_channel_base: int = 32768
    d_channel_max: int = 512
    d_precision: Literal["float32", "bfloat16"] = "float32"
    """Of the discriminator's convolutions."""

    kimg: float = 25000
    batch: int | None = None
    lr: float | None = None
    r1_gamma: float = 1.0
    augment: str = "color,translation"
    """DiffAugment's transforms: some of color, translation, cutout."""
    style_mixing: float = 0.0
    """Probability of style mixing."""
    path_length: float = 0.0
    """Weight of the path length regularisation."""
    ema_kimg: float | None = None
    seed: int = 0
    tick_kimg: float = 4
    """Between lines of the log."""
    snapshot_kimg: float = 40
    """Between snapshots, sample sheets and states to resume from."""
    threads: int | None = None
    device: str = "cpu"

    def schedule(self) -> tuple[int, float, float, int]:
        """``(batch, lr, ema_kimg, minibatch-deviation group)``: the published automatic schedule for one process."""
        batch = self.batch or max(min(4096 // self.resolution, 32), 1)
        lr = self.lr if self.lr is not None else (0.002 if self.resolution >= 1024 else 0.0025)
        ema_kimg = self.ema_kimg if self.ema_kimg is not None else batch * 10 / 32
        return batch, lr, ema_kimg, min(batch, 4)

    def frame_range(self) -> slice:
        """Raises ValueError where ``frames`` is not START:STOP."""
        parts = self.frames.split(":")
        try:
            start, stop = (int(part) if part else None for part in parts)
        except ValueError as error:
            raise ValueError(f"frames: {self.frames!r}, expected START:STOP") from error
        return slice(start, stop)

    def generator_kwargs(self, c_dim: int) -> dict[str, Any]:
        if self.generator_config is not None:
            cfg = read_config(self.generator_config)
        else:
            cfg = coordinate_config(self.grid, self.sinusoids, self.rank, {128: 1, 256: 1})
        return {
            "z_dim": self.z_dim,
            "c_dim": c_dim,
            "w_dim": self.w_dim,
            "img_resolution": self.resolution,
            "img_channels": 3,
            "mapping_kwargs": {"num_layers": 2},
            "synthesis_kwargs": {
                "channel_base": self.channel_base,
                "channel_max": self.channel_max,
            },
            "cfg": cfg,
        }

    def discriminator_kwargs(self, c_dim: int) -> dict[str, Any]:
        return {
            "c_dim": c_dim,
            "img_resolution": self.resolution,
            "img_channels": 3,
            "channel_base": self.d_channel_base,
            "channel_max": self.d_channel_max,
            "epilogue_kwargs": {"mbstd_group_size": self.schedule()[3]},
        }

    def to_json(self) -> str:
        plain = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}
        return json.dumps(plain, indent=2)

    def differences(self, saved: dict[str, Any]) -> list[str]:
        """The fields in which a saved configuration describes another run."""
        own = json.loads(self.to_json())
        names = [field.name for field in fields(self) if field.name not in _FREE]
        return [name for name in names if name in saved and own[name] != saved[name]]
