"""The native kernels of ``coord_mlp``, forward and backward, against the reference in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from checks import check_views, examples, reduced, thread_counts
from coordinate_mlps import (
    converted,
    evaluated,
    float16_edges,
    modulated,
    network,
    rounding_layers,
    tensors_of,
    with_tensors,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from digan_fast import backends, dispatch, functional, use_backend
from digan_fast.functional import MLPLayer, mlp_layers
from digan_fast.reference.coord_mlp import MLP_ACTIVATIONS

pytestmark = pytest.mark.skipif(backends()["native"] is not None, reason="the compiled module was not built")

EVERY = tuple(MLP_ACTIVATIONS)
# Relative in norm, of a result or gradient in float32 against float64. Observed: 2e-6.
FLOAT32 = 1e-5
# Of one layer of 96 linear units, whose products are all there is: half an ulp of each, 2⁻²⁴, and those of their sums,
# which one after the other grow as √width.  Observed: 2e-7; of 288 units 4.4e-7, where the bound is 6.9e-7.
PRODUCTS = {96: 4e-7, 288: 4e-7 * 3**0.5}
# Between two evaluations with the same operands rounded, where a number at a tie goes the other way; observed: 2e-4. In
# float16 eight times as many numbers are as near to a tie, and go an eighth as far.
TIES = {"bfloat16": 2e-3, "float16": 2e-3 / 8**0.5}
# In float32 against float64 with operands rounded in some layers: each rounding is within 2⁻⁹, or 2⁻¹².
ROUNDED = {"bfloat16": 3e-2, "float16": 3e-2 / 8}


def results(
    layers: list[MLPLayer],
    tensors: list[Tensor],
    probe: Tensor,
    fourier: int = 0,
    precision: str = "float32",
) -> list[Tensor]:
    """The output and the gradients of all tensors: coordinates, two of Fourier features, the layers'."""
    alive = [tensor.detach().requires_grad_() for tensor in tensors]

    def function(*given: Tensor) -> Tensor:
        own = with_tensors(layers, given[1 + fourier :])
        return functional.coord_mlp(given[0], own, *given[1 : 1 + fourier], precision=precision)

    out = function(*alive)
    return [out.detach(), *torch.autograd.grad(out, alive, probe.to(out.dtype))]


def kinked(layers: list[MLPLayer], tensors: list[Tensor], fourier: int, precision: str = "float32") -> list[Tensor]:
    """z of the units whose gradient jumps at 0, so that a rounding of z may change it."""
    own, found = with_tensors(layers, tensors[1 + fourier :]), []
    for i, layer in enumerate(own):
        if layer.activation in ("relu", "lrelu"):
            # An identity follows inner layers: what is last is not rounded.
            same = [MLPLayer(torch.eye(layer.weight.shape[-2], dtype=tensors[0].dtype))] if i + 1 < len(own) else []
            through = [*own[:i], layer._replace(activation="linear"), *same]
            found.append(functional.coord_mlp(tensors[0], through, *tensors[1 : 1 + fourier], precision=precision))
    return found


def distance(found: Tensor, exact: Tensor, terms: int = 1) -> float:
    """Relative in norm; of a gradient with cancellation relative to what so many random terms add up to."""
    return float((found.double() - exact).norm() / exact.norm().clamp(min=terms**0.5 / 10))


# What a layer lacks: nothing, its input's shift, or all modulations but its output's shift.
ABSENT = ((), ("input_shift",), ("scale", "input_scale", "input_shift"))


