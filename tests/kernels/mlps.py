"""Small coordinate MLPs with everything that a layer can have, for the fused kernels of ``coord_mlp``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from coordinate_mlps import converted, modulated, network
from torch import Tensor

from digan_fast import CoordMLP, functional, ops
from digan_fast.functional import MLPLayer, mlp_layers
from digan_fast.reference import coord_mlp as reference

# name: sets, points, dimensions, widths, activations, layers that skip, frequencies, shared weights.
MLPS: dict[str, tuple[int, int, int, Sequence[int], Sequence[str], Sequence[int], int, bool]] = {
    "one": (1, 1, 1, (1,), ("linear",), (), 0, False),
    "odd": (3, 70, 3, (19, 40, 40, 5), ("sine", "gauss", "tanh", "linear"), (3,), 0, False),
    "runs": (2, 33, 2, (40, 40, 40, 40, 3), ("sine", "sigmoid", "sigmoid", "sigmoid", "lrelu"), (), 0, False),
    "shared": (2, 65, 2, (100, 100, 70, 30), ("relu", "lrelu", "sigmoid", "linear"), (2,), 0, True),
    "features": (2, 33, 2, (40, 30, 20), ("sine", "lrelu", "linear"), (1, 2), 6, False),
    "encoded": (2, 70, 3, (40, 33, 20, 4), ("sine", "tanh", "gauss", "linear"), (2,), 20, True),
    "few": (2, 17, 5, (33, 18, 16), ("gauss", "sine", "tanh"), (2,), 4, False),
}
# Those whose backward in Triton differs from theirs: a first layer that is encoded, skips in the middle, an activation
# after a last layer of many outputs or of few, one layer.
GRADED = {
    "waves": (2, 40, 3, (40, 33, 20, 4), ("sine", "tanh", "gauss", "linear"), (), 20, True),
    "middle": (2, 35, 2, (50, 40, 30), ("relu", "lrelu", "linear"), (1, 2), 0, True),
    "coloured": (2, 17, 1, (20, 20, 7), ("sine", "relu", "sigmoid"), (1,), 0, False),
    "single": (2, 40, 5, (20,), ("sine",), (), 0, False),
}
PRECISIONS = ("float32", "bfloat16", "float16")
# The error of sums in float32, relative to the largest output. Where an operand of 8 or 11 bits lies at a tie and
# another order of the sum rounds it the other way, a point's error is larger: by up to 0.6 steps between neighbours in
# [1, 2) in 8 draws of each network. This was 3 % of the points, and may be a quarter of a SIREN's, of 512 channels in
# float16.
SUMS = 2.0**-19
STEPS = {"float32": SUMS, "bfloat16": 2.0**-7, "float16": 2.0**-10}
AT_TIES, OF_SIRENS = 1 / 16, 1 / 2
# Of gradients, relative in norm to those of the formula in float64 with the same operands rounded; the largest found
# is 1.2e-6 in float32.
GRADIENT_ERRORS = {"float32": 2e-6, "bfloat16": 1e-3, "float16": 2e-4}


def arguments(x: Tensor, layers: Sequence[MLPLayer], *features: Tensor, precision: str) -> list[Any]:
    """The op's arguments of a call of ``functional.coord_mlp``."""
    seen: list[Any] = []

    def see(*args: Any) -> Tensor:
        seen.extend(args)
        return x

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops.coord_mlp, "coord_mlp", see)
        functional.coord_mlp(x, layers, *features, precision=precision)
    lists = 1 + reference.LISTS
    return [seen[0], *map(list, seen[1:lists]), *seen[lists:]]


def on_a_device(args: Sequence[Any], device: str) -> list[Any]:
    def moved(each: Any) -> Any:
        return each.to(device) if isinstance(each, Tensor) else each

    return [list(map(moved, each)) if isinstance(each, list) else moved(each) for each in args]


