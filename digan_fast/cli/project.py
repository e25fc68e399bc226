"""``digan-fast project``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from digan_fast.cli.arguments import MaybeRange
from digan_fast.cli.errors import UsageError, by_option
from digan_fast.cli.options import OWN_DEFAULT
from digan_fast.cli.presentation import GivenPath, MaybeSnapshot

if TYPE_CHECKING:
    from digan_fast.networks import Generator

_CLIP = tyro.conf.arg(metavar="CLIP")
_SNAPSHOT = tyro.conf.arg(metavar="SNAPSHOT", help_behavior_hint="")
_CLASS = tyro.conf.arg(name="class", metavar="NAME|N", help_behavior_hint="")


@dataclass(frozen=True, kw_only=True)
class ProjectOptions:
    """Find a clip in a snapshot's latent space.

    First w and the motion vector, from the mean of w, with pixels, gradients at three scales and
    frame differences in the objective, and noise that fades; then the weights of the INR found.
    Writes the INR with its latents, and beside it the clip next to the video of the latents and
    that of the INR (-comparison.mp4), PSNR over steps (-curve.png) and a record of the numbers
    (.json). `digan-fast generate FILE` plays it; `interpolate` and `motions` take it as
    --projected FILE. Ctrl-C keeps what has been found so far.
    """

    clip: Annotated[tyro.conf.Positional[GivenPath], _CLIP]
    """A video file, an animation or a folder of pictures; its frames lie at times 0 to 1."""
    snapshot: Annotated[tyro.conf.Positional[MaybeSnapshot], _SNAPSHOT] = None
    """A snapshot of digan_fast, the folder of a run that has one, or a published pickle; default: the shipped one."""
    out: GivenPath = Path("projected.safetensors")
    """The file of the INR and its latents."""

    frames: Annotated[MaybeRange, OWN_DEFAULT] = None
    """Frames to use, counted from 0; default: all. Choose as many and as far apart as in training."""
    fps: Annotated[float | None, OWN_DEFAULT] = None
    """Resample the clip by time to this many frames per second; default: as it is."""
    crop: Literal["center", "left", "right"] = "center"
    """Square to crop from each frame, which is scaled down to the snapshot's resolution."""
    label: Annotated[str | None, _CLASS] = None
    """The class, for snapshots trained with labels: its name, if the snapshot has names, or its index."""

    steps: int = 500
    """Steps of the search for latents."""
    tuning_steps: int = 500
    """Steps of the fit of the INR's weights; 0 leaves them as the latents give them."""
    space: Literal["w", "w+"] = "w"
    """One w for all layers, as in training, or one for each: closer, but further from what was trained."""
    noise: float = 0.05
    """Standard deviation of the noise at the beginning, as a share of that of w."""
    lr: float = 0.1
    """Adam's learning rate for latents."""
    tuning_lr: float = 0.01
    """Adam's learning rate for weights."""
    pixels: int = 32768
    """Pixels per step: as many frames as have them, at least two; they bound its memory."""
    storage: Literal["float32", "float16", "int8"] = "float16"
    """How weights are stored."""
    seed: int = 0
    """Seed of the samples of w, the noise and the frames of each step."""
    threads: Annotated[int | None, OWN_DEFAULT] = None
    """CPU threads; default: PyTorch's own number."""
    device: Annotated[str | None, OWN_DEFAULT] = None
    """Such as cpu or cuda:1; default: cuda if available, else cpu."""


def run(options: ProjectOptions) -> None:
    """Project, and write the files."""
    from digan_fast.cli import fitting, stored, streams
    from digan_fast.fitting import ProjectConfig, project, read_clip
    from digan_fast.fitting.networks import stored_bytes
    from digan_fast.fitting.projection import at_zero
    from digan_fast.inr import StoredVideo
    from digan_fast.training.interrupts import interruptible

    names = {field.name for field in dataclasses.fields(options)}
    chosen = {f.name: getattr(options, f.name) for f in dataclasses.fields(ProjectConfig) if f.name in names}
    try:
        config = ProjectConfig(**chosen)
        beside = fitting.check_out(options.out, [options.clip, options.snapshot])
        streams.check_rate(options.fps)
    except ValueError as error:
        raise UsageError(by_option(error, names)) from error
    with fitting.threads(options.threads):
        stored.check_snapshot(options.snapshot, "digan-fast generate FILE plays it")
        generator = streams.generator_of(options.snapshot, options.device)
        _check_inr(generator, options.snapshot)
        labels = streams.labels_of(generator, options.label, 1)
        side = generator.img_resolution
        clip = read_clip(options.clip, options.frames, square=side, crop=options.crop, fps=options.fps)
        fitting.check_room(options.out, stored_bytes(at_zero(generator, clip), options.storage))
        print(fitting.clip_line(options.clip, clip), flush=True)
        try:
            with interruptible() as stops:
                projected = project(generator, clip, config, labels, stops, progress=True)
        except ValueError as error:
            raise UsageError(by_option(error, names)) from error
        projected.video.save(options.out, options.storage)
        print(fitting.size_line(options.out, clip))
        device = str(next(generator.parameters()).device)
        found = {"latents": projected.found, "tuned": StoredVideo.load(options.out, device)}
        record = {
            "clip": dataclasses.asdict(clip.described),
            "snapshot": None if options.snapshot is None else str(options.snapshot),
            "config": dataclasses.asdict(config),
            "seconds": projected.seconds,
            "interrupted": projected.interrupted,
            "diverged": projected.diverged,
        }
        fitting.finish(beside, clip, found, {"projection": projected.curve}, record, projected.interrupted)
    if projected.interrupted:
        raise KeyboardInterrupt(f"stopped; {options.out} has what was found so far")
    if projected.diverged is not None:
        given = getattr(config, projected.diverged)
        raise ValueError(
            f"--{projected.diverged.replace('_', '-')}: diverged; {options.out} has the best found before; "
            f"a smaller rate than {given:g} may help"
        )


def _check_inr(generator: Generator, snapshot: Path | None) -> None:
    reason = generator.synthesis.why_not_inr()
    if reason is not None:
        raise ValueError(f"{snapshot}: this generator has no INR, which projection needs: {reason}")
