"""``digan-fast fit`` and ``digan-fast project``, and playing what they write."""

import errno
import itertools
import json
import os
import subprocess
import sys

import pytest
import torch
from moving_clips import moving_disc

from digan_fast import video
from digan_fast.fitting.networks import initial
from digan_fast.inr import Clip, StoredVideo

QUICK = ("--steps", 60, "--pixels", 1024, "--size-kb", 12)
SHORT = ("--steps", 12, "--tuning-steps", 6)


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """A clip as a gif, which needs no PyAV and has a frame rate."""
    path = tmp_path_factory.mktemp("clips") / "disc.gif"
    video.write(path, moving_disc(height=18, width=26, fps=10).frames, 10)
    return path


@pytest.fixture(scope="session")
def fitted(clip, tmp_path_factory):
    from digan_fast.cli import main

    path = tmp_path_factory.mktemp("fitted") / "disc.safetensors"
    assert main([str(word) for word in ("fit", clip, "--out", path, *QUICK)]) == 0
    return path


@pytest.fixture(scope="session")
def projected(clip, snapshots, tmp_path_factory):
    from digan_fast.cli import main

    path = tmp_path_factory.mktemp("projected") / "disc.safetensors"
    assert main([str(word) for word in ("project", clip, snapshots["plain"], "--out", path, *SHORT)]) == 0
    return path


def names(folder):
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("network", ["inr", "siren", "fourier"])
@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_fit_writes_and_prints_what_it_says(run, clip, tmp_path, network, storage):
    out = tmp_path / "new" / "disc.safetensors"
    code, stdout, stderr = run("fit", clip, "--out", out, "--network", network, "--storage", storage, *QUICK)
    assert (code, stderr) == (0, "")
    assert names(out.parent) == ["disc-comparison.mp4", "disc-curve.png", "disc.json", "disc.safetensors"]
    assert stdout.startswith(f"clip: {clip}: 8 frames of 26×18, 10 frames per second\n{out}: ")
    assert out.stat().st_size <= 12_000
    stored = StoredVideo.load(out)
    assert ", ended after --steps\n" in stdout
    assert (stored.clip.frames, stored.clip.height, stored.clip.width, stored.clip.fps) == (8, 18, 26, 10)
    record = json.loads((out.parent / "disc.json").read_text())
    assert record["config"]["network"] == network
    assert record["curve"]["fit"]["steps"] == [50, 60]
    assert f"fit: {record['quality']['fit']['psnr']:.2f} dB" in stdout
    pictures, rate = video.read(out.parent / "disc-comparison.mp4")
    assert (pictures.shape, rate) == ((8, 3, 18, 52), 10)


def test_fit_gives_the_same_bytes_again(run, clip, fitted, tmp_path):
    assert run("fit", clip, "--out", tmp_path / "again.safetensors", *QUICK)[0] == 0
    assert (tmp_path / "again.safetensors").read_bytes() == fitted.read_bytes()
    assert run("fit", clip, "--out", tmp_path / "other.safetensors", *QUICK, "--seed", 1)[0] == 0
    assert (tmp_path / "other.safetensors").read_bytes() != fitted.read_bytes()


def test_generate_plays_a_fitted_clip_as_it_was(run, fitted, tmp_path):
    assert run("generate", fitted, "--out", tmp_path / "a")[0] == 0
    frames = video.read(tmp_path / "a")[0]
    assert frames.shape == (8, 3, 18, 26)
    stored = StoredVideo.load(fitted)
    wanted = torch.stack([video.to_uint8(frame[0]) for frame in stored.frames(torch.linspace(0, 1, 8))])
    assert torch.equal(frames, wanted)
    assert run("generate", fitted, "--out", tmp_path / "a.gif")[0] == 0
    assert video.frame_rate(tmp_path / "a.gif") == 10


def test_generate_plays_it_at_any_size_and_time(run, fitted, tmp_path):
    words = ("--size", 61, "--frames", 4, "--times", "0:0.5", "--loop", "--out", tmp_path / "b")
    assert run("generate", fitted, *words)[0] == 0
    frames = video.read(tmp_path / "b")[0]
    assert frames.shape == (6, 3, 42, 61)
    assert torch.equal(frames[1], frames[5])
    assert torch.equal(frames[2], frames[4])
    assert not torch.equal(frames[1], frames[4])
    for extra in (("--window", "-2,3,10,12"), ("--levels", 1), ("--precision", "int8")):
        assert run("generate", fitted, *extra, "--frames", 2, "--out", tmp_path / "c.png")[0] == 0


