"""``functional.coord_mlp``: its formula, derivatives of every kind, graphs, errors."""

from __future__ import annotations

import math
from typing import Any

import numpy
import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from checks import check_compiled, check_derivatives, check_schema, check_stride_zero_gradient, layouts, normal
from coordinate_mlps import TENSORS, converted, evaluated, formula, modulated, network, tensors_of
from torch import Tensor
from torch.func import functional_call, jacrev, jvp, stack_module_state, vmap

from digan_fast import functional
from digan_fast.functional import MLPLayer, mlp_layers
from digan_fast.ops._mlp_chain import chain
from digan_fast.reference.coord_mlp import MLP_ACTIVATIONS, operand_types

EVERY = tuple(MLP_ACTIVATIONS)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("activation", EVERY)
@pytest.mark.parametrize("own_biases", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 6, 97)])
def test_matches_its_formula(
    dtype: torch.dtype, activation: str, own_biases: bool, shape: tuple[int, int, int]
) -> None:
    """In float32 a first phase of up to 30 is rounded by 2e-6; two more layers of sines follow."""
    batch, dimensions, points = shape
    weights, biases = network(batch, [dimensions, 33, 20, 3], own_biases, dtype)
    coordinates = torch.rand(batch, points, dimensions, dtype=dtype) * 2 - 1
    bound = 1e-12 if dtype == torch.float64 else 2e-5
    layers = mlp_layers(weights, biases, activation, 30.0)
    found = functional.coord_mlp(coordinates, layers)
    torch.testing.assert_close(found.double(), formula(coordinates, layers), rtol=0, atol=bound)
    layers = mlp_layers(weights, None, activation, [30.0, 10.0])
    found = functional.coord_mlp(coordinates[0], layers)
    torch.testing.assert_close(found.double(), formula(coordinates[0], layers), rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("fourier", [False, True])
def test_modulations_and_skips_match_their_formula(dtype: torch.dtype, shared: bool, fourier: bool) -> None:
    layers = modulated(3, 2, [17, 9, 12, 8, 5], EVERY[1:6], (1, 3), 10 if fourier else 0, shared, dtype)
    coordinates = torch.rand(1 if shared else 3, 50, 2, dtype=dtype) * 2 - 1
    frequency, phase = torch.randn(3, 5, 2, dtype=dtype) * 4, torch.randn(3, 5, dtype=dtype)
    features: tuple[Tensor, ...] = (frequency, phase) if fourier else ()
    found = functional.coord_mlp(coordinates, layers, *features)
    expected = formula(coordinates, layers, *features)
    bound = 1e-12 if dtype == torch.float64 else 2e-6 * float(expected.abs().max())
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=bound)


@pytest.mark.parametrize("own", [False, True])
def test_fourier_features(own: bool) -> None:
    weights, biases = network(2, [10, 16, 3], dtype=torch.float32)
    frequency = torch.randn(2, 5, 2) * 10
    frequency = frequency if own else frequency[0]
    coordinates = torch.rand(2, 50, 2) * 2 - 1
    layers = mlp_layers(weights, biases, "lrelu")
    found = functional.coord_mlp(coordinates, layers, frequency)
    torch.testing.assert_close(found.double(), formula(coordinates, layers, frequency), rtol=0, atol=1e-5)


def test_a_level_of_digan_is_an_instance() -> None:
    """``coord_linear`` without a base, at the pixels of its grid, and a layer above it."""
    side, sinusoids = 4, 3
    frequency, phase = torch.randn(2, sinusoids, 2).double(), torch.randn(2, sinusoids).double()
    weight, bias, above = torch.randn(2, 5, 6).double(), torch.randn(5).double(), torch.randn(2, 3, 5).double()
    grid = (side, 0, 0, side, side)
    x = functional.coord_linear(None, frequency, phase.unsqueeze(1), weight, bias, grid, "lrelu", gain=1.0)
    expected = functional.linear_act(x.reshape(2, -1, 5), above)
    axis = 2 * torch.arange(side).double() / side - 1
    y, x = torch.meshgrid(axis.flip(0), axis, indexing="ij")
    points = torch.stack((x, y), -1).reshape(-1, 2)
    found = functional.coord_mlp(points, [MLPLayer(weight, bias, "lrelu"), MLPLayer(above)], frequency, phase)
    torch.testing.assert_close(found, expected)


