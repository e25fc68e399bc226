"""Small clips with motion."""

import torch

from digan_fast.fitting import GivenClip


def moving_disc(frames=8, height=18, width=24, fps=12.5):
    """A bright disc that moves to the right over a gradient."""
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    pictures = []
    for time in torch.linspace(0, 1, frames):
        centre = 5 + (width - 10) * float(time)
        disc = torch.sigmoid(5 - ((x - centre) ** 2 + (y - height / 2) ** 2).sqrt())
        pictures.append(torch.stack((0.2 + 0.7 * disc, x / width, y / height)))
    return GivenClip((torch.stack(pictures) * 255).round().to(torch.uint8), fps)
