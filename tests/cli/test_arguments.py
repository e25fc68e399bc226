"""Parsing of command-line arguments, and the error messages for invalid ones."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digan_fast import __version__, snapshot
from digan_fast.cli import COMMANDS
from digan_fast.cli.arguments import format_seeds, parse_grid, parse_seeds, parse_times, parse_window

seeds = st.integers(0, 2**32 - 1)


@settings(deadline=None)
@given(st.lists(seeds, min_size=1, max_size=8))
def test_seeds_round_trip(values):
    assert parse_seeds(",".join(map(str, values))) == tuple(values)
    assert parse_seeds(format_seeds(tuple(values))) == tuple(values)


@settings(deadline=None)
@given(seeds, st.integers(0, 50))
def test_ranges_include_both_ends(first, extent):
    last = min(first + extent, 2**32 - 1)
    assert parse_seeds(f"{first}-{last}") == tuple(range(first, last + 1))
    assert parse_seeds(f" {first} - {last} , 7") == (*range(first, last + 1), 7)


@settings(deadline=None)
@given(st.text(alphabet="0123456789,- x.:", max_size=12))
def test_any_text_parses_or_raises_value_error(text):
    try:
        values = parse_seeds(text)
    except ValueError:
        return
    assert values
    assert all(0 <= value < 2**32 for value in values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected seeds such as"),
        ("1,,2", "expected seeds such as"),
        ("-1", "expected seeds such as"),
        ("1.5", "expected seeds such as"),
        ("8-5", "ascends"),
        ("4294967296", r"below 2\*\*32"),
        ("0-4294967295", "at most 100000"),
    ],
)
def test_bad_seeds(text, message):
    with pytest.raises(ValueError, match=message):
        parse_seeds(text)


def test_times_windows_grids():
    assert parse_times("-0.5:4") == (-0.5, 4.0)
    assert parse_window("-16, 0,64,128") == (-16, 0, 64, 128)
    assert parse_grid("4x2") == (4, 2)
    for parse, texts in (
        (parse_times, ("1", "0:1:2", "a:b", "0:inf", "nan:1")),
        (parse_window, ("1,2,3", "0,0,0,4", "0,0,4,-4", "a,0,4,4")),
        (parse_grid, ("4", "0x2", "4x", "-1x2", "2x2x2")),
    ):
        for text in texts:
            with pytest.raises(ValueError, match="expected"):
                parse(text)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--seeds 0,x", "--seeds"),
        ("--seeds", "--seeds"),
        ("--times 1", "--times"),
        ("--window 1,2", "--window"),
        ("--window 0,0,0,4", "--window"),
        ("--grid 3", "--grid"),
        ("--frames 0", "--frames"),
        ("--frames many", "--frames"),
        ("--fps 0", "--fps"),
        ("--fps nan", "--fps"),
        ("--fps 1e-9", "--fps"),
        ("--fps 1e9", "--fps"),
        ("--truncation nan", "--truncation"),
        ("--truncation inf", "--truncation"),
        ("--seeds 1,1,2 --out {seed}.gif", "--seeds"),
        ("--size 17", "--size"),
        ("--size -16", "--size"),
        ("--levels 9", "--levels"),
        ("--precision float8", "--precision"),
        ("--out a.xyz", "--out"),
        ("--out a.png --grid 2x2", "--grid"),
        ("--out {seed}.mp4 --grid 2x2", "--grid"),
        ("--seeds 0-4 --grid 2x2", "--grid"),
        ("--seeds 0-4 --motion-seed 1,2", "--motion-seed"),
        ("--device no_such", "--device: 'no_such' cannot be used"),
        ("--device meta", "--device: 'meta' cannot be used"),
        ("--class 0", "--class"),
        ("--no-such 1", "--no-such"),
    ],
)
def test_bad_options_of_generate(failing, snapshots, tmp_path, monkeypatch, words, named):
    monkeypatch.chdir(tmp_path)
    err = failing(2, "generate", snapshots["plain"], *words.split())
    assert err.startswith("digan-fast generate: error: ")
    assert named in err
    assert list(tmp_path.iterdir()) == []


def test_existing_outputs_of_another_kind(failing, snapshots, tmp_path, monkeypatch):
    """The error comes before the snapshot is loaded."""

    def loading(*_):
        raise AssertionError("loaded")

    (tmp_path / "7.gif").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setattr(snapshot, "load", loading)
    for name in ("7.gif", "{seed}.gif"):
        words = ("generate", snapshots["plain"], "--seeds", "3,7", "--out", tmp_path / name)
        assert "--out: " in failing(2, *words) if "{" in name else "is a folder" in failing(2, *words)
    assert "is a file" in failing(2, "motions", snapshots["plain"], "--out", tmp_path / "file")


def test_bad_commands(failing):
    assert "'generat' is no command, expected one of info, generate" in failing(2, "generat")
    assert "TARGET" in failing(2, "convert", "a.pkl")
    assert "SOURCE" in failing(2, "convert")


def test_errors_are_one_line(failing, run, tmp_path, monkeypatch):
    assert "nothing.pkl" in failing(1, "generate", tmp_path / "nothing.pkl")
    (tmp_path / "a.pkl").write_bytes(b"no snapshot")
    assert "a.pkl: " in failing(1, "generate", tmp_path / "a.pkl")
    code, _, err = run("generate", tmp_path / "a.pkl", "--traceback")
    assert code == 1
    assert "Traceback (most recent call last)" in err
    monkeypatch.setenv("DIGAN_FAST_TRACEBACK", "1")
    assert "Traceback" in run("--traceback", "generate", tmp_path / "a.pkl")[2]


def test_help(run):
    for words in ((), ("--help",), ("-h",)):
        code, out, _ = run(*words)
        assert code == 0
        assert all(f"\n  {name} " in out for name in COMMANDS)
    assert run("--version") == (0, f"{__version__}\n", "")
    for command in COMMANDS:
        code, out, err = run(command, "--help")
        assert (code, err) == (0, "")
        assert out.startswith(f"usage: digan-fast {command}")


def test_help_imports_neither_torch_nor_file_format_libraries():
    script = """
import sys
import digan_fast
assert not {"torch", "av", "PIL", "tyro", "yaml", "safetensors", "tqdm"} & set(sys.modules)
from digan_fast.cli import main
for words in ([], ["generate", "--help"], ["interpolate", "--help"], ["convert", "--help"]):
    assert main(words) == 0
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


def test_as_a_module():
    command = [sys.executable, "-m", "digan_fast"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == __version__
    done = subprocess.run([*command, "nothing"], capture_output=True, text=True)
    assert done.returncode == 2