def test_shared_tensors_are_those_of_every_sample() -> None:
    """One weight, [O, I], [1, O, I] or expanded, and one modulation."""
    layers = modulated(1, 2, [7, 5], ["sine", "tanh"], (1,))
    coordinates = torch.rand(4, 9, 2).double()
    found = functional.coord_mlp(coordinates, layers)
    flat = [layer._replace(weight=layer.weight[0]) for layer in layers]
    torch.testing.assert_close(functional.coord_mlp(coordinates, flat), found)
    expanded = [
        layer._replace(weight=layer.weight.expand(4, -1, -1), shift=layer.shift[0])
        for layer in layers
        if layer.shift is not None
    ]
    torch.testing.assert_close(functional.coord_mlp(coordinates, expanded), found)


def test_derivatives_in_float64() -> None:
    layers = modulated(2, 2, [3, 4, 2], ["sine", "gauss", "linear"], (1,))
    check_derivatives(
        evaluated(layers), [t.requires_grad_() for t in (torch.randn(1, 3, 2).double(), *tensors_of(layers))]
    )
    layers = modulated(2, 2, [3, 2], ["tanh", "sigmoid"], (1,), 4, shared=True)
    tensors = [torch.randn(2, 3, 2), torch.randn(2, 2), torch.randn(2, 2), *tensors_of(layers)]
    check_derivatives(evaluated(layers, fourier=2), [t.double().requires_grad_() for t in tensors])


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precisions_round_operands(precision: str) -> None:
    """Against float32 layer by layer, whose operands were rounded: sums are in float32, results are not rounded."""
    layers = modulated(2, 2, [8, 16, 16, 3], ["sine", "sine", "relu", "linear"], dtype=torch.float32)
    coordinates = torch.rand(30, 2)
    dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
    assert operand_types([False] * 4, False, precision) == [None, dtype, dtype, None]
    assert operand_types([False, True, True, False], False, precision) == [None, None, None, None]
    assert operand_types([False, False, True, False], True, precision) == [None, dtype, dtype, None]
    exact = [
        layer._replace(weight=(layer.weight * layer.omega).to(dtype).float() / layer.omega) for layer in layers[1:3]
    ]
    x = functional.coord_mlp(coordinates, layers[:1])
    for before, layer in zip(layers[1:3], exact, strict=True):
        scale, shift = before.input_scale, before.input_shift
        x = x if scale is None else x * scale.unsqueeze(1)
        x = x if shift is None else x + shift.unsqueeze(1)
        x = functional.coord_mlp(x.to(dtype).float(), [layer._replace(input_scale=None, input_shift=None)])
    expected = functional.coord_mlp(x, layers[3:])
    found = functional.coord_mlp(coordinates, layers, precision=precision)
    # A number at a tie of the rounding may go the other way.
    error = (found - expected).norm() / expected.norm()
    assert float(error) < {"bfloat16": 1e-3, "float16": 2e-4}[precision]
    assert not torch.equal(found, functional.coord_mlp(coordinates, layers))


def test_autocast_does_not_apply() -> None:
    layers = modulated(2, 2, [8, 16, 3], ["sine", "sine", "linear"], dtype=torch.float32)
    coordinates = torch.rand(30, 2)
    alive = [t.requires_grad_() for t in tensors_of(layers)]
    expected = functional.coord_mlp(coordinates, layers)
    with torch.autocast("cpu", torch.bfloat16):
        found = functional.coord_mlp(coordinates, layers)
    assert torch.equal(found, expected)
    for grad, other in zip(
        torch.autograd.grad(found.sum(), alive), torch.autograd.grad(expected.sum(), alive), strict=True
    ):
        assert torch.equal(grad, other)


def test_autocast_does_not_apply_to_the_formula() -> None:
    """In double backward, forward mode and under vmap."""
    layers = modulated(2, 2, [32, 32, 1], ["sine", "sine", "linear"], dtype=torch.float32)
    x = torch.rand(50, 2)
    alive = [t.requires_grad_() for t in tensors_of(layers)]

    def derivatives() -> list[Tensor]:
        at = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(functional.coord_mlp(at, layers).sum(), at, create_graph=True)
        second = torch.autograd.grad((gradient.norm(dim=-1) - 1).square().mean(), alive, allow_unused=True)
        forward = jvp(lambda at: functional.coord_mlp(at, layers), (x,), (torch.ones_like(x),))
        mapped = vmap(lambda at: functional.coord_mlp(at, layers))(x.unsqueeze(1))
        return [*(each for each in second if each is not None), *forward, mapped]

    expected = derivatives()
    with torch.autocast("cpu", torch.bfloat16):
        found = derivatives()
    assert len(found) > len(alive)
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("shared", [False, True])
def test_batched_gradients(shared: bool) -> None:
    layers = modulated(2, 2, [5, 3], ["sine", "linear"], shared=shared, dtype=torch.float32)
    alive = [t.requires_grad_() for t in (torch.rand(2, 4, 2), *tensors_of(layers))]
    out, probes = evaluated(layers)(*alive), torch.randn(3, 2, 4, 3)
    found = torch.autograd.grad(out, alive, probes, is_grads_batched=True, retain_graph=True)
    for i, probe in enumerate(probes):
        expected = torch.autograd.grad(out, alive, probe, retain_graph=True)
        torch.testing.assert_close([each[i] for each in found], list(expected))


