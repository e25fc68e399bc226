"""The cases for every Triton kernel: calls of ops at small odd shapes, and at the shapes of the networks.

A case calls the same functions as the dispatcher; the kernels run in the interpreter, the emulator or on a GPU.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from digan_fast import ops  # noqa: F401  (registers the references)
from digan_fast.dispatch import use_backend

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Case:
    """``tensors`` creates the inputs in float64; ``wide`` lists the positions of those that never go below float32.

    Clamps are exactly representable in every type, so that the exact result clamps the same outputs.
    """

    op: str
    name: str
    tensors: Callable[[], Sequence[Tensor | None]]
    options: tuple[Any, ...]
    wide: tuple[int, ...] = ()
    backward: bool = True

    def __str__(self) -> str:
        return f"{self.op}-{self.name}"


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def inputs(case: Case, dtype: torch.dtype, device: str = "cpu") -> list[Tensor | None]:
    torch.manual_seed(0)
    return [
        None if tensor is None else lowered(tensor, torch.float32 if place in case.wide else dtype).to(device)
        for place, tensor in enumerate(case.tensors())
    ]


def lowered(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Converted to another type with the same strides."""
    found = torch.empty_strided(tensor.shape, tensor.stride(), dtype=dtype)
    return found.copy_(tensor)


def kernel(op: str) -> Callable[..., Any]:
    module = "render" if op.startswith("render") else op.removesuffix("_backward")
    found: Callable[..., Any] = getattr(importlib.import_module(f"digan_fast.kernels.{module}"), op)
    return found


def reference(op: str, *args: Any) -> tuple[Tensor, ...]:
    with use_backend("reference"):
        found = getattr(torch.ops.digan_fast, op)(*args)
    return found if isinstance(found, tuple) else (found,)


def exactly(args: Sequence[Any]) -> list[Any]:
    return [arg.double().cpu() if isinstance(arg, Tensor) else arg for arg in args]


def calls(case: Case, dtype: torch.dtype, device: str = "cpu") -> Iterator[tuple[str, list[Any]]]:
    """The forward and backward op with their arguments; the output given to the backward is the forward's, rounded."""
    args = inputs(case, dtype, device)
    yield case.op, [*args, *case.options]
    if case.backward:
        out = reference(case.op, *exactly(args), *case.options)[0].to(dtype).to(device)
        grad = torch.randn(out.shape, dtype=torch.float64).to(dtype).to(device)
        # As in the published networks: a homogeneous bias_act saves only its output.
        yield f"{case.op}_backward", [grad, *args, out, *case.options]


def check(op: str, args: Sequence[Any], dtype: torch.dtype, times: float = 2.0, unit: float | None = None) -> None:
    """The kernel's error against float64 is at most twice that of torch in the same type, plus one rounding."""
    found = kernel(op)(*args)
    found = found if isinstance(found, tuple) else (found,)
    exact = reference(op, *exactly(args))
    own = own_results(op, args, exact)
    unit = unit or (2.0**-20 if dtype == torch.float32 else torch.finfo(dtype).eps / 2)
    for index, (ours, torchs, right) in enumerate(zip(found, own, exact, strict=True)):
        where = f"{op}, output {index}"
        assert ours.shape == right.shape, where
        if not right.numel():
            continue
        assert ours.isfinite().all(), where
        error, other = (ours.double().cpu() - right).abs(), (torchs.double().cpu() - right).abs()
        bound = times * other.max() + unit * right.abs().max()
        assert error.max() <= bound, f"{where}: error {error.max():.3g}, bound {bound:.3g}"
        mean, bound = error.square().mean().sqrt(), times * other.square().mean().sqrt()
        bound += 2.0**-21 * right.square().mean().sqrt() if unit < 2.0**-15 else unit * 0.1 * right.abs().max()
        assert mean <= bound, f"{where}: RMS error {mean:.3g}, bound {bound:.3g}"


def own_results(op: str, args: Sequence[Any], exact: Sequence[Tensor]) -> Sequence[Tensor]:
    """torch's results in the same types; if torch does not mix these types, the exact results rounded."""
    try:
        return reference(op, *args)
    except RuntimeError:
        dtype = args[0].dtype
        return [tensor.to(dtype) for tensor in exact]