@st.composite
def networks(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.integers(1, 5))
    return {
        "batch": draw(st.sampled_from((1, 2, 3, 17))),
        "points": draw(st.sampled_from((1, 31, 32, 129, 255, 256, 257, 600))),
        "widths": draw(st.lists(st.integers(1, 70), min_size=count, max_size=count)),
        "activations": draw(st.lists(st.sampled_from(EVERY), min_size=count, max_size=count)),
        "skips": tuple(i for i in range(1, count) if draw(st.sampled_from((True, False, False)))),
        "absent": draw(st.lists(st.sampled_from(ABSENT), min_size=count, max_size=count)),
        "dimensions": draw(st.integers(1, 5)),
        "shared": draw(st.booleans()),
        "own_coordinates": draw(st.booleans()),
        "fourier": draw(st.booleans()),
        "precision": draw(st.sampled_from(("float32", "float32", "bfloat16", "float16"))),
    }


def inputs(described: dict[str, Any]) -> tuple[list[MLPLayer], list[Tensor], int]:
    batch, dimensions = described["batch"], described["dimensions"]
    layers = modulated(
        batch,
        dimensions,
        described["widths"],
        described["activations"],
        described["skips"],
        6 if described["fourier"] else 0,
        described["shared"],
        absent=described["absent"],
    )
    tensors = [torch.rand(batch if described["own_coordinates"] else 1, described["points"], dimensions) * 2 - 1]
    if described["fourier"]:
        tensors += [torch.randn(1 if described["shared"] else batch, 3, dimensions) * 3, torch.randn(batch, 3)]
    return layers, [*tensors, *tensors_of(layers)], 2 if described["fourier"] else 0


@pytest.mark.usefixtures("poisoned")
@settings(deadline=None, max_examples=examples(60))
@given(described=networks())
def test_any_network(described: dict[str, Any]) -> None:
    """Output and all gradients, and the same bits for any number of threads."""
    torch.manual_seed(0)
    layers, tensors, fourier = inputs(described)
    assume(all(float(z.abs().min()) > 1e-6 for z in kinked(layers, [t.double() for t in tensors], fourier)))
    batch = max(len(t) for t in (tensors[0], *tensors_of(layers)))
    precision = described["precision"]
    probe = torch.randn(batch, described["points"], described["widths"][-1])
    narrow = [t.float() for t in tensors]
    found: list[Tensor] = []
    for threads in thread_counts(1, 3):
        with use_backend("native"):
            again = results(layers, narrow, probe, fourier, precision)
        assert threads == 1 or all(map(torch.equal, again, found))
        found = again
    if precision == "float32":
        expected = results(layers, [t.double() for t in tensors], probe, fourier)
    else:
        with use_backend("reference"):
            expected = results(layers, narrow, probe, fourier, precision)
            kinks = kinked(layers, narrow, fourier, precision)
    bound = FLOAT32 if precision == "float32" else TIES[precision]
    assert found[0].shape == expected[0].shape
    assert distance(found[0], expected[0], probe.numel()) < bound
    if precision != "float32":  # a number at a tie may take a unit to the other side of its kink
        with use_backend("native"):
            sides = kinked(layers, narrow, fourier, precision)
        assert all(distance(z, wanted, z.numel()) < bound for z, wanted in zip(sides, kinks, strict=True))
        assume(all(torch.equal(z > 0, wanted > 0) for z, wanted in zip(sides, kinks, strict=True)))
    for value, wanted in zip(found, expected, strict=True):
        assert value.shape == wanted.shape
        assert distance(value, wanted, probe.numel()) < bound


