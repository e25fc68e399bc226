"""Safetensors files: the same tensors and metadata give the same bytes; files are untrusted and read from memory."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from digan_fast.files import replacing

_ALIGNMENT: Final = 8
_NAMES: Final = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}

_TYPES: Final = {name: dtype for dtype, name in _NAMES.items()}


def save_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file atomically.

    The safetensors library orders metadata differently in every process and hides the operating system's error number.
    Raises OSError if the file cannot be written, ValueError for a dtype that the format does not support.
    """
    names, text = _header(tensors, metadata)
    with replacing(path) as beside, open(beside, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            flat = tensors[name].detach().to("cpu").contiguous().view(-1)
            file.write(flat.view(torch.uint8).numpy().data)


def file_size(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> int:
    """The bytes of the file that :func:`save_tensors` writes."""
    return 8 + len(_header(tensors, metadata)[1]) + sum(tensor.nbytes for tensor in tensors.values())


def _header(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> tuple[list[str], bytes]:
    """The names of the tensors in the order of their bytes, and the header, padded."""
    # Wide types first, so that every tensor starts at a multiple of its element size.
    names = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    offset = 0
    for name in names:
        tensor = tensors[name]
        if tensor.dtype not in _NAMES:
            raise ValueError(f"{name}: {tensor.dtype}, which a safetensors file does not hold")
        end = offset + tensor.nbytes
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return names, text + b" " * (-len(text) % _ALIGNMENT)


@dataclass(frozen=True, eq=False, repr=False)
class TensorFile:
    """A safetensors file in memory, its header checked."""

    metadata: dict[str, str]
    _data: memoryview
    _entries: dict[str, tuple[torch.dtype, tuple[int, ...], int, int]]

    @property
    def names(self) -> list[str]:
        return list(self._entries)

    def load(self, name: str) -> Tensor:
        """A copy of the tensor."""
        dtype, shape, begin, end = self._entries[name]
        if begin == end:
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(self._data[begin:end], dtype=torch.uint8).clone().view(dtype).view(shape)


def read_tensors(data: memoryview) -> TensorFile:
    """Parses a file from its bytes, which must be writable for torch to wrap them.  Raises ValueError if damaged."""
    length = int.from_bytes(data[:8], "little")
    start = 8 + length
    if len(data) < 8 or start > len(data):
        raise ValueError(f"its header of {length} bytes is cut short")
    try:
        header = json.loads(bytes(data[8:start]))
    except RecursionError as error:
        raise ValueError("its header is nested too deep") from error
    metadata = header.pop("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or any(type(text) is not str for text in metadata.values()):
        raise ValueError("its header has no names with texts")
    entries = {name: _entry(name, described) for name, described in header.items()}
    position = 0
    for name, (_, _, begin, end) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if begin != position:
            raise ValueError(f"{name} begins at byte {begin}, expected {position}")
        position = end
    if start + position != len(data):
        raise ValueError(f"{position} bytes of tensors are announced, {len(data) - start} are there")
    moved = {name: (kind, shape, start + begin, start + end) for name, (kind, shape, begin, end) in entries.items()}
    return TensorFile(metadata, data, moved)


def _entry(name: str, described: Any) -> tuple[torch.dtype, tuple[int, ...], int, int]:
    """The type, shape and byte range of a tensor, from its header entry."""
    try:
        dtype, shape = _TYPES[described["dtype"]], tuple(described["shape"])
        begin, end = described["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{name} is described wrongly: {error!r}") from error
    if any(type(number) is not int or number < 0 for number in (*shape, begin, end)):
        raise ValueError(f"{name} has a shape or an offset that is no natural number")
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} of shape {list(shape)} has {end - begin} bytes")
    return dtype, shape, begin, end
