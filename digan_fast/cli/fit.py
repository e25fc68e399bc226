"""``digan-fast fit``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from digan_fast.cli.arguments import MaybeRange
from digan_fast.cli.errors import UsageError, by_option
from digan_fast.cli.options import OWN_DEFAULT
from digan_fast.cli.presentation import GivenPath

_CLIP = tyro.conf.arg(metavar="CLIP")


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """Train a network on one clip, without a generator.

    Writes the network, and beside it the clip next to its frames (-comparison.mp4), PSNR over
    steps (-curve.png) and a record of the numbers (.json). `digan-fast generate FILE` plays it
    at any size and time. Ctrl-C keeps the best network so far.
    """

    clip: Annotated[tyro.conf.Positional[GivenPath], _CLIP]
    """A video file, an animation or a folder of pictures."""
    out: GivenPath = Path("fitted.safetensors")
    """The file of the network."""
    network: Literal["inr", "siren", "fourier"] = "inr"
    """inr: levels as in DIGAN, with free motion. siren, fourier: a plain coordinate MLP."""
    size_kb: float = 200.0
    """Size of the file in thousands of bytes, which determines the widths of the layers."""
    storage: Literal["float32", "float16", "int8"] = "float16"
    """How weights are stored; int8 has a scale per row, and allows twice the weights of float16."""

    frames: Annotated[MaybeRange, OWN_DEFAULT] = None
    """Frames to use, counted from 0; default: all."""
    fps: Annotated[float | None, OWN_DEFAULT] = None
    """Resample the clip by time to this many frames per second; default: as it is."""
    longer_side: Annotated[int | None, OWN_DEFAULT] = None
    """Scale frames down to this many pixels along their longer side; default: as they are."""

    steps: int = 3000
    """The most steps."""
    psnr: Annotated[float | None, OWN_DEFAULT] = None
    """End as soon as the network, as stored, has this PSNR in dB over the whole clip; default: do not."""
    patience: int = 8
    """End early, after the decay of the learning rate, if this many evaluations gain less than
    0.05 dB; there are 40, or one in 50 steps."""
    pixels: int = 16384
    """Pixels per step, which bound its memory."""
    lr: Annotated[float | None, OWN_DEFAULT] = None
    """Adam's learning rate; default: inr 0.005, siren 0.0005, fourier 0.002."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the products; weights and sums stay float32."""
    seed: int = 0
    """Seed of the first weights and of the pixels of each step."""
    threads: Annotated[int | None, OWN_DEFAULT] = None
    """CPU threads; default: PyTorch's own number."""
    device: Annotated[str, OWN_DEFAULT] = "cpu"
    """Such as cuda; default: cpu."""


def run(options: FitOptions) -> None:
    """Fit, and write the files."""
    from digan_fast.cli import fitting, streams
    from digan_fast.fitting import FitConfig, fit, read_clip
    from digan_fast.inr import StoredVideo
    from digan_fast.training.interrupts import interruptible

    names = {field.name for field in dataclasses.fields(options)}
    chosen = {field.name: getattr(options, field.name) for field in dataclasses.fields(FitConfig)}
    try:
        config = FitConfig(**chosen)
        beside = fitting.check_out(options.out, [options.clip])
        fitting.check_room(options.out, config.size_kb * 1000)
        if options.longer_side is not None and options.longer_side < 2:
            raise ValueError(f"longer_side: {options.longer_side}, expected 2 or more")
        streams.check_rate(options.fps)
        device = streams.device_of(options.device)
    except ValueError as error:
        raise UsageError(by_option(error, names)) from error
    with fitting.threads(options.threads):
        clip = read_clip(options.clip, options.frames, options.longer_side, fps=options.fps)
        print(fitting.clip_line(options.clip, clip), flush=True)
        try:
            with interruptible() as stops:
                fitted = fit(clip, config, stops, progress=True, device=device)
        except ValueError as error:
            raise UsageError(by_option(error, names)) from error
        interrupted = fitted.ended == "interrupted"
        fitted.video.save(options.out, options.storage)
        print(fitting.size_line(options.out, clip))
        stored = StoredVideo.load(options.out, str(device))
        weights = sum(tensor.numel() for tensor in stored.network.tensors().values())
        record = {
            "clip": dataclasses.asdict(clip.described),
            "config": dataclasses.asdict(config),
            "weights": weights,
            "bytes": options.out.stat().st_size,
            "steps": fitted.steps,
            "seconds": fitted.seconds,
            "ended": fitted.ended,
        }
        took = f"{fitted.steps} steps, {fitted.seconds:.1f} s, {_why(fitted.ended)}"
        print(f"network: {config.network}, {weights:,} weights; {took}")
        curves = {"fit": fitted.curve}
        fitting.finish(beside, clip, {"fit": stored}, curves, record, interrupted, config.psnr)
    if interrupted:
        raise KeyboardInterrupt(f"stopped at step {fitted.steps}; {options.out} has the best network so far")
    if fitted.ended == "diverged":
        raise ValueError(
            f"--lr: the fit diverged after step {fitted.steps}; {options.out} has the best network before, "
            f"of {max(fitted.curve.psnr):.2f} dB; a smaller rate than {config.rate:g} may help"
        )


def _why(ended: str) -> str:
    return {
        "steps": "ended after --steps",
        "psnr": "ended by --psnr",
        "plateau": "ended early: no more gain",
        "interrupted": "interrupted",
        "diverged": "diverged",
    }[ended]