@pytest.mark.parametrize("points", [5, 256, 2000])
@pytest.mark.parametrize("size", [1e-25, 1.0, 1e12])
@pytest.mark.parametrize("width", PRODUCTS)
def test_products_are_those_of_float32(points: int, size: float, width: int) -> None:
    """However an instruction set multiplies: on AMX as sums of six products of bfloat16."""
    torch.manual_seed(0)
    layers = [MLPLayer(torch.randn(2, width, width), None, "linear", omega) for omega in (3.0, 1.0)]
    tensors = [torch.randn(2, points, width) * size, *tensors_of(layers)]
    probe = torch.randn(2, points, width)
    with use_backend("native"):
        found = results(layers, tensors, probe)
    for value, exact in zip(found, results(layers, [t.double() for t in tensors], probe), strict=True):
        assert (value.double() - exact).norm() / exact.norm() < PRODUCTS[width]


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("points", [1, 31, 290])
@pytest.mark.parametrize("activations", [("sine", "gauss", "sine", "lrelu"), ("linear", "tanh", "relu", "sigmoid")])
@pytest.mark.parametrize("wanted", ["all", "coordinates", "last layer's weight"])
@pytest.mark.parametrize("precision", ["float32", *TIES])
def test_wide_plain_layers(precision: str, wanted: str, activations: tuple[str, ...], points: int) -> None:
    """Their activations are computed within the products; on AMX operands in float32 stay there as terms."""
    torch.manual_seed(3)
    widths = (64, 40, 96, 33)
    layers = [
        MLPLayer(torch.randn(1, n, k) / k**0.5, torch.randn(1, n), activation, 1.5)
        for n, k, activation in zip(widths, (48, *widths), activations, strict=False)
    ]
    x, probe = torch.randn(1, points, 48), torch.randn(1, points, widths[-1])

    def gradients(dtype: torch.dtype) -> tuple[Tensor, ...]:
        given = [t.to(dtype).requires_grad_() for t in (x, *tensors_of(layers))]
        chosen = {"all": given, "coordinates": given[:1], "last layer's weight": given[-2:-1]}[wanted]
        out = functional.coord_mlp(given[0], with_tensors(layers, given[1:]), precision=precision)
        return torch.autograd.grad(out, chosen, probe.to(dtype))

    found: tuple[Tensor, ...] = ()
    for threads in thread_counts(1, 3):
        with use_backend("native"):
            again = gradients(torch.float32)
        assert threads == 1 or all(map(torch.equal, again, found))
        found = again
    with use_backend("reference"):
        expected = gradients(torch.float64 if precision == "float32" else torch.float32)
    for value, exact in zip(found, expected, strict=True):
        assert distance(value, exact.double()) < (FLOAT32 if precision == "float32" else TIES[precision])


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("widths", [[9, 5, 2], [70, 45, 2]])
@pytest.mark.parametrize(("batch", "points"), [(1, 256 * 150 + 7), (2, 256 * 70), (16, 300), (40, 3)])
def test_parts_of_sums_depend_on_extents_alone(batch: int, points: int, widths: list[int], shared: bool) -> None:
    """One sample in many parts, parts of several samples, many samples; more strips than go between two signals."""
    layers = converted(modulated(batch, 2, widths, ["sine", "gauss", "linear"], (1,), 0, shared), torch.float32)
    points = reduced(points, min(points, 256 * 20))
    tensors = [torch.rand(1, points, 2), *tensors_of(layers)]
    probe = torch.randn(batch, points, 2)
    found: list[Tensor] = []
    for threads in thread_counts(1, 2, 5):
        with use_backend("native"):
            again = results(layers, tensors, probe)
        assert threads == 1 or all(map(torch.equal, again, found))
        found = again
    exact = results(layers, [t.double() for t in tensors], probe)
    for value, expected in zip(found, exact, strict=True):
        assert distance(value, expected, batch * points) < FLOAT32


def test_own_and_shared_weights_together() -> None:
    for batch in (3, 20):
        layers = converted(modulated(batch, 2, [9, 7, 2], ["sine", "tanh", "linear"]), torch.float32)
        layers[1] = layers[1]._replace(weight=layers[1].weight[:1])
        tensors = [torch.rand(1, 400, 2), *tensors_of(layers)]
        probe = torch.randn(batch, 400, 2)
        with use_backend("native"):
            found = results(layers, tensors, probe)
        for value, expected in zip(found, results(layers, [t.double() for t in tensors], probe), strict=True):
            assert distance(value, expected) < FLOAT32


