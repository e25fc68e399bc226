"""The INR of B videos as data, its files, and its evaluation on windows; a single video's network as a file."""

from digan_fast.inr.mlp import VideoMLP
from digan_fast.inr.motion import MOTION_SLOPE, Motion
from digan_fast.inr.stored import Clip, Latents, StoredVideo, is_stored_video
from digan_fast.inr.tuning import Tuning, own_tensors, tuned, tuning, without_motion
from digan_fast.inr.video import VideoINR
from digan_fast.levels import Coordinates, Layer, Level

__all__ = [
    "MOTION_SLOPE",
    "Clip",
    "Coordinates",
    "Latents",
    "Layer",
    "Level",
    "Motion",
    "StoredVideo",
    "Tuning",
    "VideoINR",
    "VideoMLP",
    "is_stored_video",
    "own_tensors",
    "tuned",
    "tuning",
    "without_motion",
]
