"""Arguments that the native module rejects: null addresses, negative extents, unknown activations."""

from __future__ import annotations

import math
from typing import Any

import pytest
import stubs
import torch

from digan_fast import backends, dispatch
from digan_fast.ops._pointers import NATIVE_ACTIVATIONS, ptr

pytestmark = pytest.mark.skipif(backends()["native"] is not None, reason="the compiled module was not built")

# Every address below points into these numbers, more than any call here reads or writes.
MEMORY = torch.zeros(4096)
AT = ptr(MEMORY, "memory")

LAYER = (AT, AT, 2, 4, 2, 1.0, math.inf)  # weight, bias, outputs, inputs, activation, gain, clamp
TO_RGB = (AT, AT, 3, 2, 0, 1.0, math.inf)
LEVEL = (4, 2, AT, AT, [LAYER], TO_RGB)  # side, sinusoids, frequency, phase, layers, to-RGB
# weight, own_weights, bias, scale, shift, input_scale, input_shift, outputs, inputs, activation, omega, skip, number
MLP_LAYER = (AT, False, AT, AT, AT, AT, AT, 3, 2, 2, 1.0, False, 0)

OPTIONS = {"activation": 2, "gain": 1.0, "clamp": math.inf}
LINEAR = dict.fromkeys(("out", "x", "weight", "bias"), AT) | OPTIONS
LINEAR |= {"videos": 2, "rows": 3, "inputs": 4, "outputs": 5, "own_biases": False, "threads": 1}
LINEAR |= {"number": 0, "x_number": 0}
COORD = dict.fromkeys(("out", "base", "frequency", "phase", "weight", "bias"), AT) | OPTIONS
COORD |= {"videos": 2, "frames": 2, "sinusoids": 3, "outputs": 4, "number": 0, "threads": 1}
COORD |= {"side": 4, "top": 0, "left": 0, "height": 2, "width": 2}
BIAS = dict.fromkeys(("x", "bias", "out"), AT) | OPTIONS
BIAS |= {"outer": 2, "channels": 3, "inner": 4, "number": 0, "alpha": 0.2, "threads": 1}
FMM = dict.fromkeys(("weight", "left", "right"), AT)
FMM |= {"batch": 2, "outputs": 3, "inputs": 4, "rank": 2, "modulation": 1, "scale": 1.0, "threads": 1}
FILTER = dict.fromkeys(("out", "x", "filter"), AT) | {"images": 2, "channels": 1, "up": 1, "down": 1}
FILTER |= {"size_y": 4, "out_size_y": 4, "taps_y": 1, "before_y": 0, "number": 0, "threads": 1}
FILTER |= {"size_x": 4, "out_size_x": 4, "taps_x": 1, "before_x": 0}
CONV = {"images": 2, "inputs": 2, "outputs": 3, "height": 4, "width": 5, "stride": 1, "padding": 1, "gain": 1.0}
CONV |= {"number": 0, "threads": 1}
MLP = {"coordinates": AT, "own_coordinates": False, "encoded": False, "sets": 2, "points": 3, "layers": [MLP_LAYER]}
MLP |= {"threads": 1}
RENDER = {"out": AT, "videos": 1, "frames": 1, "side": 4, "top": 0, "left": 0, "height": 4, "width": 4}
RENDER |= {"levels": [LEVEL], "precision": 0, "threads": 1}
CALLS: dict[str, dict[str, Any]] = {
    "linear_act_cpu": LINEAR,
    "linear_act_backward_cpu": LINEAR | dict.fromkeys(("grad", "dx", "dweight", "dbias"), AT),
    "coord_linear_cpu": COORD,
    "coord_linear_backward_cpu": COORD
    | dict.fromkeys(("grad", "dbase", "dfrequency", "dphase", "dweight", "dbias"), AT),
    "coord_mlp_cpu": MLP | {"out": AT},
    "coord_mlp_backward_cpu": MLP | {"grad": AT, "dcoordinates": AT, "gradients": [(AT,) * 6]},
    "render_cpu": RENDER,
    "bias_act_cpu": BIAS,
    "bias_act_backward_cpu": BIAS | {"dx": AT, "dbias": AT, "grad": AT, "grad_expanded": False, "activation": 3},
    "fmm_weights_cpu": FMM | {"out": AT},
    "fmm_weights_backward_cpu": FMM | {"dweight": AT, "dleft": AT, "dright": AT, "grad": AT, "grad_expanded": False},
    "upfirdn2d_cpu": FILTER,
    "conv3x3_cpu": CONV | dict.fromkeys(("out", "x", "weight"), AT),
    "conv3x3_input_gradient_cpu": CONV | dict.fromkeys(("dx", "grad", "weight"), AT),
    "conv3x3_weight_gradient_cpu": CONV | dict.fromkeys(("dweight", "grad", "x"), AT),
}
# Optional tensors.
OPTIONAL = {"bias", "base", "dbase", "dcoordinates"}
EXTENTS = {"outer", "channels", "inner", "batch", "outputs", "inputs", "rank", "sets", "points", "videos", "frames"}
EXTENTS |= {"images", "threads", "up", "down", "rows", "sinusoids"}
EXTENTS |= {f"{name}_{axis}" for name in ("size", "out_size", "taps") for axis in "yx"}


