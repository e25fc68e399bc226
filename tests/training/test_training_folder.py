"""A run's folder over time: locks, what resuming compares, what is said, leftovers, a snapshot's average."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_runs import SMALL, frame_folder, words
from waiting import LIMIT, has_text, until

from digan_fast import Discriminator, Generator, load, save
from digan_fast.cli import main
from digan_fast.networks.config import coordinate_config
from digan_fast.training.config import TrainConfig
from digan_fast.training.folder import clear_leftovers, owned
from digan_fast.training.loop import train


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    data = frame_folder(tmp_path / "data" / "video", 20).parent
    return TrainConfig(data=data, out=tmp_path / "run", **{**SMALL, "kimg": 0.008})  # type: ignore[arg-type]


def test_from_a_thread(config: TrainConfig) -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(train(config)))
    thread.start()
    thread.join()
    assert found == [config.out / "snapshot.safetensors"]


def test_only_our_own_leftovers_go(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / "second").mkdir()
    kept = [".x.part2.rar", ".movie.mp4.part", "second/.state.0badcafe.part.pt", ".notes.0badcafe.part.md", ".a.part"]
    gone = [".state.0badcafe.part.pt", ".snapshot.01234567.part.safetensors", "samples/.000000020.89abcdef.part.png"]
    for name in (*kept, *gone):
        (tmp_path / name).write_text("x")
    (tmp_path / ".log.0badcafe.part.jsonl").mkdir()
    clear_leftovers(tmp_path)
    assert all((tmp_path / name).exists() for name in kept)
    assert not any((tmp_path / name).exists() for name in gone)
    assert (tmp_path / ".log.0badcafe.part.jsonl").is_dir()


def test_a_leftover_folder_stops_no_resume(config: TrainConfig) -> None:
    train(config)
    (config.out / ".video.1234.part").mkdir()
    (config.out / ".video.1234.part" / "000000.png").write_text("x")
    train(replace(config, resume=True, kimg=0.012))


def test_two_processes_do_not_share_a_folder(config: TrainConfig) -> None:
    code = "import sys, time; from pathlib import Path; from digan_fast.training.folder import owned\n"
    code += "with owned(Path(sys.argv[1])): print('taken', flush=True); time.sleep(600)"
    other = subprocess.Popen([sys.executable, "-c", code, str(config.out)], stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == b"taken\n"
    try:
        with pytest.raises(ValueError, match=rf"out: process {other.pid} trains in "):
            train(config)
    finally:
        other.kill()
        other.communicate()
    train(config)


def test_a_folder_that_nothing_was_written_to_goes_again(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), owned(tmp_path / "a" / "b"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(ValueError, match=r"out: .*cannot be written to: Not a directory"),
        owned(tmp_path / "file" / "x"),
    ):
        pass


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.0001}, "another lr"),
        ({"batch": 8}, "another batch"),
        ({"ema_kimg": 3.0}, "another ema_kimg"),
        ({"channel_base": 128}, "another channel_base"),
        ({"grid": 8}, "another grid"),
    ],
)
def test_what_the_schedule_gave_is_compared(config: TrainConfig, changes: dict[str, Any], message: str) -> None:
    automatic = replace(config, resolution=16, batch=None, grid=4, kimg=0.032)
    train(automatic)
    with pytest.raises(ValueError, match=message):
        train(replace(automatic, resume=True, kimg=0.064, **changes))


def test_a_configuration_is_compared_by_what_it_says(config: TrainConfig, tmp_path: Path) -> None:
    cfg = coordinate_config(4, 4, 2)
    path = tmp_path / "g.yaml"
    path.write_text(yaml.safe_dump({"generator": cfg}))
    run = replace(config, generator_config=path)
    train(run)
    moved = tmp_path / "elsewhere.yaml"
    moved.write_text(yaml.safe_dump({"generator": cfg}))
    train(replace(run, generator_config=moved, resume=True, kimg=0.012))
    cfg["fmm"]["activation"] = "tanh"
    path.write_text(yaml.safe_dump({"generator": cfg}))
    with pytest.raises(ValueError, match="another generator_config"):
        train(replace(run, resume=True, kimg=0.016))


@pytest.mark.parametrize("typo", [{"coord": {}}, {"fmm": {"enabled": True, "rnk": 3}}, {"input": {"typ": "coords"}}])
def test_unknown_keys_name_the_nearest(config: TrainConfig, tmp_path: Path, typo: dict[str, Any]) -> None:
    path = tmp_path / "g.yaml"
    path.write_text(yaml.safe_dump({"generator": {**coordinate_config(4, 4, 2), **typo}}))
    nearest = {"coord": "coords", "fmm": "fmm.rank", "input": "input.type"}[next(iter(typo))]
    with pytest.raises(ValueError, match=rf"g\.yaml: .*unknown key .*the nearest known is {nearest}"):
        train(replace(config, generator_config=path))
    assert not config.out.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"use_noise": "no"},
        {"fmm": {"enabled": True, "rank": 0}},
        {"fmm": {"enabled": True, "rank": 1e30}},
        {"fmm": 5},
        {"coords": {"motion_sigma": float("nan")}},
        {"coords": {"res_configs": {"foo": {"predictable_emb_size": 4}}}},
        {"coords": {"res_configs": {17: {"predictable_emb_size": 4}}}},
        {"num_extra_convs": {"8": -1}},
        {"num_extra_convs": {"8": 1.5}},
        {"num_extra_convs": {"8": "one"}},
        {"num_extra_convs": {"12": 1}},
        {"num_extra_convs": [1]},
    ],
)
def test_nonsense_in_a_configuration_is_an_error(tmp_path: Path, wrong: dict[str, Any]) -> None:
    path = tmp_path / "g.yaml"
    path.write_text(yaml.safe_dump({**coordinate_config(4, 4, 2), **wrong}))
    with pytest.raises(ValueError, match=r"g\.yaml: .*expected"):
        TrainConfig(Path(), generator_config=path).generator_kwargs(0)


@pytest.mark.parametrize("side", ["8", "1024"])
def test_a_misspelt_key_of_a_grid_names_the_nearest(tmp_path: Path, side: str) -> None:
    cfg = coordinate_config(4, 4, 2)
    cfg["coords"]["res_configs"][side] = {"predictable_emb_sise": 4, "use_cosine": True}
    path = tmp_path / "g.yaml"
    path.write_text(yaml.safe_dump(cfg))
    key = rf"coords\.res_configs\.{side}\.predictable_emb_si"
    with pytest.raises(ValueError, match=rf"g\.yaml: .*unknown key {key}se; the nearest known is {key}ze"):
        TrainConfig(Path(), generator_config=path).generator_kwargs(0)


@pytest.mark.parametrize(
    "entry",
    [
        {"predictable_emb_size": float("inf")},
        {"predictable_emb_size": None},
        {"predictable_emb_size": [1]},
        {"predictable_emb_size": 2.5},
        {"predictable_emb_size": 1e30},
        {"predictable_emb_size": 4, "use_cosine": "no"},
        5,
    ],
)
def test_nonsense_for_a_grid_is_an_error(entry: Any) -> None:
    cfg = coordinate_config(8, 4, 2, None, 16)
    cfg["coords"] = {**cfg["coords"], "res_configs": {"8": {"predictable_emb_size": 4}, "16": entry}}
    with pytest.raises(ValueError, match=r"coords\.res_configs\[16\].*expected"):
        Generator(8, 0, 8, 16, cfg=cfg)


def test_classes_keep_their_names(tmp_path: Path, config: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cat", "dog"):
        frame_folder(tmp_path / "a" / name / "1", 20)
    for name in ("dog", "zebra"):
        frame_folder(tmp_path / "b" / name / "1", 20)
    run = replace(config, data=tmp_path / "a", conditional=True)
    snapshot = train(run)
    assert load(snapshot).training_set == {"classes": ["cat", "dog"]}
    assert load(snapshot).G_ema.class_names == ["cat", "dog"]
    assert json.loads((run.out / "config.json").read_text())["classes"] == ["cat", "dog"]
    with pytest.raises(ValueError, match="resume: the run's classes are cat, dog, the data has dog, zebra"):
        train(replace(run, data=tmp_path / "b", resume=True, kimg=0.012))
    capsys.readouterr()
    for label, out in (("dog", "n.gif"), ("1", "i.gif")):
        assert main(["generate", str(snapshot), "--class", label, "--frames", "2", "--out", str(tmp_path / out)]) == 0
    assert (tmp_path / "n.gif").read_bytes() == (tmp_path / "i.gif").read_bytes()
    assert main(["generate", str(snapshot), "--class", "cow", "--out", str(tmp_path / "x.gif")]) == 2
    assert "--class: cow, expected 0 to 1 or a name: cat, dog" in capsys.readouterr().err


def test_a_missing_state_is_no_new_run(config: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    train(config)
    log = (config.out / "log.jsonl").read_text()
    (config.out / "state.pt").unlink()
    with pytest.raises(ValueError, match=r"resume: .*state\.pt is missing"):
        train(replace(config, resume=True))
    with pytest.raises(ValueError, match="already holds a run"):
        train(config)
    assert (config.out / "log.jsonl").read_text() == log
    train(replace(config, out=config.out.with_name("mistyped"), resume=True))
    assert "mistyped holds no state to go on from" in capsys.readouterr().err


def test_other_threads_are_said(config: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    train(replace(config, threads=1))
    train(replace(config, threads=2, resume=True, checkpoint=True, kimg=0.012))
    assert torch.get_num_threads() == threads
    told = capsys.readouterr().err
    assert "resume: threads was 1 and is 2" in told
    assert "resume: checkpoint was False and is True" in told


@pytest.mark.parametrize("what", ["options", "state", "networks"])
def test_what_cannot_be_resumed_is_said_before_the_data_are_read(
    config: TrainConfig, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    train(config)
    changes: dict[str, Any] = {"w_dim": 16} if what == "options" else {}
    if what == "state":
        (config.out / "state.pt").write_bytes(b"")
    if what == "networks":
        state = torch.load(config.out / "state.pt", weights_only=True)
        torch.save({**state, "G": state["D"]}, config.out / "state.pt")
    capsys.readouterr()
    with pytest.raises(ValueError, match=r"w_dim|state\.pt"):
        train(replace(config, resume=True, **changes))
    assert "reading" not in capsys.readouterr().err


def test_an_average_that_a_run_starts_from_stays(config: TrainConfig, tmp_path: Path) -> None:
    """With a learning rate of next to nothing the average alone moves, from the snapshot's towards its G."""
    torch.manual_seed(1)
    G, average = (Generator(**config.generator_kwargs(0)) for _ in range(2))
    D = Discriminator(**config.discriminator_kwargs(0))
    save(tmp_path / "start", {"G": G, "D": D, "G_ema": average})
    run = replace(config, init=tmp_path / "start", lr=1e-12)
    train(replace(run, kimg=0.004))
    train(replace(run, resume=True))
    after = load(run.out / "snapshot.safetensors").G_ema
    beta = 0.5 ** (2 * 4 / 1250)
    for found, mine, theirs in zip(after.parameters(), average.parameters(), G.parameters(), strict=True):
        torch.testing.assert_close(found, torch.lerp(theirs, mine, beta), rtol=1e-4, atol=1e-5)


