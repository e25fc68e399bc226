"""Training data: clips of videos, and pairs of frames drawn from them."""
