"""Time to a PSNR of `digan-fast fit` against the same networks in plain PyTorch, and bits per pixel against codecs.

    python -m bench.fitting CLIP --frames 64 --longer-side 128 --threads 2

prints the tables of docs/fitting.md.  All forms of a network start from the same weights, draw the same pixels and
follow the same schedule.  Steps of all forms are interleaved, a few of each at a time, to compare their times; then
only ours go on, to find the number of steps to the PSNR over the whole clip.  The time to it is that number times the
median time of a step: forms in float32 take the same steps but for rounding, which the difference of their losses
shows.  Measuring PSNR is not counted, nor is the compilation of torch.compile.
"""

from __future__ import annotations

import argparse
import importlib
import io
import itertools
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from digan_fast.fitting import FitConfig, GivenClip, measure, read_clip
from digan_fast.fitting.fitting import Fitting, played
from digan_fast.fitting.optimising import Schedule
from digan_fast.inr import Level, Motion, VideoINR, VideoMLP
from digan_fast.levels import Window

TOGETHER = 5
ROUNDS = 20
BETWEEN = 50
CONFIGS = {
    "inr": FitConfig(network="inr", size_kb=300, steps=1800),
    "siren": FitConfig(network="siren", size_kb=200, steps=600),
    "fourier": FitConfig(network="fourier", size_kb=200, steps=1000),
}
OURS = ("digan_fast", "digan_fast, bfloat16")
FORMS = ("plain PyTorch", "torch.compile", *OURS)
# Encoders with their options and qualities from good to bad.
CODECS = {
    "H.264 (libx264, preset slow)": ("libx264", {"preset": "slow"}, range(14, 46)),
    "AV1 (libsvtav1, preset 4)": ("libsvtav1", {"preset": "4"}, range(14, 64)),
}


def phases(motion: Motion, times: Tensor) -> Tensor:
    """[T, K] at times [T], for one video."""
    moved = F.leaky_relu(times[:, None] * motion.velocity, 0.01)
    hidden = F.leaky_relu(F.linear(moved, motion.weight0, motion.bias0), 0.2) * math.sqrt(2)
    return motion.offset + F.linear(hidden, motion.weight1, motion.bias1)


def level_output(level: Level, below: Tensor | None, times: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """[T, H, W, O] of a level's layers on rows and columns of its grid."""
    assert level.coordinates is not None
    assert isinstance(level.coordinates.motion, Motion)
    x = columns * (2 / level.side) - 1
    y = (level.side - 1 - rows) * (2 / level.side) - 1
    points = torch.stack((x.expand(len(y), -1), y[:, None].expand(-1, len(x))), -1)
    theta = points @ level.coordinates.frequency[0].T + phases(level.coordinates.motion, times)[:, None, None]
    features = [theta.sin(), theta.cos()]
    out = torch.cat(features if below is None else [below, *features], -1)
    for layer in level.layers:
        out = F.leaky_relu(F.linear(out, layer.weight[0], layer.bias), 0.2) * layer.gain
    return out


def plain_inr(network: VideoINR, times: Tensor, window: Window) -> Tensor:
    """[T, 3, H, W]: every level on the cells under the window, upsampled, concatenated with its sines and cosines."""
    top, left, height, width = window
    x: Tensor | None = None
    image: Tensor | None = None
    bounds = (0, 0)
    for level in network.levels:
        factor = network.img_resolution // level.side
        first = top // factor, left // factor
        last = (top + height - 1) // factor + 1, (left + width - 1) // factor + 1
        if x is not None and image is not None:
            begin = first[0] - 2 * bounds[0], first[1] - 2 * bounds[1]
            part = slice(begin[0], begin[0] + last[0] - first[0]), slice(begin[1], begin[1] + last[1] - first[1])
            x, image = (_doubled(values)[:, part[0], part[1]] for values in (x, image))
        rows, columns = (torch.arange(a, b, dtype=torch.float32) for a, b in zip(first, last, strict=True))
        x = level_output(level, x, times, rows, columns)
        colours = F.linear(x, level.to_rgb.weight[0], level.to_rgb.bias)
        image = colours if image is None else image + colours
        bounds = first
    assert image is not None
    return image.movedim(-1, 1)


def _doubled(values: Tensor) -> Tensor:
    return values.repeat_interleave(2, 1).repeat_interleave(2, 2)


def plain_mlp(network: VideoMLP, points: Tensor) -> Tensor:
    """[N, 3] at points [N, 3]."""
    x = points
    if network.frequency is not None:
        theta = x @ network.frequency[0].T
        x = torch.cat((theta.sin(), theta.cos()), -1)
    last = len(network.weights) - 1
    for index, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        x = F.linear(x, weight[0], bias[0])
        if index < last:
            x = torch.sin(network.omega * x) if network.activation == "sine" else F.relu(x)
    return x


@dataclass
class Plain:
    """A network whose pictures and points are computed by plain PyTorch."""

    network: Any
    picture: Callable[..., Tensor] = plain_inr
    points: Callable[..., Tensor] = plain_mlp

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def render(self, times: Tensor, window: Window, precision: str) -> Tensor:
        return self.picture(self.network, times, window).unsqueeze(0)

    def at(self, coordinates: Tensor, precision: str) -> Tensor:
        return self.points(self.network, coordinates)


@dataclass
class Race:
    """One form of a network on its way to the PSNR."""

    fitting: Fitting
    network: Any
    clock: Callable[[], float]
    steps: int = 0
    rounds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def advance(self, schedule: Schedule) -> None:
        """Some steps, timed."""
        begun = self.clock()
        for _ in range(TOGETHER):
            config, generator = self.fitting.config, self.fitting.generator
            self.losses.append(self.fitting.sampler.backward(self.network, config.precision, generator))
            self.fitting.optimiser.step(schedule.factor(self.steps))
            self.steps += 1
        self.rounds.append(self.clock() - begun)

    def step_seconds(self) -> float:
        return statistics.median(self.rounds[:ROUNDS]) / TOGETHER


def form(name: str, clip: GivenClip, config: FitConfig, clock: Callable[[], float]) -> Race:
    """A form by its name, with everything compiled."""
    precision = "bfloat16" if name.endswith("bfloat16") else "float32"
    fitting = Fitting(clip, FitConfig(**{**vars(config), "precision": precision}))
    network: Any = fitting.video.network
    if name == "plain PyTorch":
        network = Plain(network)
    if name == "torch.compile":
        network = Plain(network, torch.compile(plain_inr), torch.compile(plain_mlp))
    fitting.sampler.backward(network, precision, torch.Generator())
    for tensor in network.tensors().values():
        tensor.grad = None
    return Race(fitting, network, clock)


def race(
    clip: GivenClip, config: FitConfig, psnr: float, clock: Callable[[], float]
) -> tuple[dict[str, Race], dict[str, int | None]]:
    """Every form after its interleaved steps, and the steps that ours take to the PSNR; None if it is not reached."""
    races = {name: form(name, clip, config, clock) for name in FORMS}
    schedule = Schedule(config.steps)
    for _ in range(ROUNDS):
        for each in races.values():
            each.advance(schedule)
    reached: dict[str, int | None] = {}
    for name in OURS:
        each = races[name]
        while each.steps < config.steps:
            each.advance(schedule)
            if each.steps % BETWEEN == 0 and each.fitting.stored_quality().psnr >= psnr:
                break
        reached[name] = each.steps if each.fitting.stored_quality().psnr >= psnr else None
    return races, reached


def encoded(codec: str, options: dict[str, str], frames: Tensor, crf: int) -> tuple[int, Iterator[Tensor]]:
    """The bytes of the packets of a clip, and its decoded frames."""
    av: Any = importlib.import_module("av")
    target = io.BytesIO()
    size = 0
    with av.open(target, "w", format="matroska") as container:
        stream = container.add_stream(codec, rate=25, options={**options, "crf": str(crf)})
        stream.height, stream.width, stream.pix_fmt = frames.shape[2], frames.shape[3], "yuv420p"
        pictures = (av.VideoFrame.from_ndarray(frame.permute(1, 2, 0).contiguous().numpy()) for frame in frames)
        for picture in itertools.chain(pictures, [None]):
            for packet in stream.encode(picture):
                size += packet.size
                container.mux(packet)
    target.seek(0)

    def decoded() -> Iterator[Tensor]:
        with av.open(target) as container:
            for frame in container.decode(video=0):
                yield torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)

    return size, decoded()


