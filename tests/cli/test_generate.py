"""``digan-fast generate`` and ``motions``."""

import os

import pytest
import torch

from digan_fast import snapshot, video
from digan_fast.networks import latents


def frames_of(path):
    return video.read(path)[0]


def near(found, wanted):
    """Equal up to rounding, which depends on how many videos are rendered together."""
    return int((found.int() - wanted.int()).abs().max()) <= 1


def largest_differences(one, other):
    """Of each frame of two videos; of two images, of the one frame."""
    if one.suffix == ".png":
        for path in (one, other):
            os.rename(path, path.parent / "000000.png")
        one, other = one.parent, other.parent
    return (frames_of(one).int() - frames_of(other).int()).abs().amax((1, 2, 3)).tolist()


@pytest.fixture
def generate(run, snapshots, tmp_path):
    """A function that runs generate on a snapshot, into a folder of frames, and returns the frames."""

    def call(words="", kind="plain", command="generate"):
        out = tmp_path / "frames"
        code, stdout, stderr = run(command, snapshots[kind], "--out", out, *words.split())
        assert (code, stderr) == (0, "")
        assert stdout == f"{out}\n"
        return frames_of(out)

    return call


def test_frames_are_those_of_the_network(generate, generator):
    z, z_motion = latents.content([3], 16), latents.motion([5], 16)
    with torch.no_grad():
        wanted = generator.inr(z, None, z_motion).render(torch.linspace(0, 1, 5))[0]
    assert torch.equal(generate("--seeds 3 --motion-seed 5 --frames 5"), video.to_uint8(wanted))


def test_kinds_of_output(run, snapshots, tmp_path):
    words = ("generate", snapshots["plain"], "--seeds", "0,1,4", "--frames", "6", "--fps", "8")
    for name in ("a.mp4", "a.gif", "a.png", "deep/folder"):
        code, out, _ = run(*words, "--out", tmp_path / name)
        assert (code, out) == (0, f"{tmp_path / name}\n")
    found, rate = video.read(tmp_path / "a.mp4")
    assert found.shape == (6, 3, 32, 32)
    assert rate == 8
    assert frames_of(tmp_path / "a.gif").shape == (6, 3, 32, 32)
    assert frames_of(tmp_path / "deep" / "folder").shape == (6, 3, 32, 32)
    (tmp_path / "sheet").mkdir()
    os.rename(tmp_path / "a.png", tmp_path / "sheet" / "a.png")
    assert frames_of(tmp_path / "sheet").shape == (1, 3, 3 * 18 - 2, 6 * 18 - 2)


def test_a_file_for_each_seed(run, snapshots, tmp_path, generate):
    code, out, _ = run("generate", snapshots["plain"], "--seeds", "2,7-8", "--out", tmp_path / "v" / "{seed}.gif")
    assert code == 0
    assert sorted(os.listdir(tmp_path / "v")) == ["2.gif", "7.gif", "8.gif"]
    assert out.splitlines() == [str(tmp_path / "v" / f"{seed}.gif") for seed in (2, 7, 8)]
    code, _, _ = run("generate", snapshots["plain"], "--seeds", "2,7", "--out", tmp_path / "f" / "{seed}")
    assert code == 0
    assert torch.equal(frames_of(tmp_path / "f" / "7"), generate("--seeds 7"))


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.png"])
def test_the_same_seed_gives_the_same_bytes(run, snapshots, tmp_path, name):
    paths = [tmp_path / str(number) / name for number in range(3)]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        assert run("generate", snapshots["plain"], "--seeds", seed, "--out", path)[0] == 0
    first, again, other = (path.read_bytes() for path in paths)
    # Not left to pytest, which would print thousands of bytes and not where the pictures differ.
    if first != again:
        pytest.fail(f"the pictures of the same seed differ, by frame: {largest_differences(paths[0], paths[1])}")
    assert first != other


def test_the_same_seed_gives_the_same_pictures_every_time(generate):
    """The engine alone: 20 runs, so that a picture that changes from run to run is told from an encoder that does."""
    first = generate("--seeds 1")
    for _ in range(20):
        again = generate("--seeds 1")
        assert torch.equal(again, first), (again.int() - first.int()).abs().amax((1, 2, 3)).tolist()


def test_the_same_pictures_give_the_same_bytes_every_time(tmp_path, generator):
    """The encoder alone."""
    with torch.no_grad():
        inr = generator.inr(latents.content([1], 16), None, latents.motion([1], 16))
        frames = video.to_uint8(inr.render(torch.linspace(0, 1, 16))[0])
    contents = set()
    for _ in range(20):
        video.write(tmp_path / "a.mp4", iter(frames))
        contents.add((tmp_path / "a.mp4").read_bytes())
    assert len(contents) == 1


def test_content_and_motion_seeds(generate):
    both = generate("--seeds 1")
    assert torch.equal(generate("--seeds 1 --motion-seed 1"), both)
    moved = generate("--seeds 1 --motion-seeds 2")
    assert torch.equal(moved[0], both[0])
    assert not torch.equal(moved[-1], both[-1])
    assert not torch.equal(generate("--seeds 2 --motion-seed 1")[0], both[0])


def test_latents():
    z = latents.content([0, 5], 16)
    assert torch.equal(z[1], torch.randn(16, generator=torch.Generator().manual_seed(5)))
    assert not torch.equal(z, latents.motion([0, 5], 16))
    state = torch.get_rng_state()
    latents.motion([1], 4)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match="seeds"):
        latents.content([2**32], 4)


