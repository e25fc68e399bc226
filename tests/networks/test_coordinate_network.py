"""``CoordMLP``: its parameters' names, initial values, modulations and shapes."""

from __future__ import annotations

import copy
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch.func import stack_module_state

from digan_fast import CoordMLP, functional

ROOT = Path(__file__).resolve().parents[2]


def test_the_state_dict_has_the_names_of_linear() -> None:
    plain = torch.nn.Module()
    plain.layers = torch.nn.ModuleList([torch.nn.Linear(2, 16), torch.nn.Linear(16, 16), torch.nn.Linear(16, 3)])
    network = CoordMLP(2, 3, 16, 2)
    assert {k: v.shape for k, v in network.state_dict().items()} == {k: v.shape for k, v in plain.state_dict().items()}
    network.load_state_dict(plain.state_dict())
    x = torch.rand(20, 2)
    expected = x
    for i, layer in enumerate(plain.layers):
        expected = layer(expected)
        expected = (30 * expected).sin() if i < 2 else expected
    torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-4)


def test_sets_are_stacked_single_networks() -> None:
    singles = [CoordMLP(2, 3, 16, 2, activation="tanh", skips=(1,)) for _ in range(5)]
    parameters, buffers = stack_module_state(singles)  # type: ignore[arg-type]
    network = CoordMLP(2, 3, 16, 2, sets=5, activation="tanh", skips=(1,))
    network.load_state_dict({**parameters, **buffers})
    x = torch.rand(20, 2)
    torch.testing.assert_close(network(x), torch.stack([single(x) for single in singles]))
    own = torch.rand(5, 20, 2)
    torch.testing.assert_close(network(own), torch.stack([s(each) for s, each in zip(singles, own, strict=True)]))


def test_initial_activations_are_those_of_siren() -> None:
    """Theorem 1.8: inputs of sines are nearly normal of variance 1, of their outputs ½."""
    torch.manual_seed(0)
    network = CoordMLP(2, 3, 256, 3, sets=4)
    layers = functional.mlp_layers([p.weight for p in network.layers], [p.bias for p in network.layers], omega=30.0)
    x = torch.rand(1, 1000, 2) * 2 - 1
    for count in (2, 3):
        inner = functional.coord_mlp(x, [*layers[: count - 1], layers[count - 1]._replace(activation="linear")])
        assert abs(float(inner.detach().std()) - 1) < 0.15
    bounds = [1 / 2, *[math.sqrt(6 / 256) / 30] * 3]
    for layer, bound in zip(network.layers, bounds, strict=True):
        assert bound * 0.98 < float(layer.weight.abs().max()) <= bound


def test_modulations_and_features() -> None:
    frequency = torch.randn(4, 3)
    network = CoordMLP(3, 2, 8, 2, activation="gauss", frequency=frequency, skips=(2,))
    assert "frequency" in network.state_dict()
    assert network.layers[2].weight.shape == (2, 8 + 8)
    scale, shift = torch.randn(5, 2, 8), torch.randn(5, 2, 8)
    x = torch.rand(10, 3)
    layers = [
        functional.MLPLayer(p.weight, p.bias, "gauss", 1.0, scale[:, i], shift[:, i])
        for i, p in enumerate(network.layers[:2])
    ]
    last = network.layers[2]
    layers.append(functional.MLPLayer(last.weight, last.bias, skip=True))
    torch.testing.assert_close(network(x, scale, shift), functional.coord_mlp(x, layers, frequency))
    assert network(x).shape == (10, 2)
    assert network(x.expand(6, -1, -1)).shape == (6, 10, 2)
    low = copy.deepcopy(network)
    low.precision = "bfloat16"
    assert 0 < float((low(x) - network(x)).abs().max()) < 0.1


