"""Reads and writes video files, gifs and folders of frames; a frame is a uint8 tensor [3, H, W], RGB."""

from digan_fast.video.frames import sheet, square, to_uint8
from digan_fast.video.pictures import IMAGE_SUFFIXES
from digan_fast.video.reading import (
    VIDEO_SUFFIXES,
    frame_count,
    frame_rate,
    is_frame_folder,
    is_video,
    iter_frames,
    read,
)
from digan_fast.video.writing import write, write_image

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "frame_count",
    "frame_rate",
    "is_frame_folder",
    "is_video",
    "iter_frames",
    "read",
    "sheet",
    "square",
    "to_uint8",
    "write",
    "write_image",
]
