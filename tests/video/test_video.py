"""Video files, gifs and frame folders: round trips, crops, streams, and errors."""

import itertools
import os
import struct
import sys

import pytest
import torch
from PIL import Image

from digan_fast import video


def moving(count=12, height=48, width=64):
    """Smooth moving colours, uint8 [count, 3, H, W]."""
    y = torch.linspace(-1, 1, height).view(-1, 1).expand(height, width)
    x = torch.linspace(-1, 1, width).expand(height, width)
    frames = [torch.stack([(2 * x + t / 4).sin(), (2 * y + t / 5).cos(), (x + y + t / 6).sin()]) for t in range(count)]
    return video.to_uint8(torch.stack(frames))


def difference(found, wanted):
    return (found.float() - wanted.float()).abs()


@pytest.mark.parametrize("fps", [16, 30, 23.976])
def test_mp4_round_trip(tmp_path, fps):
    frames = moving()
    video.write(tmp_path / "a.mp4", iter(frames), fps)
    found, rate = video.read(tmp_path / "a.mp4")
    assert found.shape == frames.shape
    assert found.dtype == torch.uint8
    assert rate == pytest.approx(fps, rel=1e-3)
    assert difference(found, frames).mean() < 4


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (20, 40, 60)])
def test_mp4_keeps_colours(tmp_path, colour):
    frames = torch.tensor(colour, dtype=torch.uint8).view(1, 3, 1, 1).expand(4, 3, 32, 32)
    video.write(tmp_path / "a.mp4", frames)
    assert difference(video.read(tmp_path / "a.mp4")[0], frames).max() <= 4


def test_gif_round_trip(tmp_path):
    frames = moving(7)
    video.write(tmp_path / "a.gif", iter(frames), fps=16)
    found, rate = video.read(tmp_path / "a.gif")
    assert found.shape == frames.shape
    assert rate == pytest.approx(16, rel=0.03)
    assert difference(found, frames).mean() < 8
    with Image.open(tmp_path / "a.gif") as image:
        assert image.info["loop"] == 0
        assert image.n_frames == 7


def test_gif_of_few_colours_is_exact(tmp_path):
    frames = (moving(3) > 128).byte() * 255
    video.write(tmp_path / "a.gif", frames)
    assert torch.equal(video.read(tmp_path / "a.gif")[0], frames)


def test_frame_folder_is_exact(tmp_path):
    frames = moving(5)
    video.write(tmp_path / "deep" / "a", iter(frames))
    found, rate = video.read(tmp_path / "deep" / "a")
    assert torch.equal(found, frames)
    assert rate is None
    assert sorted(os.listdir(tmp_path / "deep")) == ["a"]


@pytest.mark.parametrize("suffix", ["mp4", "gif", ""])
@pytest.mark.parametrize("extent", [(33, 47), (32, 47), (33, 48), (1, 1)])
def test_odd_sizes(tmp_path, suffix, extent):
    path = tmp_path / (f"a.{suffix}" if suffix else "a")
    frames = moving(3, *extent)
    video.write(path, frames)
    found = video.read(path)[0]
    height, width = extent
    if suffix == "mp4":
        assert found.shape == (3, 3, height + height % 2, width + width % 2)
    found = found[:, :, :height, :width]
    assert difference(found, frames).mean() < 10


def test_natural_order(tmp_path):
    for value, name in enumerate(["1.png", "2.png", "a1b2.png", "a1b10.png", "a9.png", "a10.PNG", "b.jpg"]):
        Image.new("RGB", (4, 4), (value, value, value)).save(tmp_path / name)
    (tmp_path / ".hidden.png").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("no image")
    assert [int(frame[0, 0, 0]) for frame in video.iter_frames(tmp_path)] == list(range(7))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "I;16"])
def test_images_of_other_modes(tmp_path, mode):
    Image.new(mode, (5, 4)).save(tmp_path / "0.png")
    assert video.read(tmp_path)[0].shape == (1, 3, 4, 5)


@pytest.mark.parametrize(("crop", "first"), [("left", 0), ("center", 8), ("right", 16)])
def test_crops(crop, first):
    frame = moving(1, 16, 32)[0]
    assert torch.equal(video.square(frame, 16, crop), frame[:, :, first : first + 16])
    tall = frame.transpose(1, 2)
    assert torch.equal(video.square(tall, 16, crop), tall[:, first : first + 16])


def test_resizing_is_antialiased():
    stripes = torch.zeros(3, 32, 32, dtype=torch.uint8)
    stripes[:, :, ::2] = 255
    small = video.square(stripes, 8)
    assert small.shape == (3, 8, 8)
    # Without antialiasing every pixel would be 0 or 255.
    assert difference(small, torch.full_like(small, 128)).max() < 16
    assert video.square(stripes, 64).shape == (3, 64, 64)