def test_the_op_itself_checks_extents() -> None:
    """No one else tells the kernels that the tensors fit together."""
    x, options = torch.rand(1, 4, 2), (["linear"], [1.0], [False], False, "float32")
    nothing = [[None] for _ in range(4)]

    def call(bias: Tensor, weight: Tensor) -> Tensor:
        return torch.ops.digan_fast.coord_mlp(x, [weight], [bias], *nothing, *options)

    assert call(torch.zeros(1, 64), torch.zeros(1, 64, 2)).shape == (1, 4, 64)
    with pytest.raises(ValueError, match="expected"):
        call(torch.zeros(1, 1), torch.zeros(1, 64, 2))
    with pytest.raises(ValueError, match="expected"):
        call(torch.zeros(1, 64), torch.zeros(1, 64, 3))
    with pytest.raises(ValueError, match="expected"):
        call(torch.zeros(3, 64), torch.zeros(2, 64, 2))
    network, needed = ([torch.zeros(1, 64, 2)], [None], *nothing), [False, True, *[False] * 5]
    backward = torch.ops.digan_fast.coord_mlp_backward
    assert backward(torch.ones(1, 4, 64), x, *network, *options, needed)[1].shape == (1, 64, 2)
    with pytest.raises(ValueError, match="expected"):
        backward(torch.ones(1, 3, 64), x, *network, *options, needed)


def test_schema_and_compilation() -> None:
    layers = modulated(2, 2, [5, 4, 3], ["sine", "gauss", "linear"], (1,), shared=True, dtype=torch.float32)
    coordinates = torch.rand(2, 7, 2)
    lists = [
        [getattr(layer, name) for layer in layers]
        for name in ("weight", "bias", "scale", "shift", "input_scale", "input_shift")
    ]
    options = ["sine", "gauss", "linear"], [1.0, 2.0, 0.5], [False, True, False], False, "float32"
    for varied in layouts(coordinates):
        check_schema(torch.ops.digan_fast.coord_mlp.default, (varied, *lists, *options))
    needed = [tensor is not None for tensor in (coordinates, *(t for group in lists for t in group))]
    for grad in layouts(torch.randn(2, 7, 3)):
        check_schema(torch.ops.digan_fast.coord_mlp_backward.default, (grad, coordinates, *lists, *options, needed))
    tensors = [t.requires_grad_() for t in (coordinates, *tensors_of(layers))]
    check_compiled(evaluated(layers), tensors)
    torch._dynamo.reset()
    with torch.no_grad():
        compiled = torch.compile(functional.coord_mlp, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(coordinates, layers), functional.coord_mlp(coordinates, layers))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_chain_of_layers_is_the_same(shared: bool, precision: str) -> None:
    """What a GPU runs if no kernel takes the gradients: ``linear_act`` by ``linear_act``, results rounded too."""
    kinds = ["sine", "lrelu", "gauss", "sine", "linear"]
    layers = modulated(3, 2, [9, 8, 7, 6, 2], kinds, (1, 3), 0, shared, torch.float32)
    layers[3] = layers[3]._replace(scale=None, shift=None, bias=torch.randn(3, 6))
    coordinates = torch.rand(1, 30, 2)
    lists = [[getattr(layer, name) for layer in layers] for name in TENSORS]
    options = kinds, [layer.omega for layer in layers], [layer.skip for layer in layers], False, precision
    found = chain(coordinates, *lists, *options)
    expected = functional.coord_mlp(coordinates, layers, precision=precision)
    error = float((found - expected).norm() / expected.norm())
    assert error < {"float32": 2e-6, "bfloat16": 2e-2, "float16": 2e-2 / 8}[precision]


def test_stride_zero_gradients() -> None:
    layers = modulated(2, 2, [5, 3], ["sine", "linear"], dtype=torch.float32)
    check_stride_zero_gradient(
        evaluated(layers), [t.requires_grad_() for t in (torch.rand(2, 7, 2), *tensors_of(layers))]
    )