def refuses(call: str, message: str, **changes: Any) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(dispatch.native_module(), call)(**CALLS[call] | changes)


def test_the_stub_has_the_bindings() -> None:
    written = stubs.declarations(stubs.STUB.read_text(encoding="utf-8"))
    declared = stubs.declared(dispatch.native_module())
    assert declared.items() <= written.items()
    assert all("cuda" in name.lower() for name in written.keys() - declared.keys())


def test_every_binding_is_listed_and_runs() -> None:
    module = dispatch.native_module()
    assert set(CALLS) == {name for name in vars(module) if name.endswith("_cpu")}
    for call, arguments in CALLS.items():
        MEMORY.zero_()
        getattr(module, call)(**arguments)


@pytest.mark.parametrize("call", CALLS)
def test_addresses(call: str) -> None:
    for name, value in CALLS[call].items():
        if value is not AT:
            continue
        refuses(call, rf"^{name} is \d+, expected a multiple of 4", **{name: AT + 2})
        if name not in OPTIONAL:
            refuses(call, f"^{name} is null", **{name: 0})


@pytest.mark.parametrize("call", CALLS)
def test_extents(call: str) -> None:
    for name in CALLS[call]:
        if name in EXTENTS:
            refuses(call, rf"^{name.removesuffix('_y').removesuffix('_x')} is -1, expected", **{name: -1})
    if "threads" in CALLS[call]:
        refuses(call, "^threads is 0, expected 1 or more", threads=0)


@pytest.mark.parametrize("call", CALLS)
def test_activations(call: str) -> None:
    sine, tanh = NATIVE_ACTIVATIONS.index("sine"), NATIVE_ACTIVATIONS.index("tanh")
    if "activation" in CALLS[call]:
        for bad in (-1, 10, *([] if "bias_act" in call else [tanh]), *([sine] if "coord" in call else [])):
            refuses(call, f"^activation is {bad}", activation=bad)
    if "modulation" in CALLS[call]:
        for bad in (-1, 4):
            refuses(call, f"^modulation is {bad}", modulation=bad)
    if "number" in CALLS[call]:
        for bad in (-1, 2):
            refuses(call, f"^number is {bad}, expected less than 2", number=bad)
    if "clamp" in CALLS[call]:
        refuses(call, "^clamp is -1.* expected 0 or more, or infinity", clamp=-1.0)
        refuses(call, "^clamp is nan", clamp=math.nan)


@pytest.mark.parametrize("call", ["coord_mlp_cpu", "coord_mlp_backward_cpu"])
@pytest.mark.parametrize(
    ("index", "value", "message"),
    [
        (0, 0, "^weight is null"),
        pytest.param(2, AT + 1, "^bias is .*a multiple of 4", id="bias"),  # an address is not the next process's
        pytest.param(3, AT + 2, "^scale is .*a multiple of 4", id="scale"),
        (7, 0, "^outputs is 0"),
        (8, 2, "^inputs is 2, expected the outputs"),
        (8, -1, "^inputs is -1"),
        (9, 5, "^activation is 5"),
        (9, 11, "^activation is 11"),
        (11, True, "^inputs is 3, expected the outputs of the layer before, and with skip"),
        (12, 2, "^number is 2, expected 0, float32, for the first and the last layer"),
        (12, 3, "^number is 3"),
    ],
)
def test_layers_of_coord_mlp(call: str, index: int, value: int, message: str) -> None:
    layer = (AT, False, AT, 0, 0, 0, 0, 2, 3, 2, 1.0, False, 0)
    bad = (*layer[:index], value, *layer[index + 1 :])
    refuses(call, message, layers=[MLP_LAYER, bad])


def test_networks_of_coord_mlp() -> None:
    refuses("coord_mlp_cpu", "^encoded is true, expected two layers", encoded=True)
    refuses("coord_mlp_cpu", "^skip is true for the first layer", layers=[(*MLP_LAYER[:11], True, False)])
    refuses("coord_mlp_backward_cpu", "^gradients is 0, expected one for each layer", gradients=[])
    refuses("coord_mlp_backward_cpu", "^bias is .*a multiple of 4", gradients=[(AT, AT + 2, 0, 0, 0, 0)])


