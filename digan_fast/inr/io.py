"""The file format of videos as networks: safetensors, with the network's structure in the metadata.

Version 1 of an INR's file has its tensors as they are.  Version 2 stores them in float16 or int8
(:mod:`digan_fast.inr.storage`) or has more than the network: the clip that it was fitted to, latents.  Files without
any of that are still written as version 1.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final, TypeVar

from torch import Tensor

from digan_fast.inr.motion import Motion
from digan_fast.inr.storage import STORAGES, packed, unpacked
from digan_fast.levels import Coordinates, Layer, Level
from digan_fast.reference.activations import ACTIVATIONS
from digan_fast.tensor_files import save_tensors

_PLAIN: Final = "digan_fast.VideoINR/1"
_FORMAT: Final = "digan_fast.VideoINR/2"
# Small tensors whose rounding would move the picture's pattern.
_EXACT: Final = (".frequency", ".offset", ".velocity")
_Made = TypeVar("_Made")
_DAMAGES: Final = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)


def save(
    path: str | os.PathLike[str],
    levels: tuple[Level, ...],
    tensors: Mapping[str, Tensor],
    storage: str = "float32",
    beside: Mapping[str, Tensor] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a safetensors file, whole or not at all; ``beside`` are tensors that are not the network's."""
    stored, described = contents(levels, tensors, storage, beside, metadata)
    save_tensors(path, stored, described)


def contents(
    levels: tuple[Level, ...],
    tensors: Mapping[str, Tensor],
    storage: str,
    beside: Mapping[str, Tensor] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a file."""
    stored = packed(tensors, storage, _EXACT) | dict(beside or {})
    described = {"format": _FORMAT, "storage": storage, **(metadata or {})}
    if storage == "float32" and not beside and not metadata:
        described = {"format": _PLAIN}
    return stored, described | {"levels": json.dumps([_structure(level) for level in levels])}


def load(path: str | os.PathLike[str], device: str, make: Callable[[tuple[Level, ...]], _Made]) -> _Made:
    """What ``make`` returns for levels :func:`save` wrote.  Raises ValueError, naming the file, for anything else."""
    return opened(path, device, lambda metadata, _, tensor: make(levels_of(metadata, tensor)))


def opened(
    path: str | os.PathLike[str],
    device: str,
    make: Callable[[dict[str, str], list[str], Callable[[str], Tensor]], _Made],
    kind: str = "VideoINR",
) -> _Made:
    """What ``make`` returns for a file's metadata, the names of its tensors, and a function that reads one.

    Raises ValueError, naming the file, if it is no safetensors file or ``make`` raises an error of contents.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="pt", device=device) as file:
            metadata = file.metadata() or {}
            names = list(file.keys())
            storage = metadata.get("storage", "float32")
            if storage not in STORAGES:
                raise ValueError(f"its storage is {storage!r}, expected one of {', '.join(STORAGES)}")
            read = file.get_tensor if storage == "float32" else unpacked(names, file.get_tensor)
            return make(metadata, names, lambda name: _finite(name, read(name)))
    except (SafetensorError, *_DAMAGES) as error:
        raise ValueError(f"{os.fspath(path)}: not a saved {kind}: {error}") from error


def _finite(name: str, tensor: Tensor) -> Tensor:
    """The tensor.  Raises ValueError, naming it, unless it has finite floating-point values."""
    if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
        raise ValueError(f"{name}: {tensor.dtype} or values that are not finite, expected finite floating-point values")
    return tensor


def metadata_of(path: str | os.PathLike[str]) -> dict[str, str]:
    """The metadata of a safetensors file; empty for any other file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, ValueError, OSError):
        return {}


def is_inr(metadata: Mapping[str, str]) -> bool:
    """Whether a file with this metadata is an INR's."""
    return metadata.get("format", "").startswith("digan_fast.VideoINR/")