def test_gradients_of_some_tensors_alone() -> None:
    layers = modulated(2, 2, [5, 6, 3], ["sine", "relu", "linear"], (1,), dtype=torch.float32)
    tensors = [torch.rand(1, 7, 2), *tensors_of(layers)]
    function, probe = evaluated(layers), torch.randn(2, 7, 3)
    alive = [tensor.clone().requires_grad_() for tensor in tensors]
    together = torch.autograd.grad(function(*alive), alive, probe)
    for i, expected in enumerate(together):
        one = [*tensors]
        one[i] = tensors[i].clone().requires_grad_()
        torch.testing.assert_close(torch.autograd.grad(function(*one), one[i], probe)[0], expected)


def test_forward_mode_and_transforms() -> None:
    layers = modulated(2, 2, [6, 3], ["sine", "gauss"], (1,), dtype=torch.float32)
    function, tensors = evaluated(layers), tensors_of(layers)
    x, v = torch.rand(1, 4, 2), torch.randn(1, 4, 2)
    wide = evaluated(converted(layers, torch.float64))
    step = 1e-6 * v.double()
    ends = [wide(x.double() + sign * step, *(t.double() for t in tensors)) for sign in (1, -1)]
    expected = (ends[0] - ends[1]) / 2e-6
    torch.testing.assert_close(
        jvp(lambda at: function(at, *tensors), (x,), (v,))[1].double(), expected, rtol=0, atol=1e-5
    )
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(function(forward_ad.make_dual(x, v), *tensors)).tangent
    torch.testing.assert_close(dual.double(), expected, rtol=0, atol=1e-5)
    many = torch.stack((x, v))
    torch.testing.assert_close(
        vmap(lambda at: function(at, *tensors))(many), torch.stack([function(at, *tensors) for at in many])
    )
    alive = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(function(alive, *tensors).sum(), alive)
    torch.testing.assert_close(jacrev(lambda at: function(at, *tensors).sum())(x), wanted)
    lists = [[layers[0].weight], *([None] for _ in range(5))]

    def op(at: Tensor) -> Tensor:
        return torch.ops.digan_fast.coord_mlp(at, *lists, ["sine"], [1.0], [False], False, "float32")

    with pytest.raises(RuntimeError, match="coord_mlp has no forward-mode derivative"):
        jvp(op, (x,), (v,))


def test_an_ensemble_by_vmap_equals_weight_sets() -> None:
    """``torch.func.stack_module_state`` of small networks gives the weights of ``coord_mlp``."""
    modules = [torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)) for _ in range(4)]
    parameters, _ = stack_module_state(modules)  # type: ignore[arg-type]
    x = torch.rand(9, 2)
    expected = vmap(lambda p: functional_call(modules[0], p, (x,)))(parameters)
    layers = mlp_layers(
        [parameters["0.weight"], parameters["2.weight"]], [parameters["0.bias"], parameters["2.bias"]], "tanh"
    )
    torch.testing.assert_close(functional.coord_mlp(x, layers), expected)


@pytest.mark.parametrize(("batch", "points"), [(0, 4), (2, 0)])
def test_empty(batch: int, points: int) -> None:
    weights, biases = network(batch, [2, 5, 3], dtype=torch.float32)
    alive = [t.requires_grad_() for t in (torch.rand(batch, points, 2), *weights, *biases)]
    found = functional.coord_mlp(alive[0], mlp_layers(weights, biases))
    assert found.shape == (batch, points, 3)
    for gradient, tensor in zip(torch.autograd.grad(found.sum(), alive), alive, strict=True):
        assert gradient.shape == tensor.shape
        assert not gradient.any()


def bad_layer(index: int, **changes: Any) -> dict[str, Any]:
    layers = [MLPLayer(torch.zeros(2, 5, 2), torch.zeros(5), "sine"), MLPLayer(torch.zeros(2, 3, 5))]
    layers[index] = layers[index]._replace(**changes)
    return {"layers": layers}