def test_types_of_linear_act() -> None:
    """A few float32 outputs of bfloat16 inputs; `number` is the type of the others."""
    few = {"x_number": 1, "outputs": 3, "activation": 2}
    dispatch.native_module().linear_act_cpu(**LINEAR | few)
    refuses("linear_act_cpu", "^x_number is 1, expected number, or bfloat16", x_number=1, outputs=5, rows=4)
    refuses("linear_act_cpu", "^x_number is 1", x_number=1, outputs=3, activation=NATIVE_ACTIVATIONS.index("sine"))
    refuses("linear_act_cpu", "^x_number is 0", x_number=0, number=1)
    refuses("linear_act_cpu", "^x_number is 2, expected less than 2", x_number=2)
    refuses("linear_act_cpu", r"^x is \d+, expected a multiple of 2", x=AT + 1, **few)


def test_no_layers() -> None:
    refuses("coord_mlp_cpu", "^layers is empty", layers=[])
    refuses("render_cpu", "^layers is empty", levels=[(4, 2, AT, AT, [], TO_RGB)])
    refuses("render_cpu", "^levels is empty", levels=[])
    refuses("render_cpu", "^levels is empty or without features", levels=[(4, 0, 0, 0, [LAYER], TO_RGB)])


@pytest.mark.parametrize("of", [LAYER, TO_RGB])
@pytest.mark.parametrize(
    ("index", "value", "message"),
    [
        (0, 0, "^weight is null"),
        (1, 0, "^bias is null"),
        (2, -1, "^outputs is -1"),
        (3, 0, "^inputs is 0"),
        (3, 9, "^inputs is 9, expected the channels"),
        (4, 3, "^activation is 3"),
        (6, -1.0, "^clamp is -1"),
    ],
)
def test_layers_of_render(of: tuple[Any, ...], index: int, value: float, message: str) -> None:
    bad = (*of[:index], value, *of[index + 1 :])
    level = (*LEVEL[:4], [bad if of is LAYER else LAYER], TO_RGB if of is LAYER else bad)
    refuses("render_cpu", message, levels=[level])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height": 0}, "^window is"),
        ({"width": -4}, "^window is"),
        ({"top": 2**63 - 1}, "^window is"),
        ({"left": -(2**63)}, "^window is"),
        ({"width": 2**63 - 1}, "^window is"),
        ({"side": 6}, "^side is 6, expected a multiple"),
        ({"side": 0}, "^side is 0"),
        ({"precision": 3}, "^precision is 3"),
        ({"levels": [(0, *LEVEL[1:])]}, "^side is 0"),
        ({"levels": [(4, -1, *LEVEL[2:])]}, "^sinusoids is -1"),
        ({"levels": [(4, 2, 0, *LEVEL[3:])]}, "^frequency is null"),
        ({"levels": [(4, 2, AT, 0, *LEVEL[4:])]}, "^phase is null"),
        ({"levels": [LEVEL, LEVEL]}, "^side is 4, expected twice"),
    ],
)
def test_pictures_of_render(changes: dict[str, Any], message: str) -> None:
    refuses("render_cpu", message, **changes)


@pytest.mark.parametrize("call", ["coord_linear_cpu", "coord_linear_backward_cpu"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"side": 0}, "^side is 0"),
        ({"height": 0}, "^rectangle is"),
        ({"width": -1}, "^rectangle is"),
        ({"top": 2**63 - 1}, "^rectangle is"),
        ({"left": -(2**63)}, "^rectangle is"),
        ({"height": 2**63 - 1}, "^rectangle is"),
    ],
)
def test_grids_of_coord_linear(call: str, changes: dict[str, int], message: str) -> None:
    refuses(call, message, **changes)


@pytest.mark.parametrize("call", CALLS)
def test_names_and_types(call: str) -> None:
    function = getattr(dispatch.native_module(), call)
    for name, value in CALLS[call].items():
        others = {key: each for key, each in CALLS[call].items() if key != name}
        with pytest.raises(TypeError, match=rf"^{call}\(\) lacks the argument {name}$"):
            function(**others)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            with pytest.raises(TypeError, match=f"^{name} is '1', expected {type(value).__name__}"):
                function(**others, **{name: "1"})
    with pytest.raises(TypeError, match=rf"^{call}\(\) has other arguments than {call}\(\*, "):
        function(**CALLS[call], beyond=1)
    with pytest.raises(TypeError, match=f"^threads is {2**70}, expected int"):
        function(**CALLS[call] | {"threads": 2**70})


@pytest.mark.parametrize("call", CALLS)
def test_products_of_extents_that_overflow(call: str) -> None:
    """2⁶² each: rejected, or out of memory; never a small number by wrap-around."""
    huge = 2**62
    for name in (EXTENTS - {"threads", "up", "down", "taps_y", "taps_x"}) & set(CALLS[call]):
        with pytest.raises((ValueError, MemoryError)):
            getattr(dispatch.native_module(), call)(**CALLS[call] | {name: huge})