def test_generate_plays_several_inrs_of_one_file(run, generator, tmp_path):
    with torch.no_grad():
        generator.inr(torch.randn(3, 16)).save(tmp_path / "three.safetensors")
    assert run("generate", tmp_path / "three.safetensors", "--out", tmp_path / "a", "--frames", 2)[0] == 0
    assert video.read(tmp_path / "a")[0].shape == (2, 3, 32, 32)


def test_project_writes_a_network_with_its_latents(run, clip, projected, snapshots, tmp_path):
    assert names(projected.parent) == ["disc-comparison.mp4", "disc-curve.png", "disc.json", "disc.safetensors"]
    stored = StoredVideo.load(projected)
    assert stored.latents.ws.shape[2] == stored.latents.z_motion.shape[1] == 16
    assert video.read(projected.parent / "disc-comparison.mp4")[0].shape == (8, 3, 16, 48)
    record = json.loads((projected.parent / "disc.json").read_text())
    assert sorted(record["quality"]) == ["latents", "tuned"]
    again = tmp_path / "again.safetensors"
    code, out, err = run("project", clip, snapshots["plain"], "--out", again, *SHORT)
    assert (code, err) == (0, "")
    assert out.startswith(f"clip: {clip}: 8 frames of 16×16, 10 frames per second\n{again}: ")
    assert again.read_bytes() == projected.read_bytes()


def test_the_other_commands_take_a_projected_clip(run, snapshots, projected, tmp_path):
    assert run("generate", projected, "--out", tmp_path / "g", "--frames", 8)[0] == 0
    own = video.read(tmp_path / "g")[0]
    words = ("interpolate", snapshots["plain"], "--projected", projected, "--frames", 8, "--steps", 3, "--seeds", "1")
    for mode in ("content", "motion", "both"):
        assert run(*words, "--mode", mode, "--view", "grid", "--out", tmp_path / mode)[0] == 0
        frames = video.read(tmp_path / mode)[0]
        assert frames.shape == (8, 3, 16, 48)
        # The first video of the leg is the clip's, but for what float16 stores.
        assert int((frames[..., :16].int() - own.int()).abs().max()) <= 1
        assert not torch.equal(frames[..., 32:], own)
    assert run(*words, "--out", tmp_path / "morph")[0] == 0
    morph = video.read(tmp_path / "morph")[0]
    assert morph.shape == (4, 3, 16, 16)
    assert int((morph[0].int() - own[0].int()).abs().max()) <= 1
    words = ("motions", snapshots["plain"], "--projected", projected, "--motion-seeds", "0-3", "--frames", 8)
    assert run(*words, "--out", tmp_path / "motions")[0] == 0
    tiles = video.read(tmp_path / "motions")[0]
    assert not torch.equal(tiles[..., :16, :16], tiles[..., :16, 16:])


def test_the_last_seed_of_a_leg_is_not_tuned(run, snapshots, projected, tmp_path):
    words = ("interpolate", snapshots["plain"], "--view", "grid", "--mode", "both", "--frames", 4, "--steps", 2)
    assert run(*words, "--seeds", "1", "--projected", projected, "--out", tmp_path / "a")[0] == 0
    assert run(*words, "--seeds", "0,1", "--out", tmp_path / "b")[0] == 0
    ends = [video.read(tmp_path / name)[0][..., 16:].int() for name in ("a", "b")]
    assert int((ends[0] - ends[1]).abs().max()) <= 1


@pytest.fixture
def bad(tmp_path, clip):
    """Paths of clips that cannot be fitted, by what is wrong with them."""
    paths = {name: tmp_path / "bad" / name for name in ("none.mp4", "text.mp4", "cut.gif", "one", "sizes", "small.gif")}
    paths["text.mp4"].parent.mkdir()
    paths["text.mp4"].write_text("no video")
    paths["cut.gif"].write_bytes(clip.read_bytes()[:300])
    frame = moving_disc(height=16, width=16).frames
    video.write(paths["one"], frame[:1])
    video.write(paths["sizes"], frame[:2])
    video.write_image(paths["sizes"] / "000002.png", frame[0, :, :8])
    video.write(paths["small.gif"], frame[:, :, :8, :8])
    return paths


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.mp4", "does not exist"),
        ("text.mp4", "damaged, truncated or not a video"),
        ("one", "1 frame, expected 2 or more"),
        ("sizes", "a frame of 16×8 after one of 16×16, expected frames of one size"),
    ],
)
@pytest.mark.parametrize("command", ["fit", "project"])
def test_bad_clips_are_named(failing, bad, snapshots, tmp_path, command, name, message):
    words = [snapshots["plain"]] if command == "project" else []
    line = failing(1, command, bad[name], *words, "--out", tmp_path / "out.safetensors")
    assert str(bad[name]) in line
    assert message in line
    assert names(tmp_path) == ["bad"]


