"""Configurations and numpy values in the pickles of the published code, as plain data."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from digan_fast.config_references import resolve
from digan_fast.snapshot.pickles import Budget, Record, SnapshotError, Symbol

_MAX_ARRAY: Final = 100_000
_MAX_DIMENSIONS: Final = 8
_MAX_DEPTH: Final = 50
_MAX_VALUES: Final = 1_000_000
_NUMBERS: Final = re.compile(r"b1|[iu][1248]|f[248]")
_CONTAINERS: Final = ("omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig")


def plain(value: Any, budget: Budget | None = None) -> Any:
    """Dicts, lists, numbers and strings in place of configuration records, tuples and arrays.

    Raises:
        SnapshotError: it contains anything else, or is too large, too deep or cyclic.
    """
    return _plain(value, 0, budget or Budget(_MAX_VALUES, "configuration values"))


def resolved(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data for each of `values`, with references like `${coords.low_res_cfg}` resolved.

    A reference is looked up in the configuration around each value, in the value itself, and
    below `generator`, where the published configurations keep their networks.

    Raises:
        SnapshotError: a reference leads nowhere or to itself; otherwise as `plain`.
    """
    spent = Budget(_MAX_VALUES, "configuration values")
    converted = {key: plain(value, spent) for key, value in values.items()}
    around = {id(root): root for root in map(_root, filter(_is_record, values.values()))}
    roots = [plain(root, spent) for root in around.values()]
    roots = [root for root in (*roots, *converted.values()) if isinstance(root, dict)]
    budget = Budget(_MAX_VALUES, "values behind references")
    try:
        return {
            key: resolve(value, roots, budget.spend) if isinstance(value, (dict, list)) else value
            for key, value in converted.items()
        }
    except SnapshotError:
        raise
    except ValueError as error:
        raise SnapshotError(str(error)) from error


def _plain(value: Any, depth: int, budget: Budget) -> Any:
    budget.spend()
    if depth > _MAX_DEPTH:
        raise SnapshotError(f"configuration nested deeper than {_MAX_DEPTH}, or within itself")
    if isinstance(value, Record):
        if value.name == "numpy.ndarray":
            return _array_values(value)
        if value.name.startswith("omegaconf.nodes."):
            return _plain(value.get("_val"), depth + 1, budget)
        if value.name in _CONTAINERS:
            return _plain(value.get("_content"), depth + 1, budget)
    if isinstance(value, dict):
        return {key: _plain(item, depth + 1, budget) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1, budget) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    name = value.name if isinstance(value, (Record, Symbol)) else type(value).__name__
    raise SnapshotError(f"expected plain configuration values, found {name}")


def _is_record(value: Any) -> bool:
    return isinstance(value, Record)


def _root(node: Record) -> Record:
    """The outermost configuration around a node, against which references are resolved."""
    for _ in range(_MAX_DEPTH):
        parent = node.get("_parent")
        if not isinstance(parent, Record):
            return node
        node = parent
    raise SnapshotError(f"configuration nested deeper than {_MAX_DEPTH}, or within itself")


def numpy_dtype(spec: Any, *_: Any) -> Record:
    """Stands for `numpy.dtype`; only numeric types are accepted, never objects."""
    if type(spec) is not str or not _NUMBERS.fullmatch(spec):
        raise SnapshotError(f"expected a numpy dtype of numbers, got {str(spec)[:20]!r}")
    return Record("numpy.dtype", (spec,))


def _array(shape: Any, dtype: Any, raw: Any, order: str = "C") -> np.ndarray[Any, Any]:
    if not isinstance(dtype, Record) or dtype.name != "numpy.dtype":
        raise SnapshotError("expected a numpy dtype")
    big_endian = type(dtype.state) is tuple and dtype.state[1] == ">"
    kind = np.dtype((">" if big_endian else "<") + dtype.args[0])
    if type(shape) is not tuple or any(type(n) is not int or n < 0 for n in shape):
        raise SnapshotError("expected a numpy shape of non-negative integers")
    count = math.prod(shape)
    if count > _MAX_ARRAY or len(shape) > _MAX_DIMENSIONS or (count == 0 and len(shape) > 1):
        raise SnapshotError(f"a numpy array of {count} numbers, where {_MAX_ARRAY} are allowed")
    if not isinstance(raw, memoryview) or len(raw) != count * kind.itemsize:
        raise SnapshotError(f"a numpy array of shape {shape} has data of another length")
    return np.frombuffer(raw, kind).reshape(shape, order="F" if order == "F" else "C")


def _array_values(record: Record) -> Any:
    if type(record.state) is not tuple or len(record.state) != 5:
        raise SnapshotError("expected the version, shape, dtype, order and data of a numpy array")
    _, shape, dtype, fortran, raw = record.state
    return _array(shape, dtype, raw, "F" if fortran else "C").tolist()


def numpy_array(raw: Any, dtype: Any, shape: Any, order: Any) -> Record:
    """Stands for `numpy._core.numeric._frombuffer`."""
    return Record("numpy.ndarray", (), (1, shape, dtype, order == "F", raw))


def numpy_scalar(dtype: Any, raw: Any) -> Any:
    """Stands for `numpy._core.multiarray.scalar`."""
    return _array((), dtype, raw).item()
