"""DIGAN's published settings for each set (arXiv 2202.10571, appendix A, and the configurations released with it)."""

from __future__ import annotations

from typing import Any, Final

from digan_fast.data.layouts import SETS

# The learning rate, 0.0025, and R1's weight, 1, are those of the discriminator, so that others keep their own.
_COMMON: Final[dict[str, Any]] = {
    "resolution": 128,
    "clip_length": 16,
    "z_dim": 512,
    "w_dim": 512,
    "rank": 10,
    "kimg": 25000.0,
    # Eight processes of eight pairs, with deviation groups of four, as in any micro-batch of eight.
    "batch": 64,
    "augment": "color,translation",
    "ema_kimg": 20.0,
}
NAMES: Final = ("ucf101", "sky", "taichi", "kinetics-food")


def settings(name: str) -> dict[str, Any]:
    """Fields of TrainConfig by name.  Raises ValueError for an unknown set."""
    if name not in NAMES:
        raise ValueError(f"preset: {name!r}, expected one of {', '.join(NAMES)}")
    return {**_COMMON, "preset": name, "clip_stride": SETS[name].stride, "clips": SETS[name].clips}