def test_frames_that_choose_too_few_are_shown_as_given(failing, clip, tmp_path):
    for frames, message in (
        ("0:8:9", "1 frame among those of --frames 0:8:9,"),
        ("8:", "0 frames among those of --frames 8:,"),
    ):
        assert f"{clip}: {message}" in failing(1, "fit", clip, "--frames", frames, "--out", tmp_path / "a.safetensors")


def test_a_clip_smaller_than_the_snapshot_is_refused(failing, bad, snapshots, tmp_path):
    line = failing(1, "project", bad["small.gif"], snapshots["plain"], "--out", tmp_path / "o.safetensors")
    assert f"{bad['small.gif']}: frames of 8×8, expected 16×16 or more, the snapshot's resolution" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--out", "a.mp4"), "--out: a.mp4, expected the suffix .safetensors"),
        (("--network", "mlp"), "--network"),
        (("--frames", "5:2"), "expected START:STOP"),
        (("--steps", "0"), "--steps: 0, expected 1 to"),
        (("--psnr", "nan"), "--psnr: nan, expected 1 to 100"),
        (("--fps", "0"), "--fps: 0, expected 0.01 to 10000"),
        (("--longer-side", "1"), "--longer-side: 1, expected 2 or more"),
        (("--threads", "0"), "--threads: 0, expected 1 to 4096"),
        (("--device", "gpu"), "--device"),
        (("--size-kb", "1"), "--size-kb: 1, expected"),
    ],
)
def test_bad_options_of_fit(run, clip, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("fit", clip, *words)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert names(tmp_path) == []


def test_bad_options_of_project(failing, clip, snapshots, fitted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "--noise: -1.0, expected 0 to" in failing(2, "project", clip, snapshots["plain"], "--noise", -1)
    assert "no INR, which projection needs" in failing(1, "project", clip, snapshots["no_inr"])
    assert "--class: not given, expected 0 to 2" in failing(2, "project", clip, snapshots["classes"])
    assert "a video's network, expected a snapshot" in failing(1, "project", clip, fitted)
    assert names(tmp_path) == []


def test_inputs_are_not_overwritten(failing, clip, snapshots, tmp_path):
    source = tmp_path / "a-comparison.mp4"
    source.write_bytes(clip.read_bytes())
    line = failing(2, "fit", source, "--out", tmp_path / "a.safetensors")
    assert f"--out: {source} would be written, but is to be read" in line
    line = failing(2, "project", clip, snapshots["plain"], "--out", snapshots["plain"])
    assert "would be written, but is to be read" in line


def test_what_does_not_fit_a_played_file(failing, clip, fitted, projected, snapshots, tmp_path):
    for words in (("--seeds", "1"), ("--motion-seed", "1"), ("--truncation", "0.5"), ("--class", "1")):
        assert f"{words[0]}: {fitted} holds a video" in failing(2, "generate", fitted, *words)
    assert "--levels: 9, expected 1 to 2" in failing(2, "generate", fitted, "--levels", 9)
    assert "{seed}" in failing(2, "generate", fitted, "--out", "a-{seed}.mp4")
    line = failing(1, "motions", snapshots["plain"], "--projected", fitted)
    assert f"{fitted}: it has no latents, expected a file of digan-fast project" in line
    line = failing(1, "interpolate", snapshots["wide"], "--projected", projected, "--seeds", "1")
    assert f"{projected}: its latents are those of another snapshot" in line
    line = failing(1, "interpolate", projected, "--seeds", "1,2")
    assert "pass it as --projected FILE" in line
    assert "--seed: with --projected" in failing(
        2, "motions", snapshots["plain"], "--projected", projected, "--seed", 1
    )
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(fitted.read_bytes()[:-8])
    assert "damaged.safetensors" in failing(1, "generate", damaged, "--out", tmp_path / "a.gif")


def test_a_picture_too_large_to_play_is_refused(failing, tmp_path):
    path = tmp_path / "huge.safetensors"
    stored = initial("siren", Clip(2**19, 2**20, 2), 8, 0)
    stored.save(path)
    message = failing(1, "generate", path, "--out", tmp_path / "v")
    assert f"{path}: a picture of 1048576×524288, expected at most 268435456 pixels" in message
    StoredVideo(stored.network).save(path)
    assert "expected at most" in failing(1, "generate", path, "--out", tmp_path / "v")
    assert not (tmp_path / "v").exists()


def test_pictures_of_a_file_that_are_not_finite_name_it(failing, tmp_path):
    path = tmp_path / "overflowing.safetensors"
    stored = initial("fourier", Clip(8, 8, 2), 8, 0)
    for tensor in stored.network.weights:
        tensor.fill_(1e30)
    stored.save(path)
    line = failing(1, "generate", path, "--out", tmp_path / "v.gif")
    assert f"{path}: its pictures are not finite: --times takes the network beyond float32" in line
    assert "--truncation" not in line
    assert names(tmp_path) == [path.name]


def test_a_full_disk_leaves_nothing_half_written(run, clip, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = run("fit", clip, "--out", tmp_path / "a.safetensors", *QUICK)
    assert code == 1
    assert f"{tmp_path / 'a.safetensors'}: not written, no space left on device" in err
    assert names(tmp_path) == []


def test_too_little_room_is_noticed_before_the_work(failing, clip, snapshots, tmp_path, monkeypatch):
    usage = __import__("shutil").disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=5000))
    line = failing(1, "fit", clip, "--out", tmp_path / "a.safetensors")
    assert f"{tmp_path / 'a.safetensors'}: 5 kB are free in {tmp_path}, expected 200 kB or more" in line
    monkeypatch.setattr("digan_fast.fitting.project", lambda *_, **__: pytest.fail("the work has begun"))
    line = failing(1, "project", clip, snapshots["plain"], "--out", tmp_path / "a.safetensors")
    assert f"{tmp_path / 'a.safetensors'}: 5 kB are free in {tmp_path}, expected" in line
    assert names(tmp_path) == []


def test_what_a_killed_run_left_is_removed(run, clip, tmp_path):
    left = [".a.0123abcd.part.safetensors", ".a-comparison.0123abcd.part.mp4", ".a.0123abcd.part.json"]
    others = [".b.0123abcd.part.safetensors", ".a.part.safetensors"]
    for name in (*left, *others):
        (tmp_path / name).write_bytes(b"half")
    assert run("fit", clip, "--out", tmp_path / "a.safetensors", *QUICK)[0] == 0
    hidden = [name for name in names(tmp_path) if name.startswith(".")]
    assert hidden == sorted(others)


@pytest.mark.parametrize("command", ["fit", "project"])
def test_what_diverges_is_saved_and_an_error(run, clip, snapshots, tmp_path, monkeypatch, command):
    out = tmp_path / "a.safetensors"
    module, good = {"fit": ("fitting", 1), "project": ("projection", 15)}[command]
    calls = itertools.count()
    monkeypatch.setattr(f"digan_fast.fitting.{module}.all_finite", lambda _: next(calls) < good)
    words = [*QUICK] if command == "fit" else [snapshots["plain"], *SHORT]
    code, _, line = run(command, clip, *words, "--out", out)
    assert code == 1
    assert line.startswith(f"digan-fast {command}: error: {'--lr' if command == 'fit' else '--tuning-lr'}: ")
    assert f"{out} has the best" in line
    StoredVideo.load(out)
    record = json.loads((tmp_path / "a.json").read_text())
    assert record["ended"] == "diverged" if command == "fit" else record["diverged"] == "tuning_lr"
    assert names(tmp_path) == ["a-comparison.mp4", "a-curve.png", "a.json", "a.safetensors"]


SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import os, torch
from digan_fast.cli import main
step, taken = torch.optim.Adam.step, []
def counted(self, *arguments):
    taken.append(step(self, *arguments))
    if len(taken) == 20:
        os.kill(os.getpid(), signal.SIGINT)
torch.optim.Adam.step = counted
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", ["fit", "project"])
def test_an_interrupt_saves_what_there_is(clip, snapshots, tmp_path, command):
    out = tmp_path / "a.safetensors"
    words = ["project", clip, snapshots["plain"]] if command == "project" else ["fit", clip, "--size-kb", "12"]
    words += ["--steps", "1000000", "--out", out] + (["--patience", "1000000"] if command == "fit" else [])
    done = subprocess.run([sys.executable, "-c", SCRIPT, *map(str, words)], capture_output=True, text=True)
    assert done.stdout.startswith("clip: ")
    err = done.stderr
    assert done.returncode == 130, err
    assert err.splitlines()[-1].startswith("digan-fast: stopped")
    assert f"{out} has" in err
    StoredVideo.load(out)
    assert json.loads((tmp_path / "a.json").read_text())["quality"] == {}
    assert set(names(tmp_path)) <= {"a.json", "a.safetensors", "a-curve.png"}
