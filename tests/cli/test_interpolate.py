"""``digan-fast interpolate``."""

import pytest
import torch

from digan_fast import video


def near(found, wanted):
    """Equal up to rounding, which depends on how many videos are rendered together."""
    return int((found.int() - wanted.int()).abs().max()) <= 1


@pytest.fixture
def interpolate(run, snapshots, tmp_path):
    """A function that runs a command into a folder of frames, and returns the frames."""

    def call(words, command="interpolate", kind="plain"):
        out = tmp_path / "frames"
        code, _, stderr = run(command, snapshots[kind], "--out", out, *words.split())
        assert (code, stderr) == (0, "")
        return video.read(out)[0]

    return call


@pytest.mark.parametrize("mode", ["content", "motion", "both"])
def test_a_grid_has_the_seeds_at_its_ends(interpolate, mode):
    grid = interpolate(f"--seeds 1,2,3 --mode {mode} --view grid --steps 3")
    assert grid.shape == (16, 3, 32, 48)
    for row, leg in enumerate(((1, 2), (2, 3))):
        for column, seed in zip((0, 2), leg, strict=True):
            content = 1 if mode == "motion" else seed
            motion = 1 if mode == "content" else seed
            wanted = interpolate(f"--seeds {content} --motion-seed {motion}", "generate")
            tile = grid[:, :, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]
            assert near(tile, wanted)
    assert not near(grid[:, :, :16, 16:32], grid[:, :, :16, :16])


def test_a_morph_moves_time_and_content_together(interpolate):
    morph = interpolate("--seeds 1,2,3 --steps 7 --frames 4")
    assert morph.shape == (15, 3, 16, 16)
    # Time: 0, 1/3, 2/3, 1, 2/3, 1/3, 0, 1/3, ….
    middle = interpolate("--seeds 2 --motion-seed 1 --frames 4", "generate")
    assert near(morph[7], middle[1])
    assert near(morph[0], interpolate("--seeds 1 --frames 1", "generate")[0])
    last = interpolate("--seeds 3 --motion-seed 1 --frames 4", "generate")
    assert near(morph[14], last[2])


def test_a_morph_of_motion_at_time_0_stands_still(interpolate):
    still = interpolate("--seeds 1,2 --mode motion --frames 1 --steps 5")
    assert still.shape == (6, 3, 16, 16)
    assert near(still, still[:1].expand_as(still))


def test_a_fixed_motion_seed(interpolate):
    found = interpolate("--seeds 1,2 --motion-seed 9 --view grid --steps 2")
    assert near(found[:, :, :, :16], interpolate("--seeds 1 --motion-seed 9", "generate"))


def test_defaults(interpolate):
    assert interpolate("").shape == (97, 3, 16, 16)
    assert interpolate("--view grid").shape == (16, 3, 32, 96)


def test_without_an_inr(interpolate):
    assert interpolate("--seeds 1,2 --steps 9", kind="no_inr").shape == (10, 3, 16, 16)
    assert interpolate("--seeds 1,2 --view grid --steps 2", kind="no_inr").shape == (16, 3, 16, 32)


def test_a_sheet(run, snapshots, tmp_path):
    words = ("interpolate", snapshots["plain"], "--view", "grid", "--seeds", "0,1", "--steps", "3", "--frames", "4")
    assert run(*words, "--out", tmp_path / "a.png")[0] == 0
    assert video.read(tmp_path)[0].shape == (1, 3, 3 * 18 - 2, 4 * 18 - 2)


def test_memory_does_not_grow_with_the_frames(peak_memory, snapshots, tmp_path):
    words = ("interpolate", snapshots["wide"], "--seeds", "0,1", "--levels", "1")
    peaks = [peak_memory(*words, "--steps", steps, "--out", tmp_path / f"{steps}.mp4") for steps in (200, 4000)]
    # The ws of the additional 3800 frames are 45 MiB.
    assert peaks[1] - peaks[0] < 12


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--seeds 1", "--seeds"),
        ("--steps 0", "--steps"),
        ("--steps 1 --view grid", "--steps"),
        ("--mode both --motion-seed 1", "--motion-seed"),
        ("--grid 2x2", "--grid"),
        ("--view grid --grid 2x2", "--grid"),
        ("--out a.png", "--out"),
        ("--size 17", "--size"),
        ("--motion-seed -3", "--motion-seed"),
    ],
)
def test_bad_options(failing, snapshots, tmp_path, monkeypatch, words, named):
    monkeypatch.chdir(tmp_path)
    assert f"{named}:" in failing(2, "interpolate", snapshots["plain"], *words.split())
    assert list(tmp_path.iterdir()) == []
    assert torch.is_grad_enabled()
