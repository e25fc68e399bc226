"""The file format of an INR: safetensors, with its structure in the metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from torch import Tensor

from digan_fast.inr.motion import Motion
from digan_fast.levels import Coordinates, Layer, Level
from digan_fast.tensor_files import save_tensors

_FORMAT = "digan_fast.VideoINR/1"
_Made = TypeVar("_Made")


def save(path: str | os.PathLike[str], levels: tuple[Level, ...], tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, whole or not at all."""
    structure = json.dumps([_structure(level) for level in levels])
    save_tensors(path, dict(tensors), {"format": _FORMAT, "levels": structure})


def load(path: str | os.PathLike[str], device: str, make: Callable[[tuple[Level, ...]], _Made]) -> _Made:
    """What ``make`` returns for levels :func:`save` wrote.  Raises ValueError, naming the file, for anything else."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="pt", device=device) as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise ValueError(f"its format is {metadata.get('format')!r}, expected {_FORMAT!r}")
            structure = json.loads(metadata["levels"])
            levels = (_level(item, f"levels.{index}", file.get_tensor) for index, item in enumerate(structure))
            return make(tuple(levels))
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)}: not a saved VideoINR: {error}") from error


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
