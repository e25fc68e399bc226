"""Videos and pictures are read as players and viewers show them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps, features
from quadrants import MATRICES, encode, quadrants
from torch import Tensor

from digan_fast import video


def corners(frame: Tensor) -> str:
    """The colours' names at the corners: upper left, upper right, lower left, lower right."""
    names = {(1, 0, 0): "r", (0, 1, 0): "g", (0, 0, 1): "b", (1, 1, 1): "w"}
    at = [frame[:, y, x] for y in (2, -3) for x in (2, -3)]
    return "".join(names[tuple(int(level > 127) for level in pixel.tolist())] for pixel in at)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_rotated_according_to_exif(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(quadrants()).save(tmp_path / "0.png", exif=exif)
    found = video.read(tmp_path)[0][0]
    with Image.open(tmp_path / "0.png") as image:
        shown = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    assert torch.equal(found, torch.from_numpy(shown).permute(2, 0, 1))


@pytest.mark.parametrize("matrix", MATRICES)
def test_videos_are_rotated_and_mirrored_by_their_matrix(tmp_path: Path, matrix: tuple[int, ...]) -> None:
    a, b, c, d = (number << 16 for number in matrix)
    path = encode(tmp_path / "a.mov", [quadrants()] * 3, matrix=[a, b, 0, c, d, 0, 0, 0, 1 << 30])
    frame = video.read(path)[0][0]
    assert corners(frame) == MATRICES[matrix]
    assert frame.shape == ((3, 32, 64) if matrix[0] else (3, 64, 32))


@pytest.mark.parametrize("shape", [Fraction(2, 1), Fraction(1, 2), Fraction(16, 15), Fraction(1, 1)])
def test_pixels_become_square(tmp_path: Path, shape: Fraction) -> None:
    height, width = 64, 64
    y, x = np.mgrid[0:height, 0:width]
    disc = ((x - 31.5) * float(shape)) ** 2 + (y - 31.5) ** 2 < 12**2
    pixels = np.repeat((disc * 255).astype(np.uint8)[..., None], 3, 2)
    frame = video.read(encode(tmp_path / "a.mp4", [pixels] * 2, shape=shape))[0][0, 0] > 127
    rows, columns = int(frame.any(1).sum()), int(frame.any(0).sum())
    assert abs(rows - columns) <= 2
    assert frame.shape[1] / frame.shape[0] == pytest.approx(float(shape), rel=0.02)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [(mode, "png") for mode in ("RGBA", "LA", "P")]
    + [("RGBA", "webp"), ("RGBA", "gif"), ("P", "gif"), ("RGBA", "tif"), ("LA", "tif")],
)
def test_transparent_pictures_are_composited_over_black(tmp_path: Path, mode: str, suffix: str) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[..., :3] = 240
    pixels[2:6, 2:6, 3] = 255
    picture = Image.fromarray(pixels, "RGBA")
    if mode == "P":
        picture = Image.fromarray(np.where(pixels[..., 3] > 0, 1, 0).astype(np.uint8), "P")
        picture.putpalette([240, 30, 10, 240, 240, 240])
        picture.info["transparency"] = 0
    elif mode == "LA":
        picture = picture.convert("LA")
    folder = tmp_path if suffix != "gif" else tmp_path / "in"
    folder.mkdir(exist_ok=True)
    options = {"lossless": True} if suffix == "webp" else {}
    picture.save(folder / f"0.{suffix}", **options)
    found = video.read(folder / "0.gif" if suffix == "gif" else folder)[0][0]
    assert found[:, 0, 0].tolist() == [0, 0, 0]
    assert found[:, 4, 4].tolist() == [240, 240, 240]


def test_transparent_videos_are_composited_over_black(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("png", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "rgba"
        for _ in range(2):
            pixels = np.full((16, 16, 4), 240, np.uint8)
            pixels[:8, :, 3], pixels[8:, :, 3] = 0, 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgba")))
        container.mux(stream.encode(None))
    frame = video.read(tmp_path / "a.mov")[0][0]
    assert frame[:, 0].max() == 0
    assert frame[:, -1].min() == 240


def test_16_bits_are_scaled(tmp_path: Path) -> None:
    levels = np.array([[0, 257, 32896, 65535]], np.uint16).repeat(2, 0)
    Image.fromarray(levels).save(tmp_path / "0.png")
    found = video.read(tmp_path)[0][0]
    assert found[:, 0].tolist() == [[0, 1, 128, 255]] * 3
    Image.fromarray(levels.astype(np.float32)).save(tmp_path / "0.tif")
    (tmp_path / "0.png").unlink()
    with pytest.raises(ValueError, match=r"0\.tif.*floating-point"):
        video.read(tmp_path)


def test_cover_art_is_not_the_video(tmp_path: Path) -> None:
    """A first stream that is an attached picture, as music players and yt-dlp embed thumbnails."""
    encode(tmp_path / "a.mp4", [quadrants(64, 64)] * 5)
    with av.open(str(tmp_path / "b.mp4"), "w") as container, av.open(str(tmp_path / "a.mp4")) as source:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 128, 128, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        copy = container.add_stream_from_template(source.streams.video[0])
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((128, 128, 3), np.uint8), format="rgb24")))
        container.mux(cover.encode(None))
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = copy
                container.mux(packet)
    frames = video.read(tmp_path / "b.mp4")[0]
    assert frames.shape == (5, 3, 64, 64)
    assert corners(frames[0]) == "rgbw"


