"""``digan_fast::coord_mlp``: coordinate MLPs whose activations are never stored, forward or backward.

The arguments, shapes and formula are those of :mod:`digan_fast.reference.coord_mlp`.  The backward computes a strip of
points (on a CPU) or a tile (CUDA C++, Triton) again; calls with gradients that it does not take are chains of
``linear_act`` on a GPU, and those without, if no kernel takes them, the formula layer by layer.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from digan_fast import dispatch, transforms
from digan_fast.ops import _cuda as _cuda_border
from digan_fast.ops._capabilities import unknown, why_not
from digan_fast.ops._mlp_chain import chain
from digan_fast.ops._pointers import NATIVE_ACTIVATIONS, NATIVE_DTYPES, fresh, ptr, wide
from digan_fast.ops._registry import define, recompose
from digan_fast.ops._triton import lazily
from digan_fast.precision import MLP_PRECISIONS, full_precision
from digan_fast.reference import coord_mlp as reference

# (tensor or None, its name) → its address, or 0
Address = Callable[[Any, str], int]

_TENSORS = (
    "Tensor coordinates, Tensor[] weights, Tensor?[] biases, Tensor?[] scales, Tensor?[] shifts, "
    "Tensor?[] input_scales, Tensor?[] input_shifts"
)
_VECTORS = ("biases", "scales", "shifts", "input_scales", "input_shifts")
_OPTIONS = "str[] activations, float[] omegas, bool[] skips, bool encoded, str precision"


def _grouped(tensors: Sequence[Any]) -> tuple[Any, ...]:
    """Coordinates, then one list for each kind of tensor, from all of them in a row."""
    layers = (len(tensors) - 1) // reference.LISTS
    return tensors[0], *(list(tensors[1 + i * layers : 1 + (i + 1) * layers]) for i in range(reference.LISTS))


def _flat(coordinates: Any, lists: Sequence[Sequence[Any]]) -> list[Any]:
    return [coordinates, *(each for group in lists for each in group)]


def _shape(coordinates: Tensor, weights: Sequence[Tensor], *rest: Any) -> tuple[int, int, int]:
    batch = reference.batch_of(_flat(coordinates, [weights, *rest[: reference.LISTS - 1]]))
    return batch, coordinates.shape[1], weights[-1].shape[1]


def _fake(coordinates: Tensor, *rest: Any) -> Tensor:
    return coordinates.new_empty(_shape(coordinates, *rest))


def _fake_backward(grad: Tensor, coordinates: Tensor, *rest: Any) -> list[Tensor]:
    given = _flat(coordinates, rest[: reference.LISTS])
    return [
        grad.new_empty(tensor.shape if need and tensor is not None else 0)
        for tensor, need in zip(given, rest[-1], strict=True)
    ]


_forward_op = define("coord_mlp", f"({_TENSORS}, {_OPTIONS}) -> Tensor", reference.coord_mlp, _fake)
_backward_op = define(
    "coord_mlp_backward",
    f"(Tensor grad, {_TENSORS}, {_OPTIONS}, bool[] needed) -> Tensor[]",
    reference.coord_mlp_backward,
    _fake_backward,
)


def _rows(name: str, tensors: Sequence[Tensor | None], sets: int, channels: Sequence[int]) -> list[Tensor | None]:
    """Vectors [B, C] or [1, C], as the kernels read them: contiguous [B, C]."""
    for i, (each, extent) in enumerate(zip(tensors, channels, strict=True)):
        if each is not None and (len(each) not in (1, sets) or each.shape[1] != extent):
            raise ValueError(f"{name}[{i}]: shape {tuple(each.shape)}, expected [1 or {sets}, {extent}]")
    return [None if each is None else wide(each.expand(sets, -1)) for each in tensors]


def _numbers(activations: Sequence[str]) -> list[int]:
    return [len(NATIVE_ACTIVATIONS) if name == "gauss" else NATIVE_ACTIVATIONS.index(name) for name in activations]


def _call(sets: int, address: Address, *args: Any) -> tuple[dict[str, Any], list[Any]]:
    """The arguments of the compiled functions, and tensors that must outlive the call."""
    coordinates, weights, *vectors = args[: 1 + reference.LISTS]
    activations, omegas, skips, encoded, precision = args[1 + reference.LISTS :]
    coordinates, weights = coordinates.contiguous(), [weight.contiguous() for weight in weights]
    if coordinates.shape[2] != weights[0].shape[2]:
        raise ValueError(f"weights[0]: shape {tuple(weights[0].shape)}, expected [B, O, {coordinates.shape[2]}]")
    if any(len(each) not in (1, sets) for each in (coordinates, *weights)):
        raise ValueError(f"weights: {[len(each) for each in weights]} samples, expected 1 or {sets} of each")
    outputs, inputs = zip(*(weight.shape[1:] for weight in weights), strict=True)
    extents = outputs, outputs, outputs, inputs, inputs
    vectors = list(map(_rows, _VECTORS, vectors, [sets] * len(_VECTORS), extents))
    types = reference.operand_types(skips, encoded, precision)
    layers = [
        (
            address(weights[i], f"weights[{i}]"),
            len(weights[i]) > 1,
            *(address(group[i], f"{name}[{i}]") for name, group in zip(_VECTORS, vectors, strict=True)),
            *weights[i].shape[1:],
            activation,
            omegas[i],
            skips[i],
            NATIVE_DTYPES.index(types[i] or torch.float32),
        )
        for i, activation in enumerate(_numbers(activations))
    ]
    arguments = {
        "coordinates": address(coordinates, "coordinates"),
        "own_coordinates": len(coordinates) > 1,
        "encoded": encoded,
        "sets": sets,
        "points": coordinates.shape[1],
        "layers": layers,
    }
    return arguments, [coordinates, weights, vectors]


def _native(coordinates: Tensor, weights: Sequence[Tensor], *rest: Any) -> Tensor:
    out = fresh(_shape(coordinates, weights, *rest))
    if out.numel() == 0 or any(weight.numel() == 0 for weight in weights):
        return reference.coord_mlp(coordinates, weights, *rest)
    arguments, _alive = _call(len(out), ptr, coordinates, weights, *rest)
    dispatch.native_module().coord_mlp_cpu(out=ptr(out, "out"), threads=torch.get_num_threads(), **arguments)
    return out


def _by_kernels(run: Callable[..., None], address: Address, empty: Callable[..., Tensor], *args: Any) -> list[Tensor]:
    """The backward by ``run``, which takes the addresses of ``grad`` and of all gradients and fills them.

    ``empty`` creates a gradient of a shape, where ``grad`` is.
    """
    grad, coordinates, *rest = args
    *arguments_of_forward, needed = rest
    given = _flat(coordinates, arguments_of_forward[: reference.LISTS])
    sets, layers = len(grad), len(rest[0])
    if grad.numel() == 0 or any(weight.numel() == 0 for weight in rest[0]):
        return reference.coord_mlp_backward(grad, coordinates, *rest)
    if grad.shape != (expected := _shape(coordinates, *arguments_of_forward)):
        raise ValueError(f"grad: shape {tuple(grad.shape)}, expected {expected}")
    grad = grad.contiguous()
    arguments, _alive = _call(sets, address, coordinates, *arguments_of_forward)
    # Gradients by shared coordinates and vectors are computed for each sample.
    found: list[Tensor | None] = [
        empty(tensor.shape if 0 < i <= layers else (sets, *tensor.shape[1:])) if need and tensor is not None else None
        for i, (tensor, need) in enumerate(zip(given, needed, strict=True))
    ]
    dcoordinates, *groups = _grouped(found)
    run(
        grad=address(grad, "grad"),
        dcoordinates=address(dcoordinates, "dcoordinates"),
        gradients=[
            tuple(address(each, f"d{name}") for each, name in zip(layer, ("weights", *_VECTORS), strict=True))
            for layer in zip(*groups, strict=True)
        ],
        **arguments,
    )
    return [
        grad.new_empty(0) if gradient is None else reference.summed(gradient, tensor)
        for gradient, tensor in zip(found, given, strict=True)
    ]


def _native_backward(grad: Tensor, *rest: Any) -> list[Tensor]:
    def run(**arguments: Any) -> None:
        dispatch.native_module().coord_mlp_backward_cpu(threads=torch.get_num_threads(), **arguments)

    return _by_kernels(run, ptr, fresh, grad, *rest)


def _low(precision: str) -> int:
    """Of the products in lower precision, as ``enum class Number`` counts."""
    return NATIVE_DTYPES.index(getattr(torch, precision))


def _cuda(coordinates: Tensor, weights: Sequence[Tensor], *rest: Any) -> Tensor:
    out = _fake(coordinates, weights, *rest)
    if out.numel() == 0 or any(weight.numel() == 0 for weight in weights):
        return reference.coord_mlp(coordinates, weights, *rest)
    border = _cuda_border
    arguments, _alive = _call(len(out), border.address, coordinates, weights, *rest)
    arguments["low"] = _low(rest[-1])
    with border.on_device(out):
        workspace = out.new_empty(border.module().coord_mlp_cuda_workspace(**arguments), dtype=torch.uint8)
        border.module().coord_mlp_cuda(
            **arguments,
            out=border.address(out, "out"),
            workspace=border.address(workspace, "workspace", alignment=16),
            stream=border.stream(out),
        )
    return out


# Of the backward's workspace on a GPU: operands of the weights' gradients, for as many points as fit.
_CHUNK_BYTES = 1 << 28


def _cuda_backward(grad: Tensor, *rest: Any) -> list[Tensor]:
    border = _cuda_border

    def run(**arguments: Any) -> None:
        arguments |= {"low": _low(rest[-2]), "chunk_bytes": _CHUNK_BYTES}
        with border.on_device(grad):
            workspace = grad.new_empty(border.module().coord_mlp_backward_cuda_workspace(**arguments) // 4)
            border.module().coord_mlp_backward_cuda(
                **arguments,
                workspace=border.address(workspace, "workspace", alignment=16),
                stream=border.stream(grad),
            )

    return _by_kernels(run, border.address, grad.new_empty, grad, *rest)


def _why_not_cuda(*args: Any) -> str | None:
    return _why_not_cuda_kernel("coord_mlp", *args)


def _why_not_cuda_backward(grad: Tensor, *rest: Any) -> str | None:
    return why_not("coord_mlp", "cuda", "linear", grad=grad) or _why_not_cuda_kernel("coord_mlp_backward", *rest[:-1])


def _why_not_cuda_kernel(op: str, *args: Any) -> str | None:
    if (reason := _why_not("cuda", *args)) is not None:
        return reason
    given = _flat(args[0], args[1 : 1 + reference.LISTS])
    if any(tensor is not None and tensor.numel() == 0 for tensor in given):
        return None
    # This depends only on extents and options: one sample's tensors and any address will do.
    coordinates, *lists = _grouped([tensor if tensor is None else tensor[:1] for tensor in given])
    options = args[1 + reference.LISTS :]
    arguments, _alive = _call(1, lambda tensor, _: 0 if tensor is None else 4, coordinates, *lists, *options)
    reason = getattr(_cuda_border.module(), f"{op}_cuda_why_not")(**arguments, low=_low(args[-1]))
    return reason or None


def _why_not(backend: str, coordinates: Tensor, *rest: Any) -> str | None:
    names = [f"{name}[{i}]" for name in ("weights", *_VECTORS) for i in range(len(rest[0]))]
    tensors = dict(zip(["coordinates", *names], _flat(coordinates, rest[: reference.LISTS]), strict=True))
    return why_not("coord_mlp", backend, unknown("coord_mlp", backend, rest[reference.LISTS]), **tensors)


def _why_not_native(*args: Any) -> str | None:
    precision = args[-1]
    if precision not in MLP_PRECISIONS:
        return f"it has no products in {precision}"
    return _why_not("native", *args)


def _why_not_triton(coordinates: Tensor, *rest: Any) -> str | None:
    if (reason := _why_not("triton", coordinates, *rest)) is not None:
        return reason
    from digan_fast.kernels import coord_mlp as kernels

    return kernels.why_not(*rest)


def _why_not_triton_backward(grad: Tensor, coordinates: Tensor, *rest: Any) -> str | None:
    reason = why_not("coord_mlp", "triton", "linear", grad=grad) or _why_not("triton", coordinates, *rest[:-1])
    if reason is not None:
        return reason
    from digan_fast.kernels import coord_mlp as kernels

    return kernels.why_not_backward(*rest[:-1])


def _why_not_native_backward(grad: Tensor, *rest: Any) -> str | None:
    return _why_not_native(*rest[:-1]) or why_not("coord_mlp", "native", "linear", grad=grad)


dispatch.register("coord_mlp", "native", _native, _why_not_native)
dispatch.register("coord_mlp", "cuda", _cuda, _why_not_cuda)
dispatch.register("coord_mlp", "triton", lazily("coord_mlp"), _why_not_triton)
dispatch.register("coord_mlp_backward", "native", _native_backward, _why_not_native_backward)
dispatch.register("coord_mlp_backward", "cuda", _cuda_backward, _why_not_cuda_backward)
dispatch.register("coord_mlp_backward", "triton", lazily("coord_mlp_backward"), _why_not_triton_backward)


@full_precision
def _recomposed(*args: Any) -> list[Tensor]:
    """The reference's backward of tensors in a row: grad, those of :func:`_flat`, the options, ``needed``."""
    grad, *tensors = args[:-6]
    return reference.coord_mlp_backward(grad, *_grouped(tensors), *args[-6:])


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        grad, *tensors = args[:-6]
        ctx.save_for_backward(grad, *tensors)
        ctx.options = args[-6:]
        ctx.set_materialize_grads(False)
        return tuple(_backward_op(grad, *_grouped(tensors), *ctx.options))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        count = len(ctx.saved_tensors)
        gradients = recompose(_recomposed, ctx.saved_tensors, ctx.options, ctx.needs_input_grad[:count], grads)
        return (*gradients, *(None for _ in ctx.options))


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        ctx.save_for_backward(*args[:-5])
        ctx.options = args[-5:]
        return _forward_op(*_grouped(args[:-5]), *ctx.options)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        needed = [bool(need) for need in ctx.needs_input_grad[:-5]]
        given = grads[0], *ctx.saved_tensors, *ctx.options, needed
        formula = transforms.composed("coord_mlp_backward", *given) or transforms.batched(grads[0])
        gradients = _recomposed(*given) if formula else _Backward.apply(*given)
        return (
            *(gradient if need else None for gradient, need in zip(gradients, needed, strict=True)),
            *(None for _ in ctx.options),
        )