def check_sines() -> None:
    """For small and large phases, and at quadrant boundaries."""
    from sines import sines

    near, far = normal(1000) * 3, normal(1000) * 3e4
    corners = torch.arange(-1000, 1000, dtype=torch.float64) * (torch.pi / 4)
    theta = torch.cat((near, far, corners, torch.tensor([0.0, -0.0, 1e-30, 9.9e4]))).float()
    out = torch.empty(2, len(theta))
    sines[(-(-len(theta) // 256),)](out, theta, len(theta), TILE=256, enable_fp_fusion=True)
    exact = torch.stack((theta.double().sin(), theta.double().cos()))
    assert (out - exact).abs().max() <= 2.0**-23


def _linear(shape: Sequence[int], outputs: int, bias: str | None = "shared") -> Callable[[], list[Tensor | None]]:
    def make() -> list[Tensor | None]:
        batch, size = shape[0], shape[-1]
        offsets = {None: None, "shared": normal(outputs), "own": normal(batch, outputs)}
        return [normal(*shape), normal(batch, outputs, size) / size**0.5, offsets[bias]]

    return make


def _transposed(make: Callable[[], list[Tensor | None]]) -> Callable[[], list[Tensor | None]]:
    """The same, with the last two strides of the leading tensors swapped."""

    def turn(tensor: Tensor | None) -> Tensor | None:
        if tensor is None or tensor.ndim < 2:
            return tensor
        return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)

    return lambda: [turn(tensor) for tensor in make()]


LINEAR = [
    Case("linear_act", "one", _linear((1, 1, 1), 1), ("linear", 1.0, None)),
    Case("linear_act", "odd", _linear((2, 5, 7, 19), 23), ("lrelu", 1.4, 0.875)),
    Case("linear_act", "own-biases", _linear((3, 70, 33), 40, "own"), ("relu", 1.4, None)),
    Case("linear_act", "tails", _linear((1, 150, 48), 80, None), ("linear", 1.0, 0.75)),
    Case("linear_act", "sine", _linear((2, 37, 17), 18), ("sine", 1.3, 1.125)),
    Case("linear_act", "strided", _transposed(_linear((2, 20, 16), 16)), ("lrelu", 1.0, None)),
    Case("linear_act", "rgb", _linear((1, 300, 64), 3), ("linear", 1.25, None)),
    Case("linear_act", "no-video", _linear((0, 3, 4), 5), ("linear", 1.0, None)),
    Case("linear_act", "no-row", _linear((2, 0, 4), 5), ("lrelu", 1.0, None)),
    Case("linear_act", "no-input", _linear((2, 3, 0), 5), ("lrelu", 1.0, None)),
]


def _biased(shape: Sequence[int], channels: int | None, last: bool = False) -> Callable[[], list[Tensor | None]]:
    def make() -> list[Tensor | None]:
        x = normal(*shape) * 2
        x = x.contiguous(memory_format=torch.channels_last) if last else x
        return [x, None if channels is None else normal(channels)]

    return make


BIAS = [
    Case("bias_act", "one", _biased((1, 1), 1), (1, "lrelu", 1.4, None)),
    Case("bias_act", "odd", _biased((3, 5, 7, 11), 5), (1, "lrelu", 1.4, 0.6875)),
    Case("bias_act", "last", _biased((2, 24, 6, 5), 24, True), (1, "relu", 1.4, 0.5)),
    Case("bias_act", "no-bias", _biased((2, 3, 40, 40), None), (1, "linear", 2.0, 1.5)),
    Case("bias_act", "no-batch", _biased((0, 3, 4), 3), (1, "lrelu", 1.0, None)),
    Case("bias_act", "view", _transposed(_biased((3, 4, 6, 9), 4)), (1, "lrelu", 1.4, None)),
    Case("bias_act", "matrix", _biased((9, 33), 33), (1, "swish", 1.4, None)),
    Case("bias_act", "wide", _biased((1, 2, 2500), 2), (1, "lrelu", 1.4, 1.5)),
    *(
        Case("bias_act", name, _biased((4, 3, 50), 3), (1, name, 1.2, None))
        for name in ("sine", "tanh", "sigmoid", "elu", "selu", "softplus")
    ),
]


def _features(
    batch: int, frames: int, sinusoids: int, outputs: int, grid: Sequence[int], based: bool = True, biased: bool = True
) -> Callable[[], list[Tensor | None]]:
    def make() -> list[Tensor | None]:
        _, top, left, height, width = grid
        above = ((top + height + 1) // 2 - top // 2, (left + width + 1) // 2 - left // 2)
        return [
            normal(batch, frames, *above, outputs) if based else None,
            normal(batch, sinusoids, 2) * 5,
            normal(batch, frames, sinusoids) * 3,
            normal(batch, outputs, 2 * sinusoids) / (2 * sinusoids) ** 0.5,
            normal(outputs) if biased else None,
        ]

    return make


def _coordinates(name: str, shape: tuple[int, ...], grid: list[int], *options: Any, **changes: bool) -> Case:
    return Case("coord_linear", name, _features(*shape, grid, **changes), (grid, *options), wide=(1, 2))


COORDINATES = [
    _coordinates("one", (1, 1, 1, 1), [1, 0, 0, 1, 1], "linear", 1.0, None),
    _coordinates("odd", (2, 3, 17, 19), [16, 3, -3, 5, 7], "lrelu", 1.4, 0.75),
    _coordinates("tails", (1, 2, 40, 48), [12, 0, 0, 12, 12], "relu", 1.4, None, biased=False),
    _coordinates("bare", (2, 1, 16, 33), [8, 1, 1, 6, 8], "linear", 1.25, None, based=False),
    Case(
        "coord_linear",
        "view",
        _transposed(_features(2, 2, 6, 9, [8, 2, 1, 5, 4])),
        ([8, 2, 1, 5, 4], "lrelu", 1.4, None),
        wide=(1, 2),
    ),
    _coordinates("no-video", (0, 2, 4, 5), [8, 0, 0, 4, 4], "lrelu", 1.0, None),
    _coordinates("no-pixel", (2, 2, 4, 5), [8, 0, 0, 0, 4], "lrelu", 1.0, None),
]


def _factors(batch: int, outputs: int, size: int, rank: int) -> Callable[[], list[Tensor | None]]:
    return lambda: [normal(outputs, size), normal(batch, outputs, rank), normal(batch, rank, size)]


FACTORS = [
    Case("fmm_weights", "one", _factors(1, 1, 1, 1), ("linear",)),
    Case("fmm_weights", "odd", _factors(3, 19, 70, 10), ("demod",)),
    Case("fmm_weights", "tails", _factors(2, 32, 80, 16), ("linear",)),
    Case("fmm_weights", "tanh", _factors(2, 17, 33, 3), ("tanh",)),
    Case("fmm_weights", "sigmoid", _factors(1, 20, 16, 40), ("sigmoid",)),
    Case("fmm_weights", "strided", _transposed(_factors(2, 18, 20, 5)), ("demod",)),
    Case("fmm_weights", "no-video", _factors(0, 4, 5, 2), ("demod",)),
]


def _filtered(shape: tuple[int, ...], taps: tuple[int, int], last: bool = False) -> Callable[[], list[Tensor | None]]:
    def make() -> list[Tensor | None]:
        x = normal(*shape)
        return [x.contiguous(memory_format=torch.channels_last) if last else x, torch.rand(*taps, dtype=torch.float64)]

    return make


def _filter(name: str, shape: tuple[int, ...], taps: tuple[int, int], *options: Any, last: bool = False) -> Case:
    return Case("upfirdn2d", name, _filtered(shape, taps, last), options, wide=(1,), backward=False)


FILTERS = [
    _filter("one", (1, 1, 1, 1), (1, 1), 1, 1, [0, 0, 0, 0], False, 1.0),
    _filter("odd", (2, 3, 7, 9), (4, 3), 2, 1, [2, 1, 3, 0], False, 4.0),
    _filter("down", (1, 2, 12, 10), (4, 4), 1, 2, [1, 1, 1, 1], True, 1.0),
    _filter("both", (1, 2, 6, 5), (5, 4), 3, 2, [-1, 4, 2, -2], True, 0.5),
    _filter("last", (2, 8, 6, 7), (4, 4), 2, 1, [2, 1, 2, 1], False, 4.0, last=True),
    Case(
        "upfirdn2d",
        "view",
        _transposed(_filtered((2, 3, 7, 5), (4, 3))),
        (1, 2, [1, 1, 2, 0], False, 1.0),
        wide=(1,),
        backward=False,
    ),
    _filter("no-image", (0, 2, 4, 4), (2, 2), 1, 1, [0, 0, 0, 0], False, 1.0),
]
CASES = [*LINEAR, *BIAS, *COORDINATES, *FACTORS, *FILTERS]


# DIGAN's shapes at 128², for which compiled code is recorded.
def _real_linear(rows: int, outputs: int, activation: str) -> Callable[[torch.dtype], list[tuple[str, list[Any]]]]:
    def make(dtype: torch.dtype) -> list[tuple[str, list[Any]]]:
        x, y = torch.empty(1, rows, 256, dtype=dtype), torch.empty(1, rows, outputs, dtype=dtype)
        args = [x, torch.empty(1, outputs, 256, dtype=dtype), torch.empty(outputs, dtype=dtype)]
        options = [activation, 1.4, None]
        forward, backward = ("linear_act", [*args, *options]), ("linear_act_backward", [y, *args, y, *options])
        return [forward, backward] if outputs == 256 else [forward]

    return make


def _real_bias(
    shape: Sequence[int], layout: torch.memory_format
) -> Callable[[torch.dtype], list[tuple[str, list[Any]]]]:
    def make(dtype: torch.dtype) -> list[tuple[str, list[Any]]]:
        x, bias = torch.empty(*shape, dtype=dtype, memory_format=layout), torch.empty(shape[1], dtype=dtype)
        options = [1, "lrelu", 1.4, 256.0]
        return [("bias_act", [x, bias, *options]), ("bias_act_backward", [x, None, None, x, *options])]

    return make


def _real_features(dtype: torch.dtype) -> list[tuple[str, list[Any]]]:
    base, out = torch.empty(1, 2, 64, 64, 256, dtype=dtype), torch.empty(1, 2, 128, 128, 256, dtype=dtype)
    sinusoids = [torch.empty(1, 128, 2), torch.empty(1, 2, 128)]
    args = [base, *sinusoids, torch.empty(1, 256, 256, dtype=dtype), torch.empty(256, dtype=dtype)]
    options = [[128, 0, 0, 128, 128], "lrelu", 1.4, None]
    return [("coord_linear", [*args, *options]), ("coord_linear_backward", [out, *args, out, *options])]


def _real_factors(dtype: torch.dtype) -> list[tuple[str, list[Any]]]:
    factors = [torch.empty(*shape, dtype=dtype) for shape in ((256, 512), (4, 256, 10), (4, 10, 512))]
    out = torch.empty(4, 256, 512, dtype=dtype)
    return [("fmm_weights", [*factors, "demod"]), ("fmm_weights_backward", [out, *factors, out, "demod"])]


def _real_filter(
    up: int, down: int, layout: torch.memory_format
) -> Callable[[torch.dtype], list[tuple[str, list[Any]]]]:
    def make(dtype: torch.dtype) -> list[tuple[str, list[Any]]]:
        x = torch.empty(4, 64, 64, 64, dtype=dtype, memory_format=layout)
        return [("upfirdn2d", [x, torch.empty(4, 4), up, down, [2, 1, 2, 1], False, 1.0])]

    return make


def _real_render(dtype: torch.dtype) -> list[tuple[str, list[Any]]]:
    """DIGAN's last level at 128²."""
    from random_inrs import random_inr

    from digan_fast.reference.render import lowered as level_in

    level = random_inr(1, 1, ((16, (512,)), (128, (256, 256, 256))), side=64)[1]
    level = level_in(level, "bfloat16" if dtype == torch.bfloat16 else "float32")
    below, image = torch.empty(1, 1, 64, 64, 512, dtype=dtype), torch.empty(1, 1, 64, 64, 3)
    return [("render_last_level", [level, below, image, 128, (0, 0, 128, 128)])]


def _real_mlp(width: int) -> Callable[[torch.dtype], list[tuple[str, list[Any]]]]:
    """A SIREN with two hidden layers, for 64 sets of weights; float32 unless the type is narrower."""

    def make(dtype: torch.dtype) -> list[tuple[str, list[Any]]]:
        from mlps import siren

        points, *rest = siren(64, 16384, width, 2, str(dtype).removeprefix("torch."))
        return [("coord_mlp", [points.repeat(64, 1, 1), *rest])]

    return make


def _real_gradients(dtype: torch.dtype) -> list[tuple[str, list[Any]]]:
    """A hypernetwork's 2 × 64 SIRENs in four dimensions, 256 of them: their weights' and biases' gradients."""
    from mlps import gradient_arguments, siren

    points, *rest = siren(256, 1024, 64, 1, str(dtype).removeprefix("torch."), 4)
    _grad, *args, needed = gradient_arguments([points[:, :1], *rest])
    rest[1] = [bias.repeat(256, 1) for bias in rest[1]]
    args = [points.repeat(256, 1, 1), *rest]
    return [("coord_mlp_backward", [torch.empty(256, 1024, 3), *args, [False, *needed[1:]]])]


REAL = {
    "linear 16384x256x256": _real_linear(16384, 256, "lrelu"),
    "linear 16384x3x256": _real_linear(16384, 3, "linear"),
    "bias 4x64x32x32": _real_bias((4, 64, 32, 32), torch.contiguous_format),
    "features 128x128": _real_features,
    "factors 4x256x512": _real_factors,
    "filter up": _real_filter(2, 1, torch.contiguous_format),
    "filter down": _real_filter(1, 2, torch.contiguous_format),
    "filter up channels last": _real_filter(2, 1, torch.channels_last),
    "render 128x128": _real_render,
    "mlp 64": _real_gradients,
    "mlp 128": _real_mlp(128),
    "mlp 256": _real_mlp(256),
    "bias channels last": _real_bias((4, 64, 32, 32), torch.channels_last),
}
