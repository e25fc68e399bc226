"""Bytes moved by launches: counted for some tiles by executing their PTX, and multiplied by the number of tiles.

All tiles of a launch whose extents are whole tiles do the same at different addresses, so

    from L2     = (bytes of the sectors requested by one row of tiles) × (rows of tiles),
    from DRAM   = (distinct bytes of activations of one row of tiles) × (rows of tiles) + parameters, once.

A row of tiles is the programs that compute all outputs of the same pixels.  Their indices are consecutive, so they run
at the same time and share reads through L2.  Parameters, 2.5 MB for DIGAN's largest level, stay in L2 (40 MB on an
A100, 50 MB on an H100).  Activations written by another launch are assumed not to be in L2.

Two kernels define rows differently.  Tiles of ``upfirdn2d`` overlap by the filter's taps: a row is a whole picture,
within which shared edges are served by L2; pictures share only the filter.  A row of ``fmm_weights`` is a video's
programs or, if gradients are summed over videos, the whole launch.  Its parameters are the shared weights and the
low-rank factors (0.5 MB, and 20 KB per video, for a layer 512 wide in bfloat16); its activations are the modulated
weights, their gradient, and all results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from emulator.triton_offline import Launch, offline
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

PARAMETERS = (
    *("weight", "bias", "weights", "biases", "rgb", "rgb_bias", "to_rgb", "frequency", "phase"),
    *("left", "right", "filter", "wide", "low", "vectors"),
)


@dataclass(frozen=True)
class Moved:
    """Bytes of a launch.  ``compulsory``: each tensor once; ``activations``: the tensors that are not parameters.

    ``weights_per_row``: how often a row of tiles reads a video's weights from L2.  ``flops`` are scalar operations.
    """

    kernel: str
    compulsory: int
    dram: int
    asked: int
    activations: int
    activations_dram: int
    weights_per_row: float
    tensor_flops: int
    flops: int

    @property
    def activation_factor(self) -> float:
        return self.activations_dram / self.activations


def programs_of_a_row(arguments: Mapping[str, Any]) -> int:
    """The number of programs of a row of tiles, or of one part of a split sum: the first programs of the launch."""
    a = arguments
    if "filter" in a:
        return _tiles(a["out_height"], a["TILE_ROWS"]) * _tiles(a["out_width"] * a["channels"], a["TILE_COLUMNS"])
    if "outputs" not in a:
        return 1
    rows, columns = a["TILE_ROWS"], a["TILE_COLUMNS"]
    if "rank" in a:
        down, across = _tiles(a["outputs"], rows), _tiles(a["inputs"], columns)
        return down * across if "dweight" in a else across if "dright" in a else down
    if "part_rows" in a:
        return _tiles(a["outputs"], rows) * _tiles(a.get("inputs", a.get("sinusoids", 1)), columns) * a["videos"]
    return _tiles(a["inputs" if "dx" in a else "sinusoids" if "sums" in a else "outputs"], columns)


def _tiles(extent: int, tile: int) -> int:
    return -(-extent // tile)


def size(tensor: Tensor) -> int:
    """Bytes in memory: an expanded dimension counts once."""
    extents = [n for n, step in zip(tensor.shape, tensor.stride(), strict=True) if step or n < 2]
    return math.prod(extents) * tensor.element_size() if tensor.numel() else 0


def moved(launch: Launch, programs: int) -> Moved:
    """Extrapolates a launch, of which this many programs ran, to the whole."""
    assert launch.counters is not None
    rows = math.prod(launch.grid) / programs
    tensors = {name: a for name, a in launch.arguments.items() if isinstance(a, Tensor)}
    compulsory = {name: size(tensor) for name, tensor in tensors.items()}
    traffic = {name: launch.counters.traffic[name] for name in tensors if name in launch.counters.traffic}
    parameters = [name for name in traffic if name in PARAMETERS]
    others = [name for name in traffic if name not in PARAMETERS]
    own = sum(traffic[name].distinct_read + traffic[name].distinct_written for name in others) * rows
    asked = sum(each.asked_read + each.asked_written for each in traffic.values()) * rows
    weights = [name for name in ("weight", "weights") if name in traffic]
    videos = max((math.prod(tensors[name].shape[-3:-2]) for name in weights), default=1)
    per_row = sum(traffic[name].asked_read for name in weights) / max(1, sum(compulsory[n] for n in weights) / videos)
    return Moved(
        launch.name.strip("_"),
        sum(compulsory.values()),
        round(own) + sum(compulsory[name] for name in parameters),
        round(asked),
        sum(compulsory[name] for name in others),
        round(own),
        per_row,
        round(launch.counters.total("tensor_flops") * rows),
        round(launch.counters.flops * rows),
    )


def measured(architecture: int, work: Callable[[], Any]) -> list[Moved]:
    """Executes one row of tiles of each launch of ``work``."""
    with offline(architecture, True, programs_of_a_row, checks=False, block_races=False) as launches, torch.no_grad():
        work()
    return [moved(launch, programs_of_a_row(launch.arguments)) for launch in launches]


class CountsBytes(TorchDispatchMode):
    """Bytes of each operation's inputs and outputs, counted once; views and allocations move none."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        returns = func._schema.returns
        is_view = any(each.alias_info is not None and not each.alias_info.is_write for each in returns)
        if not is_view and "empty" not in func._schema.name and func._schema.name != "aten::detach":
            self.bytes += sum(map(size, _tensors([*args, *(kwargs or {}).values(), result])))
            self.operations += 1
        return result


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found
