"""Cuts a film into its shots: one folder of pictures each, so that no clip crosses a cut.

    python docs/examples/cut_film.py bbb.mp4 shots --frames 1000:11650
    digan-fast data pack shots --set folder --resolution 64 --out film.pack

A frame begins a shot if it differs from the one before it, as thumbnails, by more than a threshold and by several times
as much as its neighbours do: motion raises all differences, a cut one of them. Black frames, through which scenes fade,
separate shots. Shots shorter than a clip and those in which next to nothing moves are left out. Dissolves are missed.
All frames are held in memory, reduced: 90 KB each at a height of 128.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from tqdm import tqdm

from digan_fast.video import iter_frames, write

THUMBNAIL = (18, 32)  # height, width
CUT = 0.08  # mean absolute difference of thumbnails, of 1
PEAK = 2.5  # a cut's difference over the largest of the two on each side
BLACK = 0.04  # mean of a frame, of 1
STILL = 0.002  # mean difference of neighbouring frames, below which a shot does not move


def resized(frame: Tensor, height: int) -> Tensor:
    """A uint8 frame [3, H, W] at another height, its pixels averaged."""
    width = round(frame.shape[2] * height / frame.shape[1])
    small = interpolate(frame[None].float(), (height, width), mode="bilinear", antialias=True)
    return small[0].round().clamp(0, 255).to(torch.uint8)


def differences(thumbnails: Tensor) -> Tensor:
    """Of thumbnails [N, 3, h, w] in [0, 1], each one's mean absolute difference [N] from the one before it; 0 first."""
    steps = (thumbnails[1:] - thumbnails[:-1]).abs().mean((1, 2, 3))
    return torch.cat([torch.zeros(1), steps])


def cuts(steps: Tensor) -> Tensor:
    """Whether each frame [N] differs from the one before it as a cut does, from the differences [N]."""
    padded = torch.nn.functional.pad(steps, (2, 2))
    around = torch.stack([padded[i : i + len(steps)] for i in (0, 1, 3, 4)]).amax(0)
    return (steps > CUT) & (steps > PEAK * around)


def spans(thumbnails: Tensor) -> list[tuple[int, int]]:
    """First and one past the last frame of each shot, black frames left out."""
    black = thumbnails.mean((1, 2, 3)) < BLACK
    begins = cuts(differences(thumbnails)) | black
    begins[1:] |= black[:-1]
    begins[0] = True
    starts = begins.nonzero().flatten().tolist()
    return [(a, b) for a, b in zip(starts, [*starts[1:], len(thumbnails)], strict=True) if not black[a]]


def moving(thumbnails: Tensor, shot: tuple[int, int]) -> bool:
    start, stop = shot
    return bool(differences(thumbnails[start:stop])[1:].mean() > STILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path)
    parser.add_argument("out", type=Path, help="folder to write shot-00000/000000.png, … into; must not exist")
    parser.add_argument("--frames", default=":", help="START:STOP, frames of the film to use")
    parser.add_argument("--height", type=int, default=128, help="of the pictures")
    parser.add_argument("--shortest", type=int, default=31, help="frames; a clip of 16, every second one, takes 31")
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    first, last = (int(end) if end else None for end in options.frames.split(":"))
    frames = []
    for index, frame in enumerate(tqdm(iter_frames(options.film), unit="frame")):
        if last is not None and index >= last:
            break
        if index >= (first or 0):
            frames.append(resized(frame, options.height))
    thumbnails = torch.stack([interpolate(f[None] / 255, THUMBNAIL, mode="area")[0] for f in frames])
    found = spans(thumbnails)
    kept = [s for s in found if s[1] - s[0] >= options.shortest and moving(thumbnails, s)]
    for start, stop in tqdm(kept, unit="shot"):
        write(options.out / f"shot-{start + (first or 0):05d}", frames[start:stop])
    print(f"{len(kept)} of {len(found)} shots, {sum(b - a for a, b in kept)} of {len(frames)} frames")


if __name__ == "__main__":
    main()
