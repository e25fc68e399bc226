"""``digan-fast info`` and ``convert``."""

import json

import pytest
import torch
from golden import DATA

import digan_fast
from digan_fast import dispatch, snapshot

PUBLISHED = DATA / "snapshot.pkl"


def test_info_as_json(run):
    code, out, _ = run("info", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["versions"]["digan_fast"] == digan_fast.__version__
    # Wheels from PyPI have no local version label.
    assert facts["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert facts["backends"]["reference"] == "available"
    assert list(facts["backends"]) == list(dispatch.ORDER)
    assert "reference" in facts["kernels"]["coord_linear"]
    assert facts["requested_backend"] is None


def test_info_as_text(run):
    code, out, _ = run("info")
    assert code == 0
    assert f"  digan_fast: {digan_fast.__version__}\n" in out
    assert "  reference: available\n" in out


def test_info_without_the_compiled_module(run, monkeypatch):
    def missing():
        raise ImportError("No module named 'digan_fast._C'")

    monkeypatch.setattr(dispatch, "native_module", missing)
    facts = json.loads(run("info", "--json")[1])
    assert facts["native"]["available"] is False
    assert facts["native"]["reason"]
    assert run("info")[0] == 0


@pytest.mark.parametrize("dtype", [None, "float16"])
def test_convert(run, tmp_path, dtype):
    words = [] if dtype is None else ["--dtype", dtype]
    target = tmp_path / "a.safetensors"
    code, out, _ = run("convert", PUBLISHED, target, "--only-ema", *words)
    assert (code, out) == (0, f"{target}\n")
    found = snapshot.load(target)
    wanted = snapshot.load(PUBLISHED)
    assert found.D is None
    for name, tensor in wanted.G_ema.state_dict().items():
        assert torch.allclose(found.G_ema.state_dict()[name], tensor, rtol=1e-3 if dtype else 0, atol=1e-6)


def test_convert_errors(failing, tmp_path, snapshots):
    assert "TARGET" in failing(2, "convert", PUBLISHED, tmp_path / "a.pkl")
    assert "nothing" in failing(1, "convert", tmp_path / "nothing", tmp_path / "a.safetensors")
    err = failing(1, "convert", snapshots["raw"], tmp_path / "a.safetensors", "--only-ema")
    assert "no G_ema" in err
    assert list(tmp_path.iterdir()) == []
