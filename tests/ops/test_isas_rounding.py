"""Every instruction set gives the same results as the least capable one, except for float32 rounding.

Matrix products use fma if the set has it, so unlike the results in `test_isas.py` they are not bit-identical.  The set
is chosen when the module is loaded, so each runs in its own process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import random_inrs
import torch
from instruction_sets import ISAS
from random_inrs import distance

from digan_fast import backends, dispatch

pytestmark = pytest.mark.skipif(backends()["native"] is not None, reason="the compiled module was not built")

# Relative in norm: each set is within 2e-6 (test_render.py). Observed: 1.2e-6, and 2.9e-6 of a single number with
# cancellation.
FLOAT32 = 4e-6
# A number near a bfloat16 tie may round the other way, by 2⁻⁸ of itself; 5e-4 observed.
BFLOAT16 = 1e-3
# The same of an op's single number: a unit in its last place.
BFLOAT16_OPS = 2**-7
FLOAT16_OPS = 2**-10

PROGRAM = """
import math
import os
import sys

sys.path.insert(0, sys.argv[2])
import torch
from coordinate_mlps import converted, modulated, tensors_of
from random_inrs import PUBLISHED, SMALL, native, random_inr

from digan_fast import dispatch, functional, use_backend
from digan_fast.reference.coord_mlp import MLP_ACTIVATIONS

torch.manual_seed(0)
torch.set_num_threads(2)
found = {}
ops = torch.ops.digan_fast

# Sanitized code is slow.
large = "DIGAN_FAST_EXAMPLES" not in os.environ
ODD = ((3, (25,)), (1, (13,)), (2, (11, 37)))
# With AMX, panels of 32, 16 and fewer rows, and depths that end within a tile.
TILES = ((33, (96, 48)), (64, (87, 64)), (17, (40, 16)))
for precision in ("float32", "bfloat16"):
    for name, widths, side, size, window in (
        ("small", SMALL, 8, 32, None),
        ("odd", ODD, 3, 12, (-7, 2, 23, 31)),
        ("tiles", TILES, 3, 12, (-7, 2, 23, 31)),
        ("published", PUBLISHED if large else ((32, (64, 64)), (32, (64, 32))), 32, 64, (10, 20, 6, 9)),
    ):
        for activations in (("lrelu",), ("sine", "relu"), ("linear",)):
            for clamp in (None, 0.7):
                inr = random_inr(2, 2, widths, side, activations=activations, clamp=clamp)
                found[f"render {name} {activations} {clamp} {precision}"] = [native(inr, size, window, precision)]


def both(name, op, tensors, *options):
    # The same `out` for every set, so that the sign of a number next to zero is the same.
    wide = [None if t is None else t.double() for t in tensors]
    exact = getattr(ops, op)(*wide, *options)
    grad = torch.randn(exact.shape)
    with use_backend("native"):
        out = getattr(ops, op)(*tensors, *options)
        exact, grad = exact.to(out.dtype), grad.to(out.dtype)
        found[name] = [out, *getattr(ops, op + "_backward")(grad, *tensors, exact, *options)]


for shape in ((1, 1, 1, 1), (2, 97, 33, 35), (3, 200, 7, 97), (1, 193, *((512, 256) if large else (80, 48)))):
    videos, rows, inputs, outputs = shape
    for activation in ("linear", "relu", "lrelu", "sine"):
        for clamp in (None, 0.8):
            for bias in (None, torch.randn(outputs), torch.randn(videos, outputs)):
                x, weight = torch.randn(videos, rows, inputs), torch.randn(videos, outputs, inputs) / math.sqrt(inputs)
                name = f"linear_act {shape} {activation} {clamp} {None if bias is None else bias.ndim}"
                both(name, "linear_act", (x, weight, bias), activation, 1.3, clamp)

        if clamp is None:
            low = [None if t is None else t.bfloat16() for t in (x, weight, bias)]
            both(f"linear_act {shape} {activation} bfloat16", "linear_act", low, activation, 1.3, clamp)
            mixed = low[0], weight, bias
            both(f"linear_act {shape} {activation} mixed", "linear_act", mixed, activation, 1.3, clamp)

