"""The configuration of a training run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch

from digan_fast.data.frames import frame_range
from digan_fast.devices import default_device, usable_device
from digan_fast.networks import discriminators
from digan_fast.networks.config import coordinate_config, read_config
from digan_fast.networks.discriminators import Recipe
from digan_fast.precision import MIXED, MIXED_CLAMP
from digan_fast.training.augment import DiffAugment
from digan_fast.training.combinations import check_combinations
from digan_fast.training.dividing import group_size, micro_batch
from digan_fast.training.limits import BOUNDS
from digan_fast.training.shown import Shown

# With fmaps 1, the generator has at most CHANNEL_BASE/R channels at side R.
CHANNEL_BASE = 32768
# For an option whose description states its default.
_OWN_DEFAULT = Shown(own_default=True)
_OPTIONAL_PATH = Shown(own_default=True, is_path=True)


class Schedule(NamedTuple):
    """Pairs per step, the generator's learning rate, the half-life of its moving average in thousands of pairs, and the
    size of the minibatch deviation's groups.
    """

    batch: int
    lr: float
    ema_kimg: float
    group: int


@dataclass(frozen=True)
class TrainConfig:
    """Train a generator on clips of videos.

    Each step shows the discriminator one batch of frame pairs; kimg counts thousands of pairs. With
    --discriminator dvd-gan it sees whole clips, and whatever counts pairs counts clips. Started by torchrun, several
    processes divide each batch.
    """

    data: Annotated[Path, Shown(positional=True, is_path=True)]
    """A file of digan-fast data pack, a video file, a folder of frames, or a tree of either; hidden
    files and pictures next to videos are ignored."""
    out: Annotated[Path, Shown(is_path=True)] = Path("runs/train")
    """Folder of the run: config.json, log.jsonl, samples/, snapshot.safetensors, state.pt and the states
    before it; data.pack, the decoded frames, unless the data is a packed file."""
    preset: Annotated[Literal["ucf101", "sky", "taichi", "kinetics-food"] | None, _OWN_DEFAULT] = None
    """DIGAN's published settings for a set, as defaults of the other options: resolution 128, clip-length 16,
    z-dim 512, w-dim 512, rank 10, batch 64, kimg 25000, ema-kimg 20, augment color,translation, and the
    discriminator's lr and r1-gamma; for ucf101 clips every, for sky and kinetics-food disjoint, for taichi interleaved
    with clip-stride 4."""
    resume: bool = False
    """Resume the run in the folder."""
    other_data: bool = False
    """Resume with other data than the run has read so far, which is an error otherwise."""
    init: Annotated[Path | None, _OPTIONAL_PATH] = None
    """Snapshot, or folder of a run, to initialise the networks from, where names and shapes match; ignored when a
    run is resumed; default: random weights."""

    dry_run: bool = False
    """Report what would be read and how long the run would take, from three steps with random pictures: parameters,
    memory, operations of a step, pairs per second, hours to the end; then exit."""

    resolution: int = 128
    """Side of the frames: a power of two, 8 or more."""
    crop: Literal["center", "left", "right"] = "center"
    """Square to crop from each frame."""
    frames: Annotated[str, Shown("START:STOP", own_default=True)] = ":"
    """Frames to use of each video, counted from 0; default: all."""
    clip_length: int = 16
    """Frames per clip; t runs from 0 to 1 over them."""
    clip_stride: int = 1
    """Step between consecutive frames of a clip, in frames of the video."""
    clips: Literal["every", "disjoint", "interleaved", "one"] = "every"
    """Where clips begin: at every frame, so that long videos weigh more; without common frames;
    interleaved by the stride in groups; or anywhere, with the same weight for each video."""
    mirror: Annotated[bool, _OWN_DEFAULT] = True
    """Leave out the x-flips of the clips; default: include them."""
    conditional: bool = False
    """Use the first folder below the data as a video's class."""

    split: Annotated[str | None, Shown("FOLDER", own_default=True)] = None
    """Which of the folders train, val, test, … below the data to use; all treats them as
    ordinary folders; required if there are several."""
    take: Annotated[Literal["videos", "frames"] | None, _OWN_DEFAULT] = None
    """What to read from a folder that has both pictures and folders of videos; required if there is one."""
    fps: Annotated[float | None, _OWN_DEFAULT] = None
    """Resample videos by time to this many frames per second; default: each video's own rate,
    or its usual one if it varies."""
    strict: bool = False
    """Treat a damaged file as an error; otherwise it is listed and left out."""

    generator_config: Annotated[Path | None, _OPTIONAL_PATH] = None
    """Published generator configuration (YAML), which replaces grid, sinusoids and rank;
    default: DIGAN's, with those."""
    generator: Literal["digan", "dvd-gan"] = "digan"
    """digan makes INRs; dvd-gan, ConvGRUs and convolutions, makes whole clips on a pixel grid and needs
    --discriminator dvd-gan."""
    z_dim: int = 512
    """Size of the content vectors."""
    w_dim: int = 512
    """Size of the motion vectors and of the mapping network's output vectors."""
    grid: Annotated[int | None, _OWN_DEFAULT] = None
    """Side of the grid that the coarse levels share; default: 32, or the resolution if smaller."""
    sinusoids: int = 128
    """Sinusoids of each level's coordinate features."""
    rank: int = 10
    """Rank of the factorised modulation."""
    channel_base: Annotated[int | None, _OWN_DEFAULT] = None
    """The generator has channel_base/R channels at side R; default: 32768 · fmaps."""
    channel_max: int = 512
    """Maximum channels of the generator at any side."""
    discriminator: str = discriminators.DEFAULT
    """Name of the discriminator: digan judges pairs of frames; dvd-gan judges a few frames one by one, and whole
    clips at a reduced size."""
    d_frames: Annotated[int | None, _OWN_DEFAULT] = None
    """Frames of each clip that dvd-gan judges at full resolution; default: 8, or all of a shorter clip."""
    d_reduction: Literal["pool2", "pool4", "none", "crop", "render"] = "pool2"
    """How dvd-gan reduces whole clips: means of 2×2 or 4×4 pixels, not at all, a random crop of half the side, or
    render: real clips as by pool2, generated ones rendered at half the side."""
    d_loss: Annotated[Literal["logistic", "hinge"] | None, _OWN_DEFAULT] = None
    """Adversarial loss; default: logistic, or hinge for dvd-gan."""
    d_steps: Annotated[int | None, _OWN_DEFAULT] = None
    """Steps of the discriminators, each with a batch of its own, per step of the generator; default: 1, or 2 for
    dvd-gan."""
    d_channel_base: int = 32768
    """channel_base of the discriminators."""
    d_channel_max: int = 512
    """channel_max of the discriminators."""
    checkpoint: bool = False
    """Recompute the generator's activations in the backward pass: less memory, more time."""
    g_precision: Literal["float32", "bfloat16", "mixed"] = "float32"
    """Precision of the generator's INRs in training; its weights and optimiser stay float32. mixed is DIGAN's: float16
    at the four highest levels on a GPU, activations clamped at 256; float32 on a CPU."""
    d_precision: Literal["float32", "bfloat16", "mixed"] = "float32"
    """Precision of the discriminators' convolutions; mixed as for the generator."""

    kimg: float = 25000
    """Length of the run, in thousands of pairs."""
    batch: Annotated[int | None, _OWN_DEFAULT] = None
    """Pairs per step, of all processes; default: 4096/resolution, 1 to 32."""
    batch_per_process: Annotated[int | None, _OWN_DEFAULT] = None
    """Pairs that a process computes at once, accumulating gradients: less memory; default: its whole share of
    the batch."""
    lr: Annotated[float | None, _OWN_DEFAULT] = None
    """Adam's learning rate; default: 0.0025, 0.002 at resolution 1024 and above, or 0.0001 for dvd-gan."""
    d_lr: Annotated[float | None, _OWN_DEFAULT] = None
    """Adam's learning rate for the discriminators; default: lr, or 0.0005 for dvd-gan without --lr."""
    r1_gamma: Annotated[float | None, _OWN_DEFAULT] = None
    """Weight of the R1 penalty; 0 disables it; default: 1, or 0 for dvd-gan."""
    augment: str = "color,translation"
    """DiffAugment transforms, separated by commas: any of color, translation, cutout."""
    style_mixing: float = 0.0
    """Probability of style mixing."""
    path_length: float = 0.0
    """Weight of the path-length regularisation."""
    ema_kimg: Annotated[float | None, _OWN_DEFAULT] = None
    """Half-life of the generator's moving average, in thousands of pairs; default: batch · 10/32."""
    seed: int = 0
    """Seed of the initial weights, the latents and the order of the data."""
    tick_kimg: float = 4
    """Thousands of pairs between log lines."""
    snapshot_kimg: float = 40
    """Thousands of pairs between saves of snapshot, sample sheet and resumable state."""
    save_minutes: float = 30
    """Minutes after which these are saved as well; 0: save by pairs only."""
    keep: int = 2
    """How many states to keep: the last, and those before it, of which one is resumed from if the last is damaged."""
    sample_frames: int = 16
    """Frames of the videos saved beside the sample sheets, .mp4, or .gif without PyAV; 0: none."""
    tensorboard: bool = False
    """Write the log for TensorBoard as well, with the sample sheets, to tensorboard/ in the run's folder."""
    evaluate_kimg: float = 0
    """Thousands of pairs between evaluations of the averaged weights, as by digan-fast evaluate;
    0: none."""
    evaluate_protocol: Literal["digan", "stylegan-v", "digan-proxy"] = "digan-proxy"
    """Protocol of these evaluations."""
    evaluate_features: str = "random3d"
    """random3d, efficientnet-lite0, or a file of I3D's weights."""
    evaluate_count: Annotated[int | None, _OWN_DEFAULT] = None
    """Real and generated videos of each set; default: the protocol's, real ones as far as there are."""
    workers: Annotated[int | None, _OWN_DEFAULT] = None
    """Processes that read frames ahead of the steps; 0: none but this one; default: 4, or 0 on a CPU
    or for less than a GiB of raw frames."""
    patience: float = 10
    """Minutes without a sign of life from another process after which a run of several ends."""
    threads: Annotated[int | None, _OWN_DEFAULT] = None
    """CPU threads that torch uses; default: torch's own choice."""
    device: Annotated[str | None, _OWN_DEFAULT] = None
    """Device of the networks, such as cpu or cuda:1; default: cuda if available, else cpu."""

    def check(self) -> None:
        """Raises ValueError for an invalid value; its message begins with the field's name."""
        side = self.resolution
        if side < 8 or side & (side - 1):
            raise ValueError(f"resolution: {side}, expected a power of two, 8 or more")
        for name, (least, most) in BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ValueError(f"{name}: {value}, expected {least:g} to {most:g}")
        if self.grid is not None and not (4 <= self.grid <= side and self.grid & (self.grid - 1) == 0):
            raise ValueError(f"grid: {self.grid}, expected a power of two from 4 to the resolution, {side}")
        for name in ("channel_base", "d_channel_base"):
            value = getattr(self, name)
            if value is not None and value < side:
                raise ValueError(f"{name}: {value}, expected the resolution, {side}, or more")
        discriminators.named(self.discriminator)
        check_combinations(self)
        self.frame_range()
        self.schedule()
        DiffAugment(self.augment)
        self.torch_device()

    @property
    def judges_clips(self) -> bool:
        """Whether the discriminator sees clips instead of pairs."""
        return discriminators.judges_clips(self.discriminator)

    @property
    def pairs(self) -> int:
        """After how many the run ends."""
        return int(self.kimg * 1000)

    @property
    def unit(self) -> str:
        """What the run counts: ``pair``, or ``clip``."""
        return "clip" if self.judges_clips else "pair"

    def recipe(self) -> Recipe:
        """The discriminator's recipe, with what the options change; both learning rates are numbers."""
        own = discriminators.recipe(self.discriminator)
        lr = self.schedule().lr
        d_lr = self.d_lr if self.d_lr is not None else own.d_lr if self.lr is None else None
        return replace(
            own,
            loss=own.loss if self.d_loss is None else self.d_loss,
            d_steps=own.d_steps if self.d_steps is None else self.d_steps,
            r1_gamma=own.r1_gamma if self.r1_gamma is None else self.r1_gamma,
            lr=lr,
            d_lr=lr if d_lr is None else d_lr,
        )

    def torch_device(self) -> torch.device:
        """Raises ValueError if torch cannot compute on ``device``."""
        return default_device() if self.device is None else usable_device(self.device)

    def schedule(self) -> Schedule:
        """The published automatic schedule, with what the options change.

        Raises ValueError if the groups do not divide the batch.
        """
        batch = max(min(4096 // self.resolution, 32), 1) if self.batch is None else self.batch
        group = group_size(batch, self.batch_per_process)
        usual = discriminators.recipe(self.discriminator).lr or (0.002 if self.resolution >= 1024 else 0.0025)
        lr = usual if self.lr is None else self.lr
        ema_kimg = self.ema_kimg if self.ema_kimg is not None else batch * 10 / 32
        return Schedule(batch, lr, ema_kimg, group)

    def at_once(self, world: int) -> int:
        """Pairs that each of ``world`` processes computes at once.

        Raises ValueError, naming batches that can, if the batch cannot be divided so.
        """
        return micro_batch(self.schedule().batch, self.batch_per_process, world, self.unit)

    def frame_range(self) -> slice:
        """``frames`` as a slice.  Raises ValueError if it is not START:STOP."""
        return frame_range(self.frames)

    def generator_kwargs(self, c_dim: int) -> dict[str, Any]:
        """The generator's arguments.  Raises ValueError if ``generator_config`` is not a generator configuration."""
        if self.generator != "digan":
            return {
                "z_dim": self.z_dim,
                "c_dim": c_dim,
                "img_resolution": self.resolution,
                "img_channels": 3,
                "channel_base": CHANNEL_BASE if self.channel_base is None else self.channel_base,
                "channel_max": self.channel_max,
            }
        cfg = self._generator_cfg()
        return {
            "z_dim": self.z_dim,
            "c_dim": c_dim,
            "w_dim": self.w_dim,
            "img_resolution": self.resolution,
            "img_channels": 3,
            "mapping_kwargs": {"num_layers": 2},
            "synthesis_kwargs": {
                "channel_base": self._generator_channel_base(cfg),
                "channel_max": self.channel_max,
                **({"conv_clamp": MIXED_CLAMP} if self.g_precision == MIXED else {}),
            },
            "cfg": cfg,
        }

    def discriminator_kwargs(self, c_dim: int) -> dict[str, Any]:
        kwargs: dict[str, Any] = discriminators.named(self.discriminator).training_kwargs(
            c_dim=c_dim,
            img_resolution=self.resolution,
            img_channels=3,
            channel_base=self.d_channel_base,
            channel_max=self.d_channel_max,
            group=self.schedule().group,
            **self._clip_kwargs(),
        )
        return kwargs

    def _clip_kwargs(self) -> dict[str, Any]:
        if not self.judges_clips:
            return {}
        usual = discriminators.recipe(self.discriminator).frames
        shown = min(usual, self.clip_length) if self.d_frames is None else self.d_frames
        return {"clip_length": self.clip_length, "frames": shown, "reduction": self.d_reduction}

    def to_json(self) -> str:
        plain = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}
        return json.dumps(plain, indent=2)

    def resolved(self) -> dict[str, Any]:
        """The values that the fields leave to defaults or to a file."""
        cfg = self._generator_cfg()
        recipe = self.recipe()
        return {
            "grid": self.grid_side(),
            "channel_base": self._generator_channel_base(cfg),
            **self.schedule()._asdict(),
            "d_lr": recipe.d_lr,
            "d_loss": recipe.loss,
            "d_steps": recipe.d_steps,
            "r1_gamma": recipe.r1_gamma,
            "d_frames": self._clip_kwargs().get("frames"),
            "device": str(self.torch_device()),
            "generator": cfg,
        }

    def grid_side(self) -> int:
        """The side of the coarse levels' grid."""
        return min(32, self.resolution) if self.grid is None else self.grid

    def _generator_cfg(self) -> dict[str, Any]:
        if self.generator_config is not None:
            try:
                return read_config(self.generator_config)
            except (OSError, ValueError) as error:  # Both name the path.
                raise ValueError(f"generator_config: {error}") from error
        side = max(256, self.resolution)
        return coordinate_config(self.grid_side(), self.sinusoids, self.rank, {128: 1, 256: 1}, max_side=side)

    def _generator_channel_base(self, cfg: dict[str, Any]) -> int:
        if self.channel_base is not None:
            return self.channel_base
        fmaps = cfg.get("fmaps", 1)
        if not isinstance(fmaps, int | float) or not 0 < fmaps < 1e4:
            raise ValueError(f"generator_config: {self.generator_config}: fmaps: {fmaps!r}, expected a positive number")
        return int(fmaps * CHANNEL_BASE)
