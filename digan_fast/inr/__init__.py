"""The INR of B videos as data, its files, and its evaluation on windows."""

from digan_fast.inr.motion import MOTION_SLOPE, Motion
from digan_fast.inr.video import VideoINR
from digan_fast.levels import Coordinates, Layer, Level

__all__ = ["MOTION_SLOPE", "Coordinates", "Layer", "Level", "Motion", "VideoINR"]
