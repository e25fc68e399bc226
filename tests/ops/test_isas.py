"""Results of every instruction set are bit-identical to those of the least capable one.

The set is chosen when the module is loaded, so each runs in its own process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import coordinate_mlps
import pytest
import torch
from instruction_sets import ISAS

from digan_fast import backends, dispatch

pytestmark = pytest.mark.skipif(backends()["native"] is not None, reason="the compiled module was not built")

PROGRAM = """
import sys
import torch

sys.path.insert(0, sys.argv[2])
from coordinate_mlps import float16_edges, rounding_layers
from digan_fast import dispatch, functional, use_backend
from digan_fast.reference.activations import ACTIVATIONS

torch.manual_seed(0)
torch.set_num_threads(2)
found = {}


def both(name, function, *inputs):
    inputs = [t.clone().requires_grad_(t.is_floating_point()) for t in inputs]
    with use_backend("native"):
        out = function(*inputs)
        gradients = torch.autograd.grad(out, inputs, torch.randn_like(out))
    found[name] = [t.detach().float() for t in (out, *gradients)]


for dtype in (torch.float32, torch.bfloat16):
    for shape in ((3, 37, 5, 7), (2, 3, 45, 47), (2, 1030, 3, 3)):
        for layout in (torch.contiguous_format, torch.channels_last):
            x = (torch.randn(shape) * 4).to(dtype).contiguous(memory_format=layout)
            for name in ACTIVATIONS:
                for clamp in (None, 1.5):
                    key = f"bias_act {name} {clamp} {shape} {layout} {dtype}"
                    bias = torch.randn(shape[1]).to(dtype)
                    both(key, lambda x, b: functional.bias_act(x, b, 1, name, clamp=clamp), x, bias)
both("sine far out", lambda x: functional.bias_act(x, None, 1, "sine"), torch.randn(3, 2000) * 5e3)

CASES = ((1, 1, [2] * 4), (1, 2, [1, 2, 3, 1]), (2, 1, [2, 1, 2, 1]), (3, 2, [4, -1, 0, 5]))
taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
for dtype in (torch.float32, torch.bfloat16):
    for filter in (torch.outer(taps, taps), torch.randn(3, 5)):
        for shape in ((3, 5, 17, 19), (2, 32, 9, 11), (1, 1040, 5, 31)):
            for layout in (torch.contiguous_format, torch.channels_last):
                for up, down, padding in CASES:
                    x = torch.randn(shape).to(dtype).contiguous(memory_format=layout)
                    key = f"upfirdn2d {tuple(filter.shape)} {shape} {layout} {up} {down} {dtype}"
                    both(key, lambda x: functional.upfirdn2d(x, filter, up, down, padding), x)

for batch, outputs, inputs, rank in ((2, 7, 9, 3), (3, 70, 129, 10), (1, 33, 64, 1)):
    for name in ("demod", "tanh", "sigmoid", "linear"):
        inputs_ = torch.randn(outputs, inputs), torch.randn(batch, outputs, rank), torch.randn(batch, rank, inputs)
        both(f"fmm_weights {name} {outputs}", lambda *t: functional.fmm_weights(*t, name), *inputs_)

for modulated in (False, True):
    with use_backend("native"), torch.no_grad():
        out = functional.coord_mlp(float16_edges(), rounding_layers(modulated), precision="float16")
    found[f"coord_mlp float16 {modulated}"] = [out.nan_to_num(nan=1e38)]

torch.save((dispatch.native_module().isa(), found), sys.argv[1])
"""


def run(isa: str, path: Path) -> dict[str, list[torch.Tensor]] | str:
    """The program's results, or the error message for an instruction set that this CPU lacks."""
    environment = {**os.environ, "DIGAN_FAST_ISA": isa}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(Path(coordinate_mlps.__file__).parent)],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        assert "this CPU lacks" in done.stderr, done.stderr
        return done.stderr
    name, found = torch.load(path)
    assert name == isa
    return found


@pytest.fixture(scope="module")
def generic(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[torch.Tensor]]:
    found = run("generic", tmp_path_factory.mktemp("isas") / "generic.pt")
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("isa", ISAS[1:])
def test_bit_identical(isa: str, generic: dict[str, list[torch.Tensor]], tmp_path: Path) -> None:
    if isa not in dispatch.native_module().build_info()["isas"]:
        pytest.skip("not built")
    found = run(isa, tmp_path / "found.pt")
    if isinstance(found, str):
        pytest.skip(found.splitlines()[-1])
    assert found.keys() == generic.keys()
    assert len(found) > 250
    different = [
        key
        for key, tensors in found.items()
        if not all(torch.equal(a, b) for a, b in zip(tensors, generic[key], strict=True))
    ]
    assert not different
