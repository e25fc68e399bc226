"""DIGAN's networks under their published names, the code that turns latents into an INR, and coordinate MLPs."""

from digan_fast.networks.coord_mlp import CoordMLP
from digan_fast.networks.discriminators.digan import Discriminator
from digan_fast.networks.generator import Generator

__all__ = ["CoordMLP", "Discriminator", "Generator"]