def brightness(path: Path, **options: Any) -> list[float]:
    return [round(float(frame.float().mean()) / 250, 2) for frame in video.iter_frames(path, **options)]


def test_variable_frame_rates_are_resampled(tmp_path: Path) -> None:
    """Brightness encodes time: 16 frames in the first half second, 4 in the second; each is shown until the next."""
    times = [i / 32 for i in range(16)] + [0.5 + i / 8 for i in range(4)]
    frames = [np.full((16, 16, 3), round(250 * t), np.uint8) for t in times]
    path = encode(tmp_path / "a.mp4", frames, times)
    found = brightness(path)
    wanted = [i / 32 for i in range(16)] + [0.5] * 4 + [0.625] * 4 + [0.75] * 4 + [0.875]
    assert found == pytest.approx(wanted, abs=0.02)
    assert video.frame_rate(path) == 32
    assert video.read(path)[1] == 32
    assert brightness(path, fps=8) == pytest.approx([i / 8 for i in range(7)], abs=1 / 16)


def test_constant_frame_rates_are_resampled_only_on_request(tmp_path: Path) -> None:
    frames = [np.full((16, 16, 3), 10 * i, np.uint8) for i in range(16)]
    path = encode(tmp_path / "a.mp4", frames)
    assert len(brightness(path)) == 16
    assert brightness(path, fps=16) == pytest.approx([i * 20 / 250 for i in range(8)], abs=10 / 250 + 0.01)
    assert len(brightness(path, fps=64)) in (31, 32)
    with pytest.raises(ValueError, match="fps: 0"):
        brightness(path, fps=0)
    video.write(tmp_path / "folder", video.read(path)[0])
    with pytest.raises(ValueError, match="have no times"):
        brightness(tmp_path / "folder", fps=8)


def test_animations_are_resampled_by_their_durations(tmp_path: Path) -> None:
    frames = [Image.new("L", (8, 8), 60 * i) for i in range(4)]
    avif = ("a.avif",) if features.check("avif") else ()
    for name in ("a.gif", "a.webp", "a.png", *avif):
        options = {"a.webp": {"lossless": True}, "a.avif": {"quality": 100}}.get(name, {})
        frames[0].save(
            tmp_path / name, save_all=True, append_images=frames[1:], duration=[100, 100, 400, 100], **options
        )
        assert brightness(tmp_path / name) == pytest.approx([0, 0.24, 0.48, 0.48, 0.48, 0.48, 0.72], abs=0.01), name
        assert video.frame_rate(tmp_path / name) == pytest.approx(10)


@pytest.mark.parametrize(
    "name", ["a:b.mp4", "http:x.mp4", "夜景é.mp4", "x" * 241 + ".mp4", "y" * 251 + ".gif", "z" * 255]
)
def test_any_valid_file_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    frames = torch.full((3, 3, 16, 16), 100, dtype=torch.uint8)
    video.write(name, frames)
    assert video.read(name)[0].shape == frames.shape
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mpg", "mpeg1video"), ("wmv", "wmv2"), ("flv", "flv"), ("ts", "mpeg2video")]
)
def test_other_containers(tmp_path: Path, suffix: str, codec: str) -> None:
    with av.open(str(tmp_path / f"a.{suffix}"), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 176, 144, "yuv420p"
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame(176, 144, "yuv420p")))
        container.mux(stream.encode(None))
    assert video.read(tmp_path / f"a.{suffix}")[0].shape == (4, 3, 144, 176)


@pytest.mark.parametrize("suffix", ["tif", "ppm", "tga", "bmp"])
def test_other_pictures(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(quadrants()).save(tmp_path / f"0.{suffix}")
    assert corners(video.read(tmp_path)[0][0]) == "rgbw"


def test_gifs_above_50_frames_per_second_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fps: 60, expected at most 50"):
        video.write(tmp_path / "a.gif", torch.zeros(2, 3, 8, 8, dtype=torch.uint8), fps=60)
    assert list(tmp_path.iterdir()) == []


def test_resizing_non_contiguous_frames(tmp_path: Path) -> None:
    """A decoded frame is a view of interleaved colours; its crops and resized versions equal those of a copy."""
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    (frame, *_) = video.iter_frames(encode(tmp_path / "a.mp4", [noise] * 2))
    assert not frame.is_contiguous()
    for side in (16, 48, 100):
        assert torch.equal(video.square(frame, side), video.square(frame.contiguous(), side))
    assert video.frame_count(tmp_path / "a.mp4") == 2