def test_one_graph() -> None:
    network, x = CoordMLP(2, 3, 8, 2, sets=3), torch.rand(10, 2)
    torch._dynamo.reset()
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    found = compiled(x)
    torch.testing.assert_close(found, network(x))
    found.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.norm() > 0 for parameter in network.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width: 0, expected 1 or more"),
        ({"hidden": 0}, "hidden: 0"),
        ({"sets": 0}, "sets: 0"),
        ({"skips": (0,)}, "skips: 0, expected layers from 1 to 3"),
        ({"skips": (4,)}, "skips: 4"),
        ({"skips": (1.5,)}, "skips: 1.5"),
        ({"activation": "siren"}, "activation: 'siren', expected one of"),
        ({"precision": "bf16"}, "precision: 'bf16', expected one of"),
        ({"omega": 0}, "omega: 0, expected another number"),
        ({"omega": float("inf")}, "omega: inf"),
        ({"frequency": torch.zeros(4, 3)}, r"frequency: shape \(4, 3\), expected \[K, 2\]"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CoordMLP(2, 3, **options)


def test_bad_calls() -> None:
    network = CoordMLP(2, 3, 8, 2)
    with pytest.raises(ValueError, match=r"scale: shape \(5, 8\), expected \[B, 2, 8\]"):
        network(torch.rand(4, 2), torch.zeros(5, 8))
    with torch.device("meta"):
        nowhere = CoordMLP(2, 3, 8, 2)
    with pytest.raises(ValueError, match=r"layers\[0\].weight: on meta, expected on cpu"):
        nowhere(torch.rand(4, 2))


def test_frequencies_are_a_copy_or_a_parameter() -> None:
    given = torch.randn(5, 2)
    network = CoordMLP(2, 3, 8, 2, frequency=given)
    network.frequency.zero_()
    assert given.any()
    assert "frequency" not in dict(network.named_parameters())
    learned = CoordMLP(2, 3, 8, 2, frequency=torch.nn.Parameter(given))
    learned(torch.rand(4, 2)).sum().backward()
    assert dict(learned.named_parameters())["frequency"].grad is not None
    from_outside = torch.randn(5, 2, requires_grad=True)
    CoordMLP(2, 3, 8, 2, frequency=from_outside)(torch.rand(4, 2)).sum().backward()
    assert from_outside.grad is not None
    assert CoordMLP(2, 3, 8, 2, skips=iter([numpy.int64(1)])).skips == {1}


def test_layers_may_be_replaced() -> None:
    network, x = CoordMLP(2, 3, 8, 2), torch.rand(4, 2)
    expected = network(x)
    linear = torch.nn.Linear(8, 8)
    linear.load_state_dict(network.layers[1].state_dict())
    network.layers[1] = linear
    assert torch.equal(network(x), expected)
    assert "weight=[3, 8]" in repr(network)


def test_a_negative_frequency_of_sines() -> None:
    assert CoordMLP(2, 3, 8, 2, omega=-3)(torch.rand(4, 2)).isfinite().all()


def test_the_page_s_python_runs() -> None:
    """docs/coordinate-mlps.md: the blocks run, and the hypernetwork learns."""
    page = (ROOT / "docs" / "coordinate-mlps.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 3
    found: list[dict[str, Any]] = []
    for block in blocks:
        names: dict[str, Any] = {}
        exec(block.replace("200  # targets", "3  # targets"), names)
        found.append(names)
    first, hypernetwork, derivatives = found
    torch.testing.assert_close(first["same"], first["colours"])
    assert first["modulated"].shape == (16, 1024, 3)
    assert first["painted"].shape == (16, 1024, 3)
    assert 0 < (first["low"] - first["colours"]).norm() < 2e-2 * first["colours"].norm()
    assert len(blocks[1].strip().splitlines()) <= 24  # imports and blank lines included
    assert hypernetwork["hyper"].weight.grad.norm() > 0
    assert hypernetwork["codes"].grad.norm() > 0
    assert derivatives["distance"].layers[0].weight.grad.norm() > 0


def test_the_example_runs(tmp_path: Path) -> None:
    out = tmp_path / "page.png"
    options = {"images": 4, "size": 8, "width": 8, "steps": 3, "out": out}
    command = [sys.executable, ROOT / "docs" / "examples" / "fit_images.py"]
    command += [word for name, value in options.items() for word in (f"--{name}", value)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    assert "PSNR after 3 steps: median" in done.stdout
    assert out.read_bytes().startswith(b"\x89PNG")
