"""Fits 64 images with 64 SIRENs at once; draws images, fits and curves: ``python docs/examples/fit_images.py``.

The images are pictures of the shipped snapshot, one seed each.  Needs matplotlib: ``pip install "digan_fast[plot]"``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import trange

from digan_fast import CoordMLP, load
from digan_fast.files import replacing
from digan_fast.snapshot import shipped


@torch.no_grad()
def pictures(count: int, size: int) -> Tensor:
    """[count, 3, size, size], nominally within [−1, 1]."""
    generator = torch.Generator().manual_seed(0)
    G = load(shipped()).G_ema
    z = torch.randn(count, G.z_dim, generator=generator)
    ws = G.mapping(z, None, truncation_psi=1.0)
    motion = torch.randn(count, G.w_dim, generator=generator)
    return G.synthesis.inr(ws, motion).render([0.5], size=size)[:, 0].clamp(-1, 1)


def grid(size: int) -> Tensor:
    """The centres of a picture's pixels, row by row: [size², 2]."""
    axis = (2 * torch.arange(size) + 1) / size - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack((x, y), -1).reshape(-1, 2)


def fit(network: CoordMLP, targets: Tensor, points: Tensor, steps: int) -> Tensor:
    """The PSNR in dB of every image and step [steps, B] for targets [B, N, 3]."""
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    curves = []
    for _ in trange(steps, unit="step"):
        errors = (network(points) - targets).square().mean((1, 2))
        optimiser.zero_grad()
        errors.sum().backward()  # each weight set learns from its own image
        optimiser.step()
        schedule.step()
        curves.append(10 * (4 / errors.detach()).log10())
    return torch.stack(curves)


def tiles(images: Tensor, columns: int) -> Tensor:
    """Images [B, H, W, 3] side by side, as numbers from 0 to 1."""
    count, height, width, _ = images.shape
    rows = count // columns
    placed = images[: rows * columns].reshape(rows, columns, height, width, 3).permute(0, 2, 1, 3, 4)
    return (placed.reshape(rows * height, columns * width, 3) / 2 + 0.5).clamp(0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=64, help="how many, each with a SIREN of its own (64)")
    parser.add_argument("--size", type=int, default=64, help="pixels along a side of an image (64)")
    parser.add_argument("--width", type=int, default=64, help="units of each of the three hidden layers (64)")
    parser.add_argument("--steps", type=int, default=400, help="of Adam, for all images at once (400)")
    parser.add_argument("--out", type=Path, default=Path("coordinate-mlps.png"), help="the picture (%(default)s)")
    options = parser.parse_args()
    torch.manual_seed(0)
    targets = pictures(options.images, options.size).movedim(1, -1)
    network = CoordMLP(2, 3, options.width, 3, sets=options.images)
    curves = fit(network, targets.flatten(1, 2), grid(options.size), options.steps)
    with torch.no_grad():
        fits = network(grid(options.size)).reshape(targets.shape)
        fine = network(grid(4 * options.size))[:2].reshape(2, 4 * options.size, 4 * options.size, 3)
    columns = max(1, round(options.images**0.5))
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    shown = (
        (tiles(targets, columns), "images"),
        (tiles(fits, columns), "fits"),
        (tiles(fine, 1), "two, 4 times as fine"),
    )
    axes = figure.subplots(1, 4, width_ratios=(1, 1, 0.5, 1.1))
    for axis, (picture, title) in zip(axes, shown, strict=False):
        axis.imshow(picture.numpy())
        axis.set_title(title)
        axis.axis("off")
    axes[3].plot(curves.numpy(), color="#2a7f9e", linewidth=0.4, alpha=0.5)
    axes[3].plot(curves.median(1).values.numpy(), color="#c77c11", linewidth=2, label="median")
    axes[3].set(xlabel="step", ylabel="PSNR, dB", title=f"{options.images} SIRENs at once")
    axes[3].legend()
    axes[3].grid(alpha=0.3)
    with replacing(options.out) as beside:
        figure.savefig(beside, dpi=110, format="png")
    last = curves[-1]
    print(f"PSNR after {options.steps} steps: median {float(last.median()):.1f} dB, worst {float(last.min()):.1f} dB")


if __name__ == "__main__":
    main()
