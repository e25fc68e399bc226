"""DIGAN's networks under their published names, and the code that turns latents into an INR."""

from digan_fast.networks.discriminators.digan import Discriminator
from digan_fast.networks.generator import Generator

__all__ = ["Discriminator", "Generator"]