def test_read_resizes_and_slices(tmp_path):
    frames = moving(10)
    video.write(tmp_path / "a", frames)
    found, _ = video.read(tmp_path / "a", 16, "right", slice(2, 9, 3))
    assert torch.equal(found, torch.stack([video.square(frame, 16, "right") for frame in frames[2:9:3]]))


def test_a_folder_of_mixed_sizes_needs_a_size(tmp_path):
    for index, side in enumerate((8, 16)):
        Image.new("RGB", (side, 8)).save(tmp_path / f"{index}.png")
    with pytest.raises(ValueError, match=r"16×8 after one of 8×8"):
        video.read(tmp_path)
    assert video.read(tmp_path, 4)[0].shape == (2, 3, 4, 4)


def test_a_phone_s_upright_video(tmp_path):
    frames = torch.zeros(2, 3, 32, 64, dtype=torch.uint8)
    frames[:, :, :16, :32] = 255
    video.write(tmp_path / "a.mp4", frames)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    # The display matrix, 40 bytes into the track header: a quarter turn clockwise.
    matrix = data.find(b"tkhd") + 44
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 32 << 16, 0, 1 << 30)
    (tmp_path / "a.mp4").write_bytes(data)
    found = video.read(tmp_path / "a.mp4")[0]
    assert found.shape == (2, 3, 64, 32)
    assert difference(found, frames.transpose(2, 3).flip(3)).mean() < 3


def test_other_containers(tmp_path):
    import av

    frames = moving(6, 32, 32)
    for suffix, codec in (("avi", "mpeg4"), ("mkv", "libx264"), ("webm", "libvpx"), ("mov", "mpeg4")):
        path = tmp_path / f"a.{suffix}"
        with av.open(path, "w") as container:
            stream = container.add_stream(codec, rate=10)
            stream.width = stream.height = 32
            stream.pix_fmt = "yuv420p"
            for frame in frames:
                pixels = frame.permute(1, 2, 0).contiguous().numpy()
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode(None))
        found, rate = video.read(path)
        assert found.shape == frames.shape
        assert rate == pytest.approx(10)
        assert difference(found, frames).mean() < 8


def test_what_is_a_video(tmp_path):
    video.write(tmp_path / "a.gif", moving(1))
    video.write(tmp_path / "frames", moving(1))
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.mp4").mkdir()
    assert video.is_video(tmp_path / "a.gif")
    assert not video.is_video(tmp_path / "folder.mp4")
    assert not video.is_video(tmp_path / "nothing.mp4")
    assert video.is_frame_folder(tmp_path / "frames")
    assert not video.is_frame_folder(tmp_path / "empty")
    assert not video.is_frame_folder(tmp_path / "a.gif")


def test_to_uint8_rounds_and_clamps():
    values = torch.tensor([-2.0, -1.0, -0.999, 0.0, 0.999, 1.0, 2.0, float("nan"), float("inf"), -float("inf")])
    assert video.to_uint8(values).tolist() == [0, 0, 0, 128, 255, 255, 255, 128, 255, 0]
    every = torch.arange(256)
    assert torch.equal(video.to_uint8(every / 127.5 - 1), every.byte())
    assert video.to_uint8(torch.zeros(2, dtype=torch.bfloat16)).tolist() == [128, 128]
    assert values[0] == -2


def test_sheet(tmp_path):
    frames = moving(5, 4, 6)
    picture = video.sheet([frames[:3], frames[3:]], gap=1)
    assert picture.shape == (3, 9, 20)
    assert torch.equal(picture[:, 5:, 7:13], frames[4])
    assert bool((picture[:, 4] == 255).all())
    assert bool((picture[:, 5:, 14:] == 255).all())
    video.write_image(tmp_path / "a.png", picture)
    assert torch.equal(video.read(tmp_path)[0][0], picture)
    with pytest.raises(ValueError, match="at least one frame"):
        video.sheet([[]])
    with pytest.raises(ValueError, match=r"frame 1: 6×3, expected 6×4"):
        video.sheet([[frames[0], frames[0][:, :3]]])
    with pytest.raises(ValueError, match=r"a\.jpg: expected the suffix \.png"):
        video.write_image(tmp_path / "a.jpg", picture)


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a"])
def test_an_interrupted_write_leaves_the_old_file(tmp_path, name):
    path = tmp_path / name
    video.write(path, moving(2))
    before = video.read(path)[0]

    def interrupted():
        yield from moving(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        video.write(path, interrupted())
    assert os.listdir(tmp_path) == [name]
    assert torch.equal(video.read(path)[0], before)
    video.write(path, moving(3))
    assert len(video.read(path)[0]) == 3
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a"])
@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (lambda: iter(()), "there are no frames"),
        (lambda: iter([torch.zeros(3, 8, 8)]), r"frame 0: torch\.float32 \[3, 8, 8\], expected torch\.uint8"),
        (lambda: iter([torch.zeros(8, 8, 3).byte()]), r"frame 0: torch\.uint8 \[8, 8, 3\]"),
        (lambda: (torch.zeros(3, 8, 8 + n).byte() for n in range(3)), "frame 1: 9×8, expected 8×8"),
    ],
)
def test_bad_streams(tmp_path, name, frames, message):
    with pytest.raises(ValueError, match=message):
        video.write(tmp_path / name, frames())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a"])