def levels_of(metadata: Mapping[str, str], tensor: Callable[[str], Tensor]) -> tuple[Level, ...]:
    """The levels of a file, checked.  Raises an error of :data:`_DAMAGES` for anything else."""
    if metadata.get("format") not in (_PLAIN, _FORMAT):
        raise ValueError(f"its format is {metadata.get('format')!r}, expected {_PLAIN!r} or {_FORMAT!r}")
    structure = json.loads(metadata["levels"])
    levels = tuple(_level(item, f"levels.{index}", tensor) for index, item in enumerate(structure))
    _check(levels)
    return levels


def _check(levels: tuple[Level, ...]) -> None:
    """Raises ValueError for shapes that do not fit together, which kernels rely on."""
    batch = levels[0].layers[0].weight.shape[0]
    channels = colours = 0
    for index, level in enumerate(levels):
        if type(level.side) is not int or level.side < 1:
            raise ValueError(f"levels.{index}: side {level.side!r}, expected a positive number")
        if level.coordinates is not None:
            channels += 2 * _sinusoids(f"levels.{index}", level.coordinates, batch)
        for name, layer in (
            *((f"layers.{i}", layer) for i, layer in enumerate(level.layers)),
            ("to_rgb", level.to_rgb),
        ):
            outputs = layer.bias.shape[0] if layer.bias.ndim == 1 else -1
            if layer.weight.shape != (batch, outputs, channels):
                shapes = f"{list(layer.weight.shape)} and {list(layer.bias.shape)}"
                raise ValueError(f"levels.{index}.{name}: {shapes}, expected [{batch}, O, {channels}] and [O]")
            limit = math.inf if layer.clamp is None else layer.clamp
            if layer.activation not in ACTIVATIONS or not (0 < layer.gain < math.inf and limit > 0):
                raise ValueError(f"levels.{index}.{name}: {layer.options}, expected an activation, a gain and a clamp")
            if name != "to_rgb":
                channels = outputs
            elif index and outputs != colours:
                raise ValueError(f"levels.{index}.to_rgb: {outputs} colours, expected {colours}")
            else:
                colours = outputs


def _sinusoids(name: str, coordinates: Coordinates, batch: int) -> int:
    """K, if all tensors of the coordinates have it."""
    motion = coordinates.motion
    assert isinstance(motion, Motion)
    count = coordinates.frequency.shape[1]
    expected = {
        "offset": (batch, count),
        "velocity": (batch, count),
        "weight0": (count, count),
        "bias0": (count,),
        "weight1": (count, count),
        "bias1": (count,),
    }
    found = {part: tuple(getattr(motion, part).shape) for part in expected}
    if coordinates.frequency.shape != (batch, count, 2) or found != expected:
        raise ValueError(f"{name}: frequencies {list(coordinates.frequency.shape)} and motion {found} do not fit")
    return count


def _structure(level: Level) -> dict[str, Any]:
    def options(layer: Layer) -> dict[str, Any]:
        return {"activation": layer.activation, "gain": layer.gain, "clamp": layer.clamp}

    return {
        "side": level.side,
        "coordinates": level.coordinates is not None,
        "layers": [options(layer) for layer in level.layers],
        "to_rgb": options(level.to_rgb),
    }


def _level(structure: dict[str, Any], path: str, tensor: Callable[[str], Tensor]) -> Level:
    def layer(options: dict[str, Any], name: str) -> Layer:
        return Layer(tensor(f"{path}.{name}.weight"), tensor(f"{path}.{name}.bias"), **options)

    coordinates = None
    if structure["coordinates"]:
        prefix = f"{path}.coordinates"
        motion = Motion(**{f.name: tensor(f"{prefix}.motion.{f.name}") for f in fields(Motion)})
        coordinates = Coordinates(tensor(f"{prefix}.frequency"), motion)
    layers = (layer(item, f"layers.{index}") for index, item in enumerate(structure["layers"]))
    return Level(structure["side"], coordinates, tuple(layers), layer(structure["to_rgb"], "to_rgb"))