def test_spherical_interpolation_keeps_lengths():
    first, last = torch.randn(2, 64, generator=torch.Generator().manual_seed(0)).unbind()
    between = latents.spherical(first, last, torch.linspace(0, 1, 5))
    assert torch.allclose(between[0], first, atol=1e-6)
    assert torch.allclose(between[-1], last, atol=1e-6)
    lengths = between.norm(dim=1)
    assert float(lengths.min()) >= 0.99 * float(lengths[[0, -1]].min())
    assert torch.equal(latents.spherical(first, first, torch.tensor([0.5]))[0], first)


def test_times(generate):
    long = generate("--frames 9 --times 0:4")
    assert torch.equal(long[::2][:2], generate("--frames 2 --times 0:1"))
    assert torch.equal(generate("--frames 3 --times 1:0"), generate("--frames 3 --times 0:1").flip(0))
    assert torch.equal(generate("--frames 1 --times 0.5:9"), generate("--frames 1 --times=0.5:0.5"))
    assert generate("--frames 2 --times -1:0").shape == (2, 3, 16, 16)


def test_sizes_windows_levels_precisions(generate):
    large = generate("--size 32 --frames 2")
    assert large.shape == (2, 3, 32, 32)
    assert torch.equal(generate("--size 32 --frames 2 --window 4,8,10,12"), large[:, :, 4:14, 8:20])
    around = generate("--frames 2 --window -4,-6,24,28")
    assert around.shape == (2, 3, 24, 28)
    whole = generate("--frames 2")
    assert torch.equal(around[:, :, 4:20, 6:22], whole)
    assert not torch.equal(generate("--frames 2 --levels 1"), whole)
    for precision in ("bfloat16", "int8"):
        rounded = generate(f"--frames 2 --precision {precision}").float()
        assert 0 < (rounded - whole.float()).abs().mean() < 8


def test_grids(generate):
    tiles = [generate(f"--seeds {seed}") for seed in range(3)]
    row = generate("--seeds 0-2 --grid 3x1")
    assert near(row, torch.cat(tiles, dim=3))
    square = generate("--seeds 0-2")
    assert square.shape == (16, 3, 32, 32)
    assert near(square[:, :, 16:, :16], tiles[2])
    assert not square[:, :, 16:, 16:].any()
    assert generate("--seeds 0-4").shape == (16, 3, 32, 48)
    assert near(generate("--seeds 1,0 --grid 1x2")[:, :, :16], tiles[1])


def test_classes(generate, failing, snapshots):
    first, second = generate("--class 0", "classes"), generate("--class 2", "classes")
    assert not torch.equal(first, second)
    for words in (("--class", "3"), ("--class", "-1"), ()):
        assert "--class" in failing(2, "generate", snapshots["classes"], *words)
    assert "without classes" in failing(2, "generate", snapshots["plain"], "--class", "0")


def test_truncation(generate, failing, snapshots):
    assert torch.equal(generate("--truncation 1"), generate())
    assert not torch.equal(generate("--truncation 0.5"), generate())
    assert torch.equal(
        generate("--seeds 0 --motion-seed 0 --truncation 0"), generate("--seeds 9 --motion-seed 0 --truncation 0")
    )
    assert "--truncation" in failing(2, "generate", snapshots["no_mean"], "--truncation", "0.5")


def test_a_generator_without_an_inr(generate, failing, snapshots):
    single = generate("--seeds 4 --frames 20", "no_inr")
    assert single.shape == (20, 3, 16, 16)
    generator = snapshot.load(snapshots["no_inr"]).G_ema
    ws = generator.mapping(latents.content([4], 16), None)
    wanted = generator.synthesis(ws, torch.linspace(0, 1, 20).view(-1, 1, 1, 1), latents.motion([4], 16), "const")
    assert near(single, video.to_uint8(wanted))
    pair = generate("--seeds 4,5 --frames 20 --grid 2x1", "no_inr")
    assert near(pair[:, :, :, :16], single)
    for words in ("--size 32", "--window 0,0,4,4", "--levels 1", "--precision bfloat16"):
        err = failing(2, "generate", snapshots["no_inr"], *words.split())
        assert f"{words.split()[0]}: this generator has no INR: architecture is 'orig'" in err


def test_a_snapshot_without_averaged_weights(generate):
    assert torch.equal(generate(kind="raw"), generate())


def test_motions(generate):
    grid = generate("--seed 3 --motion-seeds 0,2,5", command="motions")
    assert grid.shape == (16, 3, 32, 32)
    assert torch.equal(grid[0, :, :16, :16], grid[0, :, :16, 16:])
    assert near(grid[:, :, :16, 16:], generate("--seeds 3 --motion-seed 2"))
    assert generate(command="motions").shape == (16, 3, 48, 48)


def test_memory_does_not_grow_with_the_frames(peak_memory, snapshots, tmp_path):
    words = ("generate", snapshots["plain"], "--size", "64", "--levels", "1")
    peaks = [peak_memory(*words, "--frames", frames, "--out", tmp_path / f"{frames}.mp4") for frames in (200, 2000)]
    # The additional 1800 frames are 21 MiB as uint8 and 84 MiB as float32.
    assert peaks[1] - peaks[0] < 12