def codec_row(name: str, clip: GivenClip, psnr: float) -> tuple[float, float]:
    """PSNR and bits per pixel at the worst quality of a codec that still has this PSNR."""
    codec, options, qualities = CODECS[name]
    best = (math.nan, math.nan)
    for crf in qualities:
        size, frames = encoded(codec, options, clip.frames, crf)
        found = measure(frames, clip.frames).psnr
        if found < psnr:
            break
        best = found, 8 * size / (clip.frames.numel() // 3)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip")
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--longer-side", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--psnr", type=float, default=30.0)
    parser.add_argument("--networks", default=",".join(CONFIGS))
    parser.add_argument("--processor-time", action="store_true", help="for a machine with neighbours; with --threads 1")
    options = parser.parse_args()
    clock = time.process_time if options.processor_time else time.perf_counter
    torch.set_num_threads(options.threads)
    clip = read_clip(options.clip, slice(0, options.frames), options.longer_side)
    print(f"{len(clip)} frames of {clip.frames.shape[3]}×{clip.frames.shape[2]}, {options.threads} threads\n")
    print("| network | form | ms per step | speed-up | steps | seconds to the PSNR |")
    print("| --- | --- | --- | --- | --- | --- |")
    pixels = clip.frames.numel() // 3
    fitted = []
    for name in options.networks.split(","):
        races, reached = race(clip, CONFIGS[name], options.psnr, clock)
        plain = races["plain PyTorch"]
        for kind, each in races.items():
            pairs = zip(plain.rounds[:ROUNDS], each.rounds[:ROUNDS], strict=True)
            ratio = statistics.median(before / after for before, after in pairs)
            steps = reached[kind if kind in OURS else OURS[0]]
            seconds = "not reached" if steps is None else f"{steps * each.step_seconds():.1f}"
            step = 1000 * each.step_seconds()
            print(f"| {name} | {kind} | {step:.1f} | {ratio:.2f}× | {steps} | {seconds} |", flush=True)
        apart = max(abs(a / b - 1) for a, b in zip(plain.losses, races[OURS[0]].losses, strict=False))
        print(f"losses of plain PyTorch and ours: apart by at most {apart:.1e}", file=sys.stderr)
        fitting = races["digan_fast"].fitting
        for storage in ("float16", "int8"):
            video = fitting.video.rounded(storage)
            size = sum(tensor.nbytes for tensor in fitting.video.contents(storage)[0].values())
            quality = measure(played(video, clip.times), clip.frames)
            fitted.append((f"{name}, {storage}", quality.psnr, 8 * size / pixels))
    print("\n| stored as | PSNR | bits per pixel |\n| --- | --- | --- |")
    for title, psnr, bits in fitted:
        print(f"| {title} | {psnr:.2f} dB | {bits:.3f} |")
    for title in CODECS:
        psnr, bits = codec_row(title, clip, options.psnr)
        print(f"| {title} | {psnr:.2f} dB | {bits:.3f} |", flush=True)


if __name__ == "__main__":
    main()
