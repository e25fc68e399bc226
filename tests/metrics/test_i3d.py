"""I3D against an independent writing of the architecture, and the files it reads."""

from __future__ import annotations

import re
from pathlib import Path

import independent_i3d
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from digan_fast.metrics import features
from digan_fast.metrics.features.i3d import I3D

PORT = (
    (r"\.bn\.", ".batch3d."),
    (r"\.b0\.", ".branch_0."),
    (r"\.b1a\.", ".branch_1.0."),
    (r"\.b1b\.", ".branch_1.1."),
    (r"\.b2a\.", ".branch_2.0."),
    (r"\.b2b\.", ".branch_2.1."),
    (r"\.b3b\.", ".branch_3.1."),
)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return independent_i3d.weights()


def port_name(name: str) -> str:
    """As in the port whose modules are numbered branches in lower case."""
    for pattern, new in PORT:
        name = re.sub(pattern, new, name)
    return name.replace("logits.", "conv3d_0c_1x1.").replace("Conv3d", "conv3d").replace("Mixed", "mixed")


class Holder(nn.Module):
    """Modules that hold given tensors, with a forward that must not run."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("executed")


def archive(path: Path, state: dict[str, torch.Tensor]) -> Path:
    """A TorchScript file with these tensors."""
    root = Holder()
    for name, values in state.items():
        *parents, last = name.split(".")
        at: nn.Module = root
        for parent in parents:
            if parent not in dict(at.named_children()):
                at.add_module(parent, Holder())
            at = at.get_submodule(parent)
        if last.startswith("running"):
            at.register_buffer(last, values)
        else:
            at.register_parameter(last, nn.Parameter(values))
    torch.jit.script(root).save(str(path))
    return path


def test_the_golden_logits(state: dict[str, torch.Tensor]) -> None:
    network = I3D()
    network.load_state_dict(state, strict=False)
    for name, expected in load_file(independent_i3d.GOLDEN).items():
        clip = independent_i3d.clip(int(name.split()[0]))
        found = network(clip)[0]
        assert float((found - expected).norm() / expected.norm()) < 1e-5


def test_the_golden_file_is_what_the_independent_writing_gives(state: dict[str, torch.Tensor]) -> None:
    expected = load_file(independent_i3d.GOLDEN)["9 frames"]
    torch.testing.assert_close(independent_i3d.logits(state, independent_i3d.clip(9)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["state dictionary", "nested", "half", "safetensors", "torchscript", "other names"])
def test_files_are_recognised(kind: str, state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "i3d.pt"
    if kind == "state dictionary":
        torch.save({**state, "Conv3d_1a_7x7.bn.num_batches_tracked": torch.tensor(3)}, path)
    elif kind == "nested":
        torch.save({"state_dict": {f"module.{name}": values for name, values in state.items()}}, path)
    elif kind == "half":
        torch.save({name: values.half() for name, values in state.items()}, path)
    elif kind == "safetensors":
        save_file(state, path)
    elif kind == "torchscript":
        archive(path, {port_name(name): values for name, values in state.items()})
    else:
        kinds = {name: "norm" if ".bn." in name else "conv" for name in state}
        numbered = {
            name: f"layer{index // 5}.{kinds[name]}.{name.rpartition('.')[2]}" for index, name in enumerate(state)
        }
        archive(path, {numbered[name]: values for name, values in state.items()})
    found = features.load(str(path))
    assert isinstance(found, I3D)
    assert found.source == "i3d.pt"
    assert len(found.sha256) == 64
    loaded = found.state_dict()
    for name, values in state.items():
        expected = values.half().float() if kind == "half" else values
        assert torch.equal(loaded[name], expected), name


class Archive(nn.Module):
    """The interface of the archive whose own code computes the features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 400, 1)

    def forward(
        self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> torch.Tensor:
        assert rescale
        assert resize
        assert return_features
        return self.conv(x / 255).mean((2, 3, 4))


def test_a_torchscript_file_is_executed_only_on_demand(tmp_path: Path) -> None:
    path = tmp_path / "archive.pt"
    torch.jit.script(Archive()).save(str(path))
    with pytest.raises(ValueError, match=r"archive\.pt: 2 tensors .* expected the weights of I3D"):
        features.load(str(path))
    network = features.load(str(path), run_torchscript=True)
    assert network.name == "i3d"
    assert "the archive's own code" in network.described
    assert network(torch.zeros(2, 16, 3, 8, 8, dtype=torch.uint8)).shape == (2, 1, 400)
    torch.save({"a": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="no TorchScript archive, so there is no code to run"):
        features.load(str(path), run_torchscript=True)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def test_a_pickle_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": torch.ones(2), "b": Evil()}, "evil.pt")
    with pytest.raises(ValueError, match=r"evil\.pt: Weights only load failed"):
        features.load("evil.pt")
    assert not Path("executed").exists()
    Path("text.pt").write_text("no weights")
    with pytest.raises(ValueError, match=r"text\.pt: "):
        features.load("text.pt")
    torch.save({"conv1a.weight": torch.ones(64, 3, 3, 3, 3)}, "part.pt")
    with pytest.raises(ValueError, match=r"part\.pt: 1 tensors \(conv1a\.weight .*expected the weights of I3D"):
        features.load("part.pt")
    with pytest.raises(FileNotFoundError):
        features.load("missing.pt")


def test_weights_that_are_not_finite(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    bad = state["Mixed_4c.b2b.bn.running_var"].clone()
    bad[3] = torch.nan
    save_file({**state, "Mixed_4c.b2b.bn.running_var": bad}, tmp_path / "i3d.safetensors")
    with pytest.raises(ValueError, match=r"i3d\.safetensors: Mixed_4c\.b2b\.bn\.running_var holds values that are not"):
        features.load(str(tmp_path / "i3d.safetensors"))


def test_damaged_files_name_what_is_expected(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    for name, content in {
        "empty.pt": b"",
        "byte.pt": b"x",
        "text.pt": b"no weights",
        "zip.pt": b"PK\3\4broken",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}: .*, expected the weights of I3D \(RGB, 400 classes\)"):
            features.load(str(tmp_path / name))


def test_short_clips() -> None:
    with pytest.raises(ValueError, match="clips: 8 frames, expected 9 or more for i3d"):
        I3D()(torch.zeros(1, 8, 3, 16, 16, dtype=torch.uint8))
