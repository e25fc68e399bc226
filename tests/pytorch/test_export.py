"""Exported graphs that run without this package, ONNX, replicas, 16 bits, one compiled graph for all batch sizes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from golden import DATA
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from digan_fast import Discriminator, Generator, VideoINR, functional, use_backend
from digan_fast.networks.config import coordinate_config


def generator(**options: Any) -> Generator:
    torch.manual_seed(0)
    cfg = coordinate_config(8, 4, 2, None, 16)
    G = Generator(8, 0, 8, 16, synthesis_kwargs={"channel_base": 64, "channel_max": 8, **options}, cfg=cfg)
    return G.eval().requires_grad_(False)


class Video(nn.Module):
    """From latents and times to frames, without random draws."""

    def __init__(self, G: Generator) -> None:
        super().__init__()
        self.G = G

    def forward(self, z: Tensor, motion: Tensor, times: Tensor) -> Tensor:
        return self.G.synthesis(self.G.mapping(z, None), times, motion, noise_mode="const")


class Rendering(nn.Module):
    """One INR at arbitrary times."""

    def __init__(self, inr: VideoINR) -> None:
        super().__init__()
        self.inr = inr

    def forward(self, times: Tensor) -> Tensor:
        return self.inr.render(times, size=32, window=(3, 0, 9, 32))


def cases() -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
    G = generator()
    times = torch.linspace(0, 1, 4)
    video = torch.randn(1, 8), torch.randn(1, 8), times.view(-1, 1, 1, 1)
    D = Discriminator(img_resolution=16, channel_base=64, channel_max=8).requires_grad_(False)
    return {
        "generator": (Video(G), video),
        "published form": (Video(generator(architecture="orig")), video),
        "inr": (Rendering(G.inr(torch.randn(2, 8), None, torch.randn(2, 8))), (times,)),
        "discriminator": (D.imageD, (torch.randn(4, 3, 16, 16), torch.zeros(4, 0))),
    }


OUTSIDE = """
import sys, torch
args, wanted = torch.load("io.pt")
net = torch.export.load("a.pt2").module() if sys.argv[1] == "export" else torch.jit.load("a.pt")
assert not any(name.startswith("digan_fast") for name in sys.modules)
torch.testing.assert_close(net(*args), wanted, rtol=1e-4, atol=1e-4)
"""


@pytest.mark.parametrize("how", ["export", "trace"])
@pytest.mark.parametrize("name", ["generator", "published form", "inr", "discriminator"])
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_graphs_run_without_this_package(tmp_path: Path, name: str, how: str) -> None:
    net, args = cases()[name]
    torch.save((args, net(*args)), tmp_path / "io.pt")
    if how == "export":
        torch.export.save(torch.export.export(net, args), tmp_path / "a.pt2")
    else:
        torch.jit.trace(net, args).save(str(tmp_path / "a.pt"))
    done = subprocess.run([sys.executable, "-c", OUTSIDE, how], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_a_generator_can_be_traced() -> None:
    G = generator()
    z = torch.randn(2, 8)
    traced = torch.jit.trace(G, (z,), check_trace=False)
    torch.manual_seed(3)
    wanted, difference = G(z)
    torch.manual_seed(3)
    frames, empty = traced(z)
    assert difference is None
    assert empty.numel() == 0
    torch.testing.assert_close(frames, wanted, rtol=1e-4, atol=1e-4)


class Layer(torch.nn.Module):
    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        return functional.linear_act(x, weight, activation="lrelu")


@pytest.mark.parametrize("strict", [False, True])
def test_a_requested_backend_keeps_the_ops(strict: bool) -> None:
    net, args = cases()["generator"]
    if strict:  # Dynamo cannot trace all of a generator's forward
        net, args = Layer(), (torch.randn(1, 5, 4), torch.randn(1, 3, 4))

    def ops(program: torch.export.ExportedProgram) -> set[str]:
        return {str(node.target) for node in program.graph.nodes if "digan_fast" in str(node.target)}

    with use_backend("native"):
        kept = torch.export.export(net, args, strict=strict)
    assert ("digan_fast.linear_act.default" if strict else "digan_fast.render.default") in ops(kept)
    torch.testing.assert_close(kept.module()(*args), net(*args))
    with use_backend("reference"):
        assert ops(torch.export.export(net, args, strict=strict)) == set()
    assert ops(torch.export.export(net, args, strict=strict)) == set()


def test_batches_and_frames_are_dynamic() -> None:
    net, _ = cases()["generator"]
    batch = torch.export.Dim("batch", min=2, max=64)
    shapes = ({0: batch}, {0: batch}, {0: 4 * batch})

    def args(videos: int) -> tuple[Tensor, ...]:
        return torch.randn(videos, 8), torch.randn(videos, 8), torch.rand(4 * videos, 1, 1, 1)

    program = torch.export.export(net, args(2), dynamic_shapes=shapes).module()
    for videos in (2, 3, 7):
        given = args(videos)
        torch.testing.assert_close(program(*given), net(*given), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["generator", "inr"])
def test_onnx(tmp_path: Path, name: str) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    net, args = cases()[name]
    torch.onnx.export(net, args, str(tmp_path / "a.onnx"), dynamo=True)
    session = runtime.InferenceSession(str(tmp_path / "a.onnx"), providers=["CPUExecutionProvider"])
    named = {entry.name: arg.numpy() for entry, arg in zip(session.get_inputs(), args, strict=True)}
    (found,) = session.run(None, named)
    torch.testing.assert_close(torch.from_numpy(found), net(*args), rtol=1e-3, atol=1e-4)


def graphs(function: Callable[..., Any], *args: Callable[[int], Tensor], sizes: range = range(2, 7)) -> int:
    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = torch.compile(function, backend=counter)
    for size in sizes:
        compiled(*(make(size) for make in args))
    return int(counter.frame_count)


@pytest.mark.parametrize("gradients", [False, True])
def test_at_most_two_compiled_graphs_for_all_batch_sizes(gradients: bool) -> None:
    G = generator().requires_grad_(gradients)
    D = Discriminator(img_resolution=16, channel_base=64, channel_max=8).requires_grad_(gradients)

    def latents(batch: int) -> Tensor:
        return torch.randn(batch, 8)

    assert graphs(lambda z: G.mapping(z, None), latents, sizes=range(2, 12)) <= 2
    frames = (latents, latents, lambda batch: torch.rand(3 * batch, 1, 1, 1))
    assert graphs(Video(G), *frames) <= 2
    # Below a batch of 16, torch's own convolutions need another graph.
    assert graphs(D, lambda batch: torch.randn(16 + 4 * batch, 7, 16, 16)) <= 2


def test_replicas_without_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """As DataParallel creates them, with its broadcast to devices replaced by copies."""
    module = sys.modules["torch.nn.parallel.replicate"]
    copies: Any = lambda tensors, devices, detach=False: [[t.clone() for t in tensors] for _ in devices]  # noqa: E731
    monkeypatch.setattr(module, "_broadcast_coalesced_reshape", copies)
    monkeypatch.setattr(module, "_get_device_index", lambda device, *_: device)
    G, D = generator(), Discriminator(img_resolution=16, channel_base=64, channel_max=8)
    net, args = Video(G), cases()["generator"][1]
    torch.testing.assert_close(module.replicate(net, [0, 1])[1](*args), net(*args))
    pair = torch.randn(4, 7, 16, 16)
    torch.testing.assert_close(module.replicate(D, [0, 1])[1](pair), D(pair))
    for reference in (generator(architecture="orig"),):
        torch.testing.assert_close(module.replicate(Video(reference), [0])[0](*args), Video(reference)(*args))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_network_in_16_bits(dtype: torch.dtype) -> None:
    net, args = cases()["generator"]
    wanted = net(*args)
    found = net.to(dtype)(*(arg.to(dtype) for arg in args))
    assert found.dtype == dtype
    assert (found.float() - wanted).norm() < (0.03 if dtype == torch.float16 else 0.2) * wanted.norm()


def test_precision_as_an_argument() -> None:
    G = generator()
    z = torch.randn(1, 8)
    torch.manual_seed(1)
    wanted, _ = G(z, None)
    for precision, bound in (("float32", 1e-6), ("bfloat16", 0.1), ("int8", 0.2)):
        torch.manual_seed(1)
        found, _ = G(z, None, precision=precision)
        assert (found - wanted).norm() < bound * wanted.norm()
    with pytest.raises(ValueError, match="precision: 'float8'"):
        G(z, None, precision="float8")
    with pytest.raises(ValueError, match=r"precision: 'int8', but this generator has no INR"):
        generator(architecture="orig")(z, None, precision="int8")


def test_a_discriminator_in_float64() -> None:
    D = Discriminator(img_resolution=16, channel_base=64, channel_max=8)
    pair = torch.randn(4, 7, 16, 16)
    wanted = D(pair)[0]
    torch.testing.assert_close(D.double()(pair.double())[0].float(), wanted, rtol=1e-4, atol=1e-5)


def test_the_documented_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript")
    root = Path(__file__).parents[2]
    block = re.search(r"```python\n(.*?)```", (root / "docs" / "torch.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    (tmp_path / "network-snapshot.pkl").symlink_to(DATA / "snapshot.pkl")
    monkeypatch.chdir(tmp_path)
    exec(block[1], {"__name__": "example"})
    assert (tmp_path / "video.pt2").exists()
    assert (tmp_path / "video.onnx").exists()
