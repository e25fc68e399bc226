"""What ``coord_mlp``'s native kernels do in the epilogues of products: sines of any number, and sums of few outputs."""

from __future__ import annotations

import pytest
import torch

from digan_fast import backends, functional, use_backend
from digan_fast.functional import MLPLayer
from digan_fast.reference.coord_mlp import MLP_ACTIVATIONS

pytestmark = pytest.mark.skipif(backends()["native"] is not None, reason="the compiled module was not built")


@pytest.mark.parametrize("activation", tuple(MLP_ACTIVATIONS))
def test_far_and_special_numbers(activation: str) -> None:
    """Sines far beyond the reach of their polynomial; infinities and NaN as PyTorch has them."""
    x = torch.tensor([0.0, 1.0, -3.5, 80.0, -90.0, 2e4, -1e7, 1e20, -1e20, torch.inf, -torch.inf, torch.nan])
    exact = functional.coord_mlp(x.double().reshape(-1, 1), [MLPLayer(torch.ones(1, 1, 1).double(), None, activation)])
    for scale in (None, torch.ones(1, 1)):
        with use_backend("native"):
            found = functional.coord_mlp(
                x.reshape(-1, 1), [MLPLayer(torch.ones(1, 1, 1), None, activation, scale=scale)]
            )
        torch.testing.assert_close(found, exact.float(), rtol=1e-6, atol=2e-7, equal_nan=True)


def test_short_sines() -> None:
    """Those that a product in bfloat16 reads, of numbers of any size side by side: each as if it were alone."""
    torch.manual_seed(0)
    x = torch.cat((torch.randn(4000) * 30, torch.randn(500) * 300, torch.tensor([1e4, -1e7, 1e20, 201.0, -201.5])))
    x = x[torch.randperm(len(x))].reshape(1, -1, 1)
    layers = [
        MLPLayer(torch.ones(1, 32, 1), None, "sine"),
        MLPLayer(torch.eye(32)[None], None, "linear"),
        MLPLayer(torch.ones(1, 1, 32) / 32, None, "linear"),
    ]
    with use_backend("native"):
        found = functional.coord_mlp(x, layers, precision="bfloat16")
        near = x.flatten().abs() < 190
        alone = functional.coord_mlp(x[:, near], layers, precision="bfloat16")
    assert torch.equal(found[:, near], alone)
    exact = x.double().sin()
    assert ((found - exact).abs() <= exact.abs() * 2**-8 + 2e-5).all()


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("activations", [("sine", "linear"), ("lrelu", "tanh"), ("sine", "sine")])
@pytest.mark.parametrize("widths", [(5,), (37,), (64,), (64, 48), (33, 96)])
@pytest.mark.parametrize("scaled", [False, True])
def test_few_outputs(precision: str, activations: tuple[str, str], widths: tuple[int, ...], scaled: bool) -> None:
    """Up to four, which are summed up while their inputs are in registers, are those of five, which are not."""
    torch.manual_seed(0)
    extents, kinds = [2, *widths, 5], [*[activations[0]] * len(widths), activations[1]]
    scales = [torch.rand(3, each) + 0.5 if scaled else None for each in extents[1:]]
    shifts = [torch.randn(3, each) if scaled else None for each in extents[1:]]
    layers = [
        MLPLayer(torch.randn(3, o, i) / i**0.5, torch.randn(3, o), kind, scale=scale, shift=shift)
        for i, o, kind, scale, shift in zip(extents[:-1], extents[1:], kinds, scales, shifts, strict=True)
    ]
    x = torch.randn(3, 301, 2)
    with use_backend("native"):
        five = functional.coord_mlp(x, layers, precision=precision)
        for count in (1, 2, 3, 4):
            last = layers[-1]
            names = ("weight", "bias", "scale", "shift") if scaled else ("weight", "bias")
            last = last._replace(**{name: getattr(last, name)[:, :count].contiguous() for name in names})
            few = functional.coord_mlp(x, [*layers[:-1], last], precision=precision)
            torch.testing.assert_close(few, five[..., :count], rtol=0, atol=0)