for grid in ((1, 0, 0, 1, 1), (8, 1, -1, 3, 4), (64, 5, -7, 2, 51), (33, 4, 4, *((17, 23) if large else (9, 11)))):
    parents = [(at + n - 1) // 2 - at // 2 + 1 for at, n in zip(grid[1:3], grid[3:])]
    for K, outputs in ((1, 1), (5, 37), (64, 66)):
        for activation in ("linear", "relu", "lrelu"):
            for base in (None, torch.randn(2, 3, *parents, outputs)):
                weight = torch.randn(2, outputs, 2 * K) / math.sqrt(2 * K)
                tensors = base, torch.randn(2, K, 2) * 10, torch.randn(2, 3, K), weight, torch.randn(outputs)
                name = f"coord_linear {grid} {K} {activation} {base is None}"
                both(name, "coord_linear", tensors, list(grid), activation, 1.3, None)
                low = [None if t is None else t.bfloat16() for t in (base, weight, tensors[4])]
                tensors = low[0], *tensors[1:3], *low[1:]
                both(f"{name} bfloat16", "coord_linear", tensors, list(grid), activation, 1.3, None)

for widths in ((2, 1), (3, 33, 20, 3), (4, 64, 64, 64, 1)):
    for activation in MLP_ACTIVATIONS:
        kinds = [activation] * (len(widths) - 2) + ["linear"]
        layers = converted(modulated(2, widths[0], widths[1:], kinds, (1,) * (len(widths) > 2)), torch.float32)
        x = torch.rand(2, 150, widths[0]) * 2 - 1
        alive = [t.requires_grad_() for t in (x, *tensors_of(layers))]
        for precision in ("float32", "bfloat16", "float16"):
            with use_backend("native"):
                out = functional.coord_mlp(x, layers, precision=precision)
                gradients = torch.autograd.grad(out, alive, torch.randn(out.shape))
                with torch.no_grad():
                    out = functional.coord_mlp(x, layers, precision=precision)
            name = f"coord_mlp {widths} {activation} {precision}"
            found[name] = [out]
            found[f"{name} backward"] = [g.detach() for g in gradients]

for channels, side, stride in ((1, 3, 1), (33, 11, 1), (20, 13, 2), (97, 18, 2)):
    x, weight = torch.randn(2, channels, side, side), torch.randn(channels + 3, channels, 3, 3) / (3 * channels**0.5)
    alive = [x.requires_grad_(), weight.requires_grad_()]
    with use_backend("native"):
        out = functional.conv3x3(x, weight, stride, 1)
        gradients = torch.autograd.grad(out, alive, torch.randn(out.shape))
    found[f"conv3x3 {channels} {side} {stride}"] = [each.detach() for each in (out, *gradients)]

torch.save((dispatch.native_module().isa(), found), sys.argv[1])
"""


def run(isa: str, path: Path) -> dict[str, list[torch.Tensor]] | str:
    """The program's results, or the error message for an instruction set that this CPU lacks."""
    environment = {**os.environ, "DIGAN_FAST_ISA": isa}
    command = [sys.executable, "-c", PROGRAM, str(path), str(Path(random_inrs.__file__).parent)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        assert "this CPU lacks" in done.stderr, done.stderr
        return done.stderr
    name, found = torch.load(path)
    assert name == isa
    return found


def bound(key: str) -> float:
    if " float16" in key:
        return FLOAT16_OPS
    if "bfloat16" not in key and "mixed" not in key:
        return FLOAT32
    return BFLOAT16 if key.startswith("render") else BFLOAT16_OPS


@pytest.fixture(scope="module")
def generic(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[torch.Tensor]]:
    found = run("generic", tmp_path_factory.mktemp("isas") / "generic.pt")
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("isa", ISAS[1:])
def test_equal_up_to_rounding(isa: str, generic: dict[str, list[torch.Tensor]], tmp_path: Path) -> None:
    if isa not in dispatch.native_module().build_info()["isas"]:
        pytest.skip("not built")
    found = run(isa, tmp_path / "found.pt")
    if isinstance(found, str):
        pytest.skip(found.splitlines()[-1])
    assert found.keys() == generic.keys()
    assert len(found) > 200
    for key, tensors in found.items():
        for value, expected in zip(tensors, generic[key], strict=True):
            assert value.shape == expected.shape
            assert value.isfinite().all()
            if expected.numel():
                assert distance(value, expected) <= bound(key), key
