"""The smallest and largest values of a run's options."""

from __future__ import annotations

from typing import Final

# The smallest and largest value of each numeric field of TrainConfig.
BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "clip_length": (2, 1e6),
    "clip_stride": (1, 1e6),
    "z_dim": (1, 1e6),
    "w_dim": (1, 1e6),
    "sinusoids": (1, 1e6),
    "rank": (1, 1e6),
    "channel_max": (1, 1e6),
    "d_channel_max": (1, 1e6),
    "d_frames": (1, 1e6),
    "d_steps": (1, 1000),
    "kimg": (0.001, 1e12),
    "batch": (1, 1e6),
    "batch_per_process": (1, 1e6),
    "lr": (1e-12, 1e3),
    "d_lr": (1e-12, 1e3),
    "r1_gamma": (0, 1e9),
    "style_mixing": (0, 1),
    "path_length": (0, 1e9),
    "ema_kimg": (0, 1e12),
    "seed": (0, 2**63 - 1),
    "tick_kimg": (0, 1e12),
    "snapshot_kimg": (0, 1e12),
    "save_minutes": (0, 1e6),
    "keep": (1, 1000),
    "sample_frames": (0, 1e4),
    "patience": (0.01, 1e5),
    "evaluate_kimg": (0, 1e12),
    "evaluate_count": (2, 1e6),
    "fps": (0.01, 1e4),
    "threads": (1, 4096),
    "workers": (0, 1024),
}