@pytest.mark.parametrize("widths", [(64, 64, 64, 3), (33, 70, 17, 5)])
@pytest.mark.parametrize("fourier", [False, True])
@pytest.mark.parametrize("precision", TIES)
def test_lower_precision(precision: str, widths: tuple[int, ...], fourier: bool) -> None:
    """Against the reference with the same roundings: ties may go the other way."""
    layers = converted(modulated(3, 2, widths, ["sine", "sine", "sigmoid", "linear"], (2,), 6 * fourier), torch.float32)
    tensors = [torch.rand(3, 300, 2)] + [torch.randn(3, 3, 2), torch.randn(3, 3)] * fourier + tensors_of(layers)
    probe = torch.randn(3, 300, widths[-1])
    with use_backend("native"):
        found = results(layers, tensors, probe, 2 * fourier, precision)
    with use_backend("reference"):
        expected = results(layers, tensors, probe, 2 * fourier, precision)
    exact = results(layers, [t.double() for t in tensors], probe, 2 * fourier)
    for value, same, true in zip(found, expected, exact, strict=True):
        assert distance(value, same.double()) < TIES[precision] / 2
        assert distance(value, true) < ROUNDED[precision]


def as_float16(x: Tensor) -> Tensor:
    return x.half().float()


@pytest.mark.parametrize("modulated", [False, True])
def test_what_float16_rounds(modulated: bool) -> None:
    """To even at ties, to multiples of 2⁻²⁴ below 2⁻¹⁴, to infinity beyond 65504: weights, inputs, and dz."""
    x, layers = float16_edges(), rounding_layers(modulated)
    with use_backend("native"), torch.no_grad():
        out = functional.coord_mlp(x, layers, precision="float16")
    torch.testing.assert_close(out[0], as_float16(x), rtol=0, atol=0, equal_nan=True)
    # Alone in its sample, each number is also a gradient's only term.
    chosen = torch.cat((x[:: len(x) // 1000], x[-2000:]))
    chosen = chosen[chosen.isfinite()].reshape(-1, 1, 1)
    weight, points, probe = (chosen.roll(i, 0).requires_grad_() for i in range(3))
    own = [layers[0], layers[1]._replace(weight=weight), layers[2]]
    with use_backend("native"):
        out = functional.coord_mlp(points, own, precision="float16")
        found = torch.autograd.grad(out, (points, weight), probe.detach())
    low = [as_float16(each.detach()) for each in (points, weight, probe)]
    for value, expected in zip((out, *found), (low[0] * low[1], low[2] * low[1], low[2] * low[0]), strict=True):
        torch.testing.assert_close(value, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("special", [7e4, -torch.inf, torch.nan, 1e-7])
@pytest.mark.parametrize("widths", [(5, 7, 9, 2), (33, 64, 40, 3)])
def test_special_numbers_in_float16(special: float, widths: tuple[int, ...]) -> None:
    """Infinities, NaN and subnormals of one input, weight and gradient spread as in the formula."""
    torch.manual_seed(0)
    layers = converted(modulated(2, 3, widths, ["linear", "tanh", "sine", "linear"]), torch.float32)
    x, probe = torch.randn(2, 200, 3), torch.randn(2, 200, widths[-1])
    layers[1].weight[0, 0, 0] = layers[0].weight[1, 0, 0] = x[0, 17, 1] = probe[1, 3, 1] = special
    found = {}
    for backend in ("native", "reference"):
        with use_backend(backend):
            found[backend] = results(layers, [x, *tensors_of(layers)], probe, precision="float16")
    for value, expected in zip(found["native"], found["reference"], strict=True):
        finite = expected.isfinite()
        torch.testing.assert_close(value[~finite], expected[~finite], equal_nan=True)
        assert value[finite].isfinite().all()
        if finite.any():
            assert distance(value[finite], expected[finite].double(), probe.numel()) < TIES["float16"]


@pytest.mark.parametrize("precision", ["float32", *TIES])
@pytest.mark.parametrize("width", [2, 64])
@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_no_gradient_below_zero_of_relu(value: float, width: int, precision: str) -> None:
    """Of any gradient by an output below zero, be the layer the last one or before a narrow or a wide one."""
    x = torch.full((1, 35, 2), -1.0)
    for scale in (None, torch.ones(1, width)):
        for outputs in ([], [3], [width, 3]):
            first = [torch.ones(1, width, 2), torch.zeros(1, width), scale]
            alive = [t.requires_grad_() for t in (x.clone(), *first) if t is not None]
            layers = [MLPLayer(alive[1], alive[2], "relu", scale=None if scale is None else alive[3])]
            layers += [MLPLayer(torch.ones(1, o, width)) for o in outputs]
            with use_backend("native"):
                y = functional.coord_mlp(alive[0], layers, precision=precision)
                gradients = torch.autograd.grad(y, alive, torch.full_like(y, value))
            assert not any(each.any() for each in gradients)


def test_values_do_not_depend_on_gradients_or_neighbours() -> None:
    """Each point has the same bits alone, in a batch, and when gradients are recorded."""
    layers = converted(modulated(3, 2, [40, 33, 3], ["sine", "tanh", "linear"], (1,)), torch.float32)
    x = torch.rand(3, 300, 2)
    with use_backend("native"):
        for precision in TIES:
            low = functional.coord_mlp(x, layers, precision=precision)
            assert torch.equal(functional.coord_mlp(x[:, 37:77], layers, precision=precision), low[:, 37:77])
        whole = functional.coord_mlp(x, layers)
        assert torch.equal(functional.coord_mlp(x[:, 37:77], layers), whole[:, 37:77])
        alive = [t.requires_grad_() for t in tensors_of(layers)]
        assert torch.equal(evaluated(layers)(x, *alive).detach(), whole)
        one = [
            layer._replace(**{k: v[1:2] for k, v in layer._asdict().items() if isinstance(v, Tensor) and len(v) > 1})
            for layer in layers
        ]
        assert torch.equal(functional.coord_mlp(x[1:2], one), whole[1:2])


@pytest.mark.parametrize(
    ("wide", "narrow"), [((64, 64, 3), (47, 47, 3)), ((64, 64, 3), (63, 33, 3)), ((45, 64, 45, 3), (45, 47, 45, 3))]
)
def test_nothing_of_a_call_remains_in_the_next(wide: tuple[int, ...], narrow: tuple[int, ...]) -> None:
    """Scratch is reused: where a wide network was NaN, a narrow one has channels that are filled up."""
    x, probe = torch.rand(1, 300, 2), torch.randn(1, 300, 3)
    (weights, biases), (own, offsets) = (network(1, [2, *sizes], dtype=torch.float32) for sizes in (wide, narrow))
    with use_backend("native"):
        for _ in range(2):
            lost = mlp_layers([w * torch.nan for w in weights], [b * torch.nan for b in biases])
            results(lost, [x, *tensors_of(lost)], probe)
            functional.coord_mlp(x, lost)
            layers = mlp_layers(own, offsets)
            assert functional.coord_mlp(x, layers).isfinite().all()
            assert all(bool(value.isfinite().all()) for value in results(layers, [x, *tensors_of(layers)], probe))


def test_views() -> None:
    layers = converted(modulated(2, 3, [5, 4], ["sine", "linear"], (1,)), torch.float32)
    with use_backend("native"):
        check_views(evaluated(layers), [torch.rand(2, 9, 3), *tensors_of(layers)])


def test_what_native_does_not_run_says_so() -> None:
    weights, biases = network(2, [2, 5, 3], dtype=torch.float32)
    with use_backend("native"):
        low = mlp_layers([w.bfloat16() for w in weights], [b.bfloat16() for b in biases])
        with pytest.raises(dispatch.BackendUnavailable, match=r"coordinates is torch.bfloat16; it takes float32"):
            functional.coord_mlp(torch.rand(4, 2).bfloat16(), low)