def test_a_stream_is_not_collected(tmp_path, name):
    """Frames are produced one by one: at most the few that an encoder holds are alive."""
    import weakref

    alive = weakref.WeakSet()
    most = 0

    def stream():
        nonlocal most
        for frame in itertools.islice(itertools.cycle(moving(4, 32, 32)), 200):
            own = frame.clone()
            alive.add(own)
            most = max(most, len(alive))
            yield own

    video.write(tmp_path / name, stream())
    assert most <= 4


def test_reading_stops_after_the_last_requested_frame(tmp_path):
    video.write(tmp_path / "a", moving(4))
    (tmp_path / "a" / "000003.png").write_bytes(b"damaged")
    assert len(video.read(tmp_path / "a", frames=slice(3))[0]) == 3
    with pytest.raises(ValueError, match=r"000003\.png: damaged or not an image"):
        video.read(tmp_path / "a")


@pytest.mark.parametrize("name", ["thesis.txt", "wedding.jpg", "1.png"])
def test_a_folder_with_other_files_is_not_replaced(tmp_path, name):
    video.write(tmp_path / "a", moving(1))
    (tmp_path / "a" / name).write_text("kept")
    with pytest.raises(ValueError, match=f"holds '{name}'"):
        video.write(tmp_path / "a", moving(2))
    (tmp_path / "b").write_text("kept")
    with pytest.raises(ValueError, match="a file, where a folder"):
        video.write(tmp_path / "b", moving(1))
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    assert sorted(os.listdir(tmp_path / "a")) == sorted(["000000.png", name])


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.avi", "a.webm"])
def test_damaged_files(tmp_path, name):
    for content in (b"", b"no video at all" * 100):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: damaged"):
            video.read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_truncated_files(tmp_path, name):
    path = tmp_path / name
    video.write(path, torch.randint(0, 256, (20, 3, 64, 64), dtype=torch.uint8))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=f"{name}: damaged"):
        video.read(path)


def test_other_errors(tmp_path):
    video.write(tmp_path / "a.gif", moving(2))
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError, match=r"nothing\.mp4"):
        video.read(tmp_path / "nothing.mp4")
    with pytest.raises(ValueError, match=r"a\.txt: unknown suffix '\.txt'"):
        video.read(tmp_path / "a.txt")
    with pytest.raises(ValueError, match="folder: no images"):
        video.read(tmp_path / "folder")
    with pytest.raises(ValueError, match=r"out\.xyz: unknown suffix '\.xyz'"):
        video.write(tmp_path / "out.xyz", moving(1))
    with pytest.raises(ValueError, match="fps: 0"):
        video.write(tmp_path / "out.gif", moving(1), fps=0)
    with pytest.raises(ValueError, match="crop: 'top'"):
        video.read(tmp_path / "a.gif", 8, "top")
    with pytest.raises(ValueError, match="size: 0"):
        video.read(tmp_path / "a.gif", 0)
    with pytest.raises(ValueError, match="non-negative"):
        video.read(tmp_path / "a.gif", frames=slice(-1, None))
    with pytest.raises(ValueError, match="no frames in"):
        video.read(tmp_path / "a.gif", frames=slice(5, 9))


def test_without_pyav(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r'a\.mp4: video files need PyAV.*pip install "digan_fast\[video\]"'):
        video.read(tmp_path / "a.mp4")
    consumed = iter(moving(1))
    with pytest.raises(ImportError, match=r"b\.mp4: video files need PyAV"):
        video.write(tmp_path / "b.mp4", consumed)
    assert next(consumed) is not None
    video.write(tmp_path / "b.gif", moving(1))


def test_a_missing_encoder_is_skipped(tmp_path, monkeypatch):
    from digan_fast.video import writing

    monkeypatch.setattr(writing, "_ENCODERS", (("no_such_encoder", {}), *writing._ENCODERS[2:]))
    frames = moving(4)
    video.write(tmp_path / "a.mp4", frames)
    assert difference(video.read(tmp_path / "a.mp4")[0], frames).mean() < 4
