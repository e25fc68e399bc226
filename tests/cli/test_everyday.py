"""The command line in terminals, shells and batch systems of all kinds."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from golden import DATA

from digan_fast import snapshot

TOOL = [sys.executable, "-m", "digan_fast"]


@pytest.mark.parametrize("encoding", ["cp1252", "cp932", "ascii", "utf-8"])
@pytest.mark.parametrize("words", [["--help"], ["generate", "--help"], ["train", "--help"], ["info"]])
def test_output_in_any_encoding(encoding, words):
    env = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run([*TOOL, *words], env=env, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode(encoding)


def test_a_file_name_that_the_output_encoding_cannot_represent(tmp_path, snapshots):
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    target = tmp_path / "夜景é.gif"
    command = [*TOOL, "generate", str(snapshots["plain"]), "--frames", "1", "--out", str(target)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert target.exists()
    assert "\\u591c" in done.stdout


def test_file_names_and_errors_in_an_ascii_locale(tmp_path, snapshots):
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    target = tmp_path / "夜景é.gif"
    command = [*TOOL, "generate", str(snapshots["plain"]), "--frames", "1", "--out", str(target)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert target.exists()
    for words, complaint in (
        (["--grid", "x"], "digan-fast generate: error: Error parsing --grid: 'x', expected COLUMNSxROWS such as 4x2\n"),
        (["--precision", "x"], "invalid choice 'x' for argument '--precision'. Expected one of"),
        (["--tines", "0:1"], "digan-fast generate: error: Unrecognized options: --tines, 0:1\n"),
    ):
        done = subprocess.run([*TOOL, "generate", *words], env=env, capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr.endswith("\n")
        assert done.stderr.count("\n") == 1
        assert complaint in done.stderr
        assert "---" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["train", ""],
        ["train", ".", "--init", ""],
        ["train", ".", "--generator-config", " "],
        ["curves", ""],
        ["convert", "", "a.safetensors"],
        ["generate", ""],
    ],
)
def test_empty_paths_are_rejected(failing, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    assert "is no path; an unset variable?" in failing(2, *words)
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_from_the_published_training_script(run, tmp_path):
    assert run("generate", DATA / "as_train_py.pkl", "--frames", "3", "--out", tmp_path / "a.gif")[0] == 0
    assert run("convert", DATA / "as_train_py.pkl", tmp_path / "a.safetensors")[0] == 0
    assert set(snapshot.load(tmp_path / "a.safetensors").G_ema.state_dict())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--frames", "99999999999999999999"], "--frames: 99999999999999999999, expected 1 to"),
        (["--times", "0:1e300"], "--times: '0:1e300', expected finite times"),
        (["--times", "0:1e39"], "--times: '0:1e39', expected finite times"),
        (["--window", "99999999999999999999,0,4,4"], "--window"),
        (["--window", "0,0,0,5"], "such as"),
        (["--window", "0,0,100000,100000"], "--window: a picture of 100000×100000"),
        (["--size", "100000000"], "--size: 100000000, expected 1 to"),
        (["--size", "1048576"], "--size: a picture of 1048576×1048576"),
        (["--grid", "0x1"], "such as 4x2"),
        (["--motion-seed", "x"], "such as"),
        (["--out", ""], "--out: '' is no path"),
        (["--truncation", "1e39"], "--truncation: 1e+39, expected a finite number"),
        (["--fps", "60", "--out", "a.gif"], "--fps: 60, expected at most 50"),
    ],
)
def test_errors_name_the_option_and_the_expected_value(failing, words, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert expected in failing(2, "generate", *words)
    assert list(tmp_path.iterdir()) == []


def test_non_finite_pictures_are_an_error(failing, snapshots, tmp_path):
    words = ["--truncation", "3e38", "--frames", "2"]
    error = failing(1, "generate", snapshots["plain"], *words, "--out", tmp_path / "a.gif")
    assert "the pictures are not finite: --times or --truncation" in error
    assert list(tmp_path.iterdir()) == []


def test_an_empty_out_of_train_is_rejected(failing, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "--out: '' is no path" in failing(2, "train", tmp_path, "--out", "")
    assert list(tmp_path.iterdir()) == []


def test_curves_of_a_truncated_log_and_of_a_run_without_penalties(run, tmp_path):
    line = {"pairs": 4000, "seconds": 1.0, "loss/G": 0.7, "loss/D_fake": 0.7, "loss/D_real": 0.7}
    for text in (json.dumps(line) + "\n" + json.dumps(line)[:40], json.dumps(line) + "\n"):
        (tmp_path / "log.jsonl").write_text(text)
        code, _, err = run("curves", tmp_path)
        assert (code, err) == (0, "")