BAD: list[tuple[dict[str, Any], str]] = [
    ({"layers": []}, "layers: empty"),
    ({"coordinates": torch.zeros(2, 5, 7, 2)}, r"coordinates: shape \(2, 5, 7, 2\)"),
    ({"coordinates": torch.zeros(3, 7, 2)}, r"layers\[0\].weight: 2 samples, expected 1 or 3"),
    ({"coordinates": torch.zeros(7, 0)}, "D of 1 or more"),
    ({"precision": "int8"}, "precision: 'int8'"),
    (bad_layer(0, activation="swish"), r"layers\[0\].activation: 'swish'"),
    (bad_layer(0, activation=["sine"]), r"layers\[0\].activation: \['sine'\]"),
    (bad_layer(1, omega=math.nan), r"layers\[1\].omega: nan"),
    (bad_layer(1, omega=1e39), r"layers\[1\].omega: 1e\+39, expected a finite number"),
    (bad_layer(1, omega=torch.ones((), requires_grad=True)), r"layers\[1\].omega: tensor\(1., requires_grad=True\)"),
    (bad_layer(1, omega="3"), r"layers\[1\].omega: '3'"),
    (bad_layer(1, omega=None), r"layers\[1\].omega: None"),
    (bad_layer(1, skip="no"), r"layers\[1\].skip: 'no', expected True or False"),
    ({"layers": [torch.zeros(5, 2)]}, r"layers\[0\]: Tensor, expected an MLPLayer"),
    ({"coordinates": torch.zeros(7, 2).long()}, "coordinates: torch.int64, expected a floating-point type"),
    ({"coordinates": torch.zeros(7, 2, device="meta")}, r"layers\[0\].weight: on cpu, expected on meta"),
    (bad_layer(0, bias=torch.zeros(5, device="meta")), r"layers\[0\].bias: on meta, expected on cpu"),
    (bad_layer(0, skip=True), r"layers\[0\].skip: True"),
    (bad_layer(1, skip=True), r"layers\[1\].weight: shape \(2, 3, 5\), expected \[B, O, 7\]"),
    (bad_layer(1, weight=torch.zeros(2, 3, 6)), r"layers\[1\].weight: shape \(2, 3, 6\), expected \[B, O, 5\]"),
    (bad_layer(1, weight=torch.zeros(3)), r"layers\[1\].weight: shape \(3,\)"),
    (bad_layer(1, weight=torch.zeros(2, 3, 5).double()), r"layers\[1\].weight: torch.float64"),
    (bad_layer(0, bias=torch.zeros(4)), r"layers\[0\].bias: shape \(4,\), expected \[5\]"),
    (bad_layer(0, scale=torch.zeros(3, 5)), r"layers\[0\].scale: 3 samples, expected 1 or 2"),
    (bad_layer(1, shift=torch.zeros(2, 1, 3)), r"layers\[1\].shift: shape \(2, 1, 3\)"),
    (bad_layer(1, input_scale=torch.zeros(3)), r"layers\[1\].input_scale: shape \(3,\), expected \[5\]"),
    ({"frequency": torch.zeros(3, 4)}, r"frequency: shape"),
    ({"frequency": torch.zeros(1, 2), "phase": torch.zeros(2)}, r"phase: shape"),
    ({"phase": torch.zeros(2)}, "phase: given without frequency"),
    ({"frequency": torch.zeros(3, 1, 2)} | bad_layer(1), "frequency: 3 samples, expected 1 or 2"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_errors_name_the_argument(change: dict[str, Any], message: str) -> None:
    arguments = {"coordinates": torch.rand(2, 7, 2)} | bad_layer(0) | change
    with pytest.raises(ValueError, match=message):
        functional.coord_mlp(**arguments)


def test_errors_of_mlp_layers() -> None:
    weights, biases = network(2, [2, 5, 3])
    with pytest.raises(ValueError, match="omega: 2 numbers, expected 1"):
        mlp_layers(weights, biases, omega=[1.0, 2.0])
    with pytest.raises(ValueError, match="biases: 1, expected 2"):
        mlp_layers(weights, biases[:1])
    with pytest.raises(ValueError, match="weights: empty"):
        mlp_layers([])
    with pytest.raises(ValueError, match=r"omega: tensor\(3., requires_grad=True\), expected a finite number"):
        mlp_layers(weights, biases, omega=torch.tensor(3.0, requires_grad=True))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "omega", [3, numpy.float32(3), numpy.array(3.0), torch.tensor(3.0), [3.0], numpy.array([3.0]), torch.tensor([3.0])]
)
def test_frequencies_of_any_type(omega: Any) -> None:
    weights, _ = network(2, [2, 5, 3])
    assert mlp_layers(weights, omega=omega)[0].omega == 3
    assert mlp_layers(weights, omega=iter([3.0]))[0].omega == 3


def test_coordinates_of_any_dimension() -> None:
    layers = modulated(2, 9, [6, 2], ["relu", "linear"])
    x = normal(2, 5, 9)
    torch.testing.assert_close(functional.coord_mlp(x, layers), formula(x.detach(), layers))