def mlp(name: str, precision: str) -> list[Any]:
    sets, points, dimensions, widths, activations, skips, frequencies, shared = (MLPS | GRADED)[name]
    torch.manual_seed(0)
    layers = modulated(sets, dimensions, widths, activations, skips, 2 * frequencies, shared, torch.float32)
    x = torch.rand(1 if shared else sets, points, dimensions) * 2 - 1
    features = (torch.randn(frequencies, dimensions) * 3, torch.randn(sets, frequencies)) if frequencies else ()
    return arguments(x, layers, *features, precision=precision)


# Networks that CUDA's kernels take in half precision; in float32 they take all of them.
CUDA_FORWARD_HALVES = ("one", "odd", "runs", "encoded")


def siren(
    sets: int, points: int, width: int, hidden: int, precision: str, dimensions: int = 2, outputs: int = 3
) -> list[Any]:
    weights, biases = network(sets, [dimensions, *[width] * (1 + hidden), outputs], dtype=torch.float32)
    layers = converted(mlp_layers(weights, biases, "sine", 30.0), torch.float32)
    return arguments(torch.rand(1, points, dimensions) * 2 - 1, layers, precision=precision)


def check_mlp(run: Callable[..., Tensor], args: Sequence[Any], precision: str, at_ties: float = AT_TIES) -> None:
    """The formula's outputs with the same operands rounded, but for points where an operand lies at a tie."""
    found, right = run(*args), reference.coord_mlp(*args)
    assert found.shape == right.shape
    assert found.isfinite().all()
    errors = (found - right).abs().amax(-1) / right.abs().max()
    worst, usual = float(errors.max()), float(errors.flatten().quantile(1 - at_ties, interpolation="lower"))
    assert worst <= STEPS[precision], f"error {worst:.3g}"
    assert usual <= SUMS, f"error {usual:.3g} where no operand lies at a tie"


def check_compiled_on_a_device(network: CoordMLP, count: int) -> None:
    """Eager calls' bits, and their memory, which is less than what a layer would store."""
    network, points = network.cuda(), torch.rand(count, network.layers[0].weight.shape[-1], device="cuda")
    parameters, probe = list(network.parameters()), torch.randn_like(network(points))

    def called(function: Callable[[Tensor], Tensor]) -> tuple[list[Tensor], int]:
        for _ in range(2):  # the first compiles
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before, out = torch.cuda.memory_allocated(), function(points)
            found = [out.detach(), *torch.autograd.grad(out, parameters, probe)]
            peak = torch.cuda.max_memory_allocated() - before
            del out
        return found, peak

    torch._dynamo.reset()
    (eager, least), (found, most) = called(network), called(torch.compile(network, fullgraph=True))
    assert all(map(torch.equal, found, eager))
    assert most <= 1.01 * least
    assert most < 4 * probe[..., 0].numel() * network.layers[1].weight.shape[-1]


def gradient_arguments(args: Sequence[Any], needed: Sequence[bool] | None = None) -> list[Any]:
    """The arguments of the backward: a random gradient by the output, and everything needed unless said otherwise."""
    given = [args[0], *(each for group in args[1 : 1 + reference.LISTS] for each in group)]
    grad = torch.randn(reference.coord_mlp(*args).shape, generator=torch.Generator().manual_seed(1))
    return [grad.to(args[0].device), *args, [each is not None for each in given] if needed is None else list(needed)]


def check_mlp_gradients(run: Callable[..., Sequence[Tensor]], args: Sequence[Any], precision: str) -> list[Tensor]:
    """Those of the formula in float64 with the same operands rounded; returns what ``run`` finds."""

    def widened(each: Any) -> Any:
        return each.double() if isinstance(each, Tensor) else each

    found = list(run(*args))
    right = reference.coord_mlp_backward(
        *(list(map(widened, each)) if isinstance(each, list) else widened(each) for each in args)
    )
    for place, (gradient, expected) in enumerate(zip(found, right, strict=True)):
        assert gradient.shape == expected.shape, place
        error, largest = float((gradient - expected).norm()), float(expected.norm())
        assert error <= GRADIENT_ERRORS[precision] * largest, f"gradient {place}: error {error:.3g} of {largest:.3g}"
    return found
