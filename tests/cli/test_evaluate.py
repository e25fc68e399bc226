"""``digan-fast evaluate`` on a tiny snapshot: what it prints and writes, its cache, its errors, several processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image
from waiting import LIMIT

from digan_fast import snapshot
from digan_fast.metrics import store
from digan_fast.metrics.features import random3d
from digan_fast.metrics.protocols import FAKE_FIELDS, Protocol
from digan_fast.threads import using_threads

COUNTS = ("--protocol", "digan-proxy", "--real", 6, "--fake", 6, "--trials", 2)


def write_videos(folder: Path, videos: int = 3, frames: int = 20, side: int = 16) -> Path:
    """Folders of noise that drifts."""
    draw = numpy.random.default_rng(0)
    for number in range(videos):
        (folder / f"video{number}").mkdir(parents=True)
        picture = draw.integers(0, 256, (side, side, 3), dtype=numpy.uint8)
        for index in range(frames):
            shifted = numpy.roll(picture, index * (number + 1), 1)
            Image.fromarray(shifted).save(folder / f"video{number}" / f"{index:03d}.png")
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_videos(tmp_path / "data")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "result.json"


def numbers(path: Path) -> list[list[float]]:
    return [score["values"] + [score["real_against_real"]] for score in json.loads(path.read_text())["scores"]]


def test_the_numbers_come_with_their_protocol(run, snapshots, data, out) -> None:
    code, shown, err = run("evaluate", snapshots["plain"], data, *COUNTS, "--out", out)
    assert code == 0, err
    result = json.loads(out.read_text())
    title = "digan-proxy, changed: real 6, fake 6, trials 2"
    for score, line in zip(result["scores"], shown.splitlines()[-3:-1], strict=True):
        assert line.startswith(f"{score['metric']} [{title}]: {score['mean']:.6g} ± ")
        assert "6 real, 6 generated; real against real" in line
        assert len(score["values"]) == 2
        assert score["mean"] == pytest.approx(sum(score["values"]) / 2)
        assert score["std"] == pytest.approx(abs(score["values"][0] - score["values"][1]) / 2)
        assert score["real_against_real_clips"] == 6
        record = score["protocol"]
        assert record["network"] == "random3d"
        assert record["sha256"] == random3d.Random3d().sha256
        assert (record["length"], record["stride"], record["real"], record["size"]) == (16, 1, 6, 16)
        assert record["changed"] == ["real 6", "fake 6", "trials 2"]
    assert [score["metric"] for score in result["scores"]] == ["FD-random3d", "KD-random3d"]
    assert "FVD" not in shown
    assert f"network    {random3d.Random3d.described}\n" in shown
    assert "trials     2; the mean ± the population deviation\n" in shown
    assert len(result["data"]["file_list_sha256"]) == len(result["snapshot"]["sha256"]) == 64
    assert result["seconds"]["total"] > 0
    assert not out.with_name(".result.json.parts").exists()


def test_a_second_run_gives_the_same_numbers_from_the_cache(run, snapshots, data, out, monkeypatch) -> None:
    assert run("evaluate", snapshots["plain"], data, *COUNTS, "--out", out)[0] == 0
    first = numbers(out)

    def fail(*_):
        raise AssertionError("decoded again")

    with monkeypatch.context() as patched:
        patched.setattr("digan_fast.metrics.real._count", fail)
        patched.setattr("digan_fast.metrics.decoding.ClipDecoder.submit", fail)
        code, _, err = run("evaluate", snapshots["plain"], data, *COUNTS, "--out", out)
    assert code == 0, err
    assert f"real features: {data / '.digan_fast' / 'random3d-'}" in err
    assert numbers(out) == first
    assert "left out" not in err
    # Another batch and other threads change nothing beyond rounding; other seeds change the numbers.
    run("evaluate", snapshots["plain"], data, *COUNTS, "--out", out, "--batch", 5, "--workers", 1)
    numpy.testing.assert_allclose(numbers(out), first, rtol=1e-4, atol=1e-9)
    run("evaluate", snapshots["plain"], data, *COUNTS, "--out", out, "--seed", 1)
    assert numbers(out)[0] != first[0]


def test_a_packed_file_gives_the_numbers_of_its_videos(run, failing, snapshots, data, out, tmp_path) -> None:
    assert run("evaluate", snapshots["plain"], data, *COUNTS, "--out", out)[0] == 0
    expected = numbers(out)
    packed = tmp_path / "videos.pack"
    words = ("--set", "folder", "--resolution", 16, "--workers", 0, "--out", packed)
    assert run("data", "pack", data, *words)[0] == 0
    code, _, err = run("evaluate", snapshots["plain"], packed, *COUNTS, "--out", out)
    assert code == 0, err
    assert numbers(out) == expected
    told = failing(2, "evaluate", snapshots["plain"], packed, *COUNTS, "--out", out, "--fps", 5)
    assert "--fps: 5, but the frames of" in told


def test_damaged_and_short_videos_are_left_out_and_recorded(run, snapshots, data, out) -> None:
    (data / "broken").mkdir()
    (data / "broken" / "0.png").write_bytes(b"no picture")
    write_videos(data / "short", videos=1, frames=5)
    for _ in range(2):  # the second time from the cache
        code, _, err = run("evaluate", snapshots["plain"], data, *COUNTS, "--out", out)
        assert code == 0, err
        left = json.loads(out.read_text())["data"]["left_out"]
        assert len(left) == 2
        assert f"{data / 'broken' / '0.png'}: damaged or not an image" in left[0]
        assert left[1] == f"1 shorter than the 16 frames of a clip, such as {data / 'short' / 'video0'}"
        assert all(f"data: left out: {line}" in err for line in left)


def test_stale_features_are_noticed(run, snapshots, data, out) -> None:
    run("evaluate", snapshots["plain"], data, *COUNTS, "--out", out)
    first, digest = numbers(out), json.loads(out.read_text())["data"]["file_list_sha256"]
    changed = data / "video0" / "003.png"
    Image.fromarray(numpy.zeros((16, 16, 3), numpy.uint8)).save(changed)
    code, _, err = run("evaluate", snapshots["plain"], data, *COUNTS, "--out", out)
    assert code == 0
    assert "is stale, the data's files changed; computed anew" in err
    assert numbers(out) != first
    assert json.loads(out.read_text())["data"]["file_list_sha256"] != digest
    code, _, err = run("evaluate", snapshots["plain"], data, *COUNTS, "--out", out, "--frames", "0:19")
    assert code == 0
    assert "is stale, the data's options that choose them changed" in err
    (record,) = data.rglob("record.json")
    record.write_text("{}")
    assert run("evaluate", snapshots["plain"], data, *COUNTS, "--out", out)[0] == 0


def test_another_snapshot_in_the_same_place_gets_its_own_features(run, snapshots, data, out, tmp_path) -> None:
    path = tmp_path / "network.safetensors"
    generator = snapshot.load_generator(snapshots["plain"])
    snapshot.save(path, {"G_ema": generator})
    run("evaluate", path, data, *COUNTS, "--out", out)
    first = numbers(out)
    record = json.loads(out.read_text())["scores"][0]["protocol"]
    left = f"random3d-{Protocol(**{**record, 'kernel': None}).key(FAKE_FIELDS)}"
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.mul_(1.1)
    snapshot.save(path, {"G_ema": generator})
    # What a killed run of these weights left stays for the same seeds, but not for other weights.
    stale = store.Store(out.with_name(".result.json.parts") / left)
    stale.begin({"weights": "others", "labels": []})
    stale.write(0, torch.zeros(12, 1, 224))
    code, _, err = run("evaluate", path, data, *COUNTS, "--out", out)
    assert code == 0, err
    assert numbers(out)[0][:2] != first[0][:2]
    assert numbers(out)[0][2] == first[0][2]


def test_a_killed_run_goes_on(snapshots, data, out, run) -> None:
    counts = ("--protocol", "digan-proxy", "--real", 6, "--fake", 100, "--trials", 4)
    killing = (
        "import os, signal, sys; from digan_fast.cli import main; from digan_fast.metrics.store import Store\n"
        "write, written = Store.write, []\n"
        "def counted(store, block, rows):\n"
        "    write(store, block, rows); written.append(block)\n"
        "    if len(written) == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Store.write = counted; sys.exit(main(sys.argv[1:]))"
    )
    words = ["evaluate", snapshots["plain"], data, *counts, "--out", out, "--batch", 1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = subprocess.run([sys.executable, "-c", killing, *map(str, words)], capture_output=True, env=environment)
    assert killed.returncode == -signal.SIGKILL
    parts = out.with_name(".result.json.parts")
    assert len(list(parts.rglob("0*.safetensors"))) == 2  # of generated videos; the real ones' are in the cache
    assert not out.exists()
    kept = parts.with_name("kept")
    parts.rename(kept)
    with using_threads(1):  # as above: on some processors sums within torch's convolutions depend on their number
        code, _, err = run("evaluate", snapshots["plain"], data, *counts, "--out", out, "--batch", 1)
        assert code == 0, err
        whole = numbers(out)
        kept.rename(parts)
        code, _, err = run("evaluate", snapshots["plain"], data, *counts, "--out", out, "--batch", 1)
        assert code == 0, err
        assert "generated, random3d" in err
    assert numbers(out) == whole


def test_two_processes_give_the_numbers_of_one(snapshots, data, out, run) -> None:
    counts = ("--protocol", "digan-proxy", "--real", 6, "--fake", 150, "--trials", 1)
    assert run("evaluate", snapshots["plain"], data, *counts, "--out", out)[0] == 0
    alone = numbers(out)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    words = ["digan_fast", "evaluate", snapshots["plain"], data, *counts, "--out", out, "--cache", out.parent / "cache"]
    # Rounding depends on the number of threads, which torchrun sets to one where nothing else does.
    threads = json.loads(out.read_text())["threads"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([*launcher, *map(str, words)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("FD-random3d [digan-proxy") == 1
    result = json.loads(out.read_text())
    assert (result["processes"], result["threads"]) == (2, threads)
    assert numbers(out) == alone
    wrong = [*launcher, *map(str, words), "--real", "100000"]
    done = subprocess.run(wrong, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode != 0
    assert "expected 100000 for the protocol" in done.stderr


def test_precision_is_recorded(run, snapshots, data, out) -> None:
    run("evaluate", snapshots["plain"], data, *COUNTS, "--out", out)
    exact = numbers(out)
    for precision in ("bfloat16", "int8"):
        code, shown, err = run("evaluate", snapshots["plain"], data, *COUNTS, "--out", out, "--precision", precision)
        assert code == 0, err
        assert f"trials 2, precision {precision}]: " in shown
        assert json.loads(out.read_text())["scores"][0]["protocol"]["precision"] == precision
        assert numbers(out)[0][0] == pytest.approx(exact[0][0], rel=0.2)
        assert numbers(out)[0][2] == exact[0][2]


def test_labels_come_from_the_data(run, failing, snapshots, tmp_path, out) -> None:
    for name in ("walk", "run", "jump"):
        write_videos(tmp_path / "classes" / name)
    code, _, err = run("evaluate", snapshots["classes"], tmp_path / "classes", *COUNTS, "--out", out)
    assert code == 0, err
    write_videos(tmp_path / "one" / "walk")
    err = failing(1, "evaluate", snapshots["classes"], tmp_path / "one", *COUNTS, "--out", out)
    assert "trained on 3 classes, but the data has" in err