def _has_fused_backward(coordinates: Tensor, *rest: Any) -> bool:
    # The gradient by the output has the type and the device of the coordinates.
    given = coordinates, coordinates, *rest, []
    return any(dispatch.runs("coord_mlp_backward", backend, *given) for backend in ("cuda", "triton"))


# What no kernel's support depends on, samples, points and frequencies, is left out, so that a graph may have any number
# of them: a tensor's device, type, and channels.
_Channels = tuple[torch.device, torch.dtype, tuple[int, ...]]


def _channels(tensor: Tensor | None, first: int = 1) -> _Channels | None:
    if tensor is None:
        return None
    return tensor.device, tensor.dtype, tuple(operator.index(extent) for extent in tensor.shape[first:])


def _has_fused_backward_of(channels: Sequence[_Channels | None], activations: Sequence[str], *options: Any) -> bool:
    """:func:`_has_fused_backward` for one point of one sample, which exists nowhere."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        fakes = [
            each and torch.empty((1, *(1 for _ in range(not i)), *each[2]), device=each[0], dtype=each[1])
            for i, each in enumerate(channels)
        ]
        return _has_fused_backward(*_grouped(fakes), list(activations), [1.0] * len(activations), *options)


# Set directly, since torch.compiler.assume_constant_result imports Dynamo and Triton up to torch 2.11: 0.8 s.
_has_fused_backward_of._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _recomputes(coordinates: Tensor, *rest: Any) -> bool:
    """Whether the backward computes activations again, so that the forward saves nothing but its arguments.

    A graph has what an eager call would run as it is traced, one op or the layers; either is right on any backend, and
    the op without a kernel is its formula.
    """
    if coordinates.device.type != _cuda_border.DEVICE:
        return True
    if not torch.compiler.is_compiling():
        return _has_fused_backward(coordinates, *rest)
    activations, _omegas, skips, encoded, precision = rest[reference.LISTS :]
    tensors = _flat(None, rest[: reference.LISTS])[1:]
    channels = (_channels(coordinates, 2), *(_channels(each) for each in tensors))
    return _has_fused_backward_of(channels, tuple(activations), tuple(skips), encoded, precision)


def coord_mlp(
    coordinates: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    scales: Sequence[Tensor | None],
    shifts: Sequence[Tensor | None],
    input_scales: Sequence[Tensor | None],
    input_shifts: Sequence[Tensor | None],
    activations: Sequence[str],
    omegas: Sequence[float],
    skips: Sequence[bool],
    encoded: bool,
    precision: str,
) -> Tensor:
    """[B, N, O], as :mod:`digan_fast.reference.coord_mlp` defines it."""
    lists: Any = [list(group) for group in (weights, biases, scales, shifts, input_scales, input_shifts)]
    options: Any = list(activations), list(omegas), list(skips), encoded, precision
    tensors = _flat(coordinates, lists)
    if transforms.composed("coord_mlp", *tensors):
        result: Tensor = full_precision(reference.coord_mlp)(coordinates, *lists, *options)
    elif not torch.is_grad_enabled() or not any(each is not None and each.requires_grad for each in tensors):
        result = _forward_op(coordinates, *lists, *options)
    elif _recomputes(coordinates, *lists, *options):
        result = _Forward.apply(*tensors, *options)
    else:
        result = chain(coordinates, *lists, *options)
    return result
