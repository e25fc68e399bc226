"""Writing and converting snapshots."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any, Final

import torch

from digan_fast.networks import discriminators, generators
from digan_fast.snapshot.building import NETWORKS
from digan_fast.snapshot.pickles import SnapshotError
from digan_fast.snapshot.snapshot import FORMAT, GENERATOR_KEY, KIND_KEY, OWN_KEYS, Snapshot, load
from digan_fast.tensor_files import save_tensors

_STORED: Final = (torch.float16, torch.bfloat16, torch.float32)


def save(
    path: str | os.PathLike[str],
    snapshot: Snapshot | Mapping[str, Any],
    dtype: torch.dtype | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a snapshot as safetensors, atomically.

    Tensors are named `G_ema.<name in the state dict>`, and so on; the constructor arguments of
    the networks and the names of their kinds are in the file's metadata.

    Args:
        path: the file; an existing one is replaced once the new one is complete.
        snapshot: a `Snapshot`, or its fields as a mapping; networks may be wrapped for data-parallel
            training or compiled.
        dtype: how floating-point numbers are stored: torch.float16 or torch.bfloat16 halve the
            file; loading gives float32 again. None keeps each tensor's own type.
        metadata: free text by key, added to the snapshot's own.

    Raises:
        SnapshotError: there is no network to save, the configuration is not plain data, a key
            of the metadata is reserved, or a number is too large for `dtype`.
    """
    if not isinstance(snapshot, Snapshot):
        unknown = set(snapshot) - {f.name for f in dataclasses.fields(Snapshot)}
        if unknown:
            raise SnapshotError(f"unknown fields of a snapshot: {', '.join(sorted(unknown))}")
        snapshot = Snapshot(**snapshot)
    if dtype is not None and dtype not in _STORED:
        raise SnapshotError(f"dtype: {dtype}, expected one of {', '.join(map(str, _STORED))}")
    networks = {name: getattr(snapshot, name) for name in NETWORKS}
    networks = {name: _unwrapped(network) for name, network in networks.items() if network is not None}
    if not networks:
        raise SnapshotError("the snapshot has no network to save")
    header = _header(networks, snapshot.training_set, {**snapshot.metadata, **(metadata or {})})
    tensors = {
        f"{name}.{key}": _stored(f"{name}.{key}", tensor, dtype)
        for name, network in networks.items()
        for key, tensor in network.state_dict().items()
    }
    save_tensors(path, tensors, header)


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    dtype: torch.dtype | None = None,
    only_ema: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a snapshot of either kind as safetensors.

    Args:
        source: the file to read, as for `load`.
        target: the file to write, as for `save`.
        dtype: how floating-point numbers are stored, as for `save`.
        only_ema: leave out G and D, which only training needs.
        metadata: free text by key, added to the source's own.

    Raises:
        FileNotFoundError: `source` does not exist.
        SnapshotError: as for `load` and `save`, or `only_ema` is given and there is no G_ema.
    """
    snapshot = load(source, networks=("G_ema",) if only_ema else NETWORKS)
    if only_ema and snapshot.G_ema is None:
        raise SnapshotError(f"{os.fspath(source)}: it has no G_ema to convert")
    save(target, snapshot, dtype, metadata)


def _unwrapped(network: Any) -> Any:
    """The network inside the wrappers of DistributedDataParallel, DataParallel and torch.compile."""
    while generators.name_of(network) is None and discriminators.name_of(network) is None:
        inside = getattr(network, "module", None) or getattr(network, "_orig_mod", None)
        if inside is None:
            raise SnapshotError(f"a {type(network).__name__}, expected a Generator or a discriminator of digan_fast")
        network = inside
    return network


def _header(
    networks: Mapping[str, Any], training_set: Mapping[str, Any], metadata: Mapping[str, str]
) -> dict[str, str]:
    """The metadata of a safetensors file."""
    reserved = set(metadata) & {*OWN_KEYS, KIND_KEY, GENERATOR_KEY}
    if reserved:
        raise SnapshotError(f"metadata: the keys {sorted(reserved)} are reserved")
    if any(type(text) is not str for item in metadata.items() for text in item):
        raise SnapshotError("metadata: expected strings as keys and values")
    arguments = {name: network.init_kwargs for name, network in networks.items()}
    try:
        values = [json.dumps(value, allow_nan=False) for value in (arguments, training_set)]
    except (TypeError, ValueError, RecursionError) as error:
        raise SnapshotError(f"the configuration is no plain data: {error}") from error
    kind = discriminators.name_of(networks.get("D"))
    named = {} if kind is None else {KIND_KEY: kind}
    made = {generators.name_of(networks[name]) for name in ("G", "G_ema") if name in networks}
    if len(made) > 1:
        raise SnapshotError("G and G_ema are of different kinds")
    if made - {generators.DEFAULT}:
        named[GENERATOR_KEY] = str(made.pop())
    return {**metadata, **dict(zip(OWN_KEYS, (FORMAT, *values), strict=True)), **named}


def _stored(name: str, tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """A contiguous copy on the CPU, since tensors of one file may not share memory."""
    wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
    copied = tensor.detach().to("cpu", wanted, copy=True).contiguous()
    if wanted != tensor.dtype and bool(copied.isinf().any() and tensor.isfinite().all()):
        raise SnapshotError(f"{name} has numbers that are too large for {wanted}")
    return copied