def test_it_says_what_it_read(config: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    frame_folder(config.data / "short", 3)
    (config.data / "bad.mp4").write_bytes(b"junk")
    train(config)
    told = capsys.readouterr().err
    assert "data: 1 of 3 videos used, 20 frames, 10 clips" in told
    assert "1 shorter than the 16 frames of a clip" in told
    assert "bad.mp4" in told
    with pytest.raises(ValueError, match=r"data: .*bad\.mp4"):
        train(replace(config, out=config.out.with_name("strict"), strict=True))
    assert not config.out.with_name("strict").exists()


def test_a_dry_run_writes_nothing(config: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words(config), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("1 videos, about 20 frames, 0 MiB at side 8\n")
    assert "seconds to read" in told
    assert not config.out.exists()


def test_a_dry_run_counts_the_frames_that_are_used(config: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    frame_folder(config.data / "short", 9)
    assert main([*words(config), "--frames", "2:", "--clip-length", "8", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("2 videos, about 18 frames")
    assert f"left out: {config.data / 'short'}: 7 frames, shorter than the 8 of a clip" in told


@pytest.mark.parametrize("option", ["init", "generator-config", "out"])
@pytest.mark.parametrize("content", ["missing", "folder", "text"])
def test_a_dry_run_refuses_what_a_run_refuses(
    config: TrainConfig, capsys: pytest.CaptureFixture[str], option: str, content: str
) -> None:
    path = config.data.parent / "given"
    if content == "folder":
        path.mkdir()
        if option == "out":
            path = path / "run"
            path.write_text("x")
    elif content == "text":
        path.write_text("nonsense: 1")
    if (option, content) == ("out", "missing"):
        path.write_text("x")
        path = path / "run"
    told = []
    for last in ([], ["--dry-run"]):
        assert main([*words(config), f"--{option}", str(path), *last]) in (1, 2)
        told.append(capsys.readouterr().err)
    assert f"--{option}: " in told[0]
    assert str(path) in told[0]
    assert f"--{option}: " in told[1]
    assert str(path) in told[1]


def test_a_dry_run_of_a_run_that_cannot_be_resumed(config: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    train(config)
    assert main([*words(config), "--dry-run"]) == 1
    assert "--out" in capsys.readouterr().err
    assert main([*words(config), "--resume", "--dry-run"]) == 0
    assert main([*words(config), "--resume", "--lr", "0.1", "--dry-run"]) == 1
    assert "another lr" in capsys.readouterr().err


def test_saving_by_time(config: TrainConfig) -> None:
    train(replace(config, kimg=0.04, snapshot_kimg=1000, save_minutes=1e-9))
    assert len(list((config.out / "samples").iterdir())) == 10


@pytest.mark.parametrize("name", ["SIGHUP", "SIGTERM"])
def test_a_lost_connection_saves(config: TrainConfig, name: str) -> None:
    # The child handles the signal even if these tests run under nohup.
    handles = f"import runpy, signal; signal.signal(signal.{name}, signal.SIG_DFL); runpy.run_module('digan_fast')"
    command = [sys.executable, "-c", handles, *words(replace(config, kimg=1000))]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: has_text(config.out / "log.jsonl"), run)
    run.send_signal(getattr(signal, name))
    _, errors = run.communicate(timeout=LIMIT)
    assert run.returncode == 130
    assert b"stopped and saved" in errors
    assert (config.out / "state.pt").exists()
    assert not (config.out / ".lock").exists()


def test_sigterm_leaves_nothing_half_written(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "digan_fast",
        "generate",
        "--frames",
        "20000",
        "--out",
        str(tmp_path / "run" / "v"),
    ]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: (tmp_path / "run").is_dir() and os.listdir(tmp_path / "run"), run)
    run.terminate()
    assert run.wait(timeout=LIMIT) == 128 + signal.SIGTERM
    assert os.listdir(tmp_path / "run") == []


def test_a_full_disk_is_said(config: TrainConfig) -> None:
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2);"
        "from digan_fast.cli import main; sys.exit(main(sys.argv[2:]))"
    )
    train(config)
    size = (config.out / "state.pt").stat().st_size
    command = [sys.executable, "-c", code, str(size - 1000), *words(replace(config, kimg=0.012)), "--resume"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert line.endswith(f"{config.out / 'state.pt'}: not written, file too large; what was there before remains")
    assert torch.load(config.out / "state.pt", weights_only=True)["pairs"] == 8
