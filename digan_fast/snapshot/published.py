"""The contents of a pickle of the published code, as plain data and tensors.

Each name that such a pickle uses is mapped to an inert record or to a small function of this file.
The source text that the pickles carry for every network is never read.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Final

import torch

from digan_fast.snapshot.pickles import (
    MAX_OPERATIONS,
    Budget,
    Machine,
    Record,
    SnapshotError,
    Symbol,
    read,
    scalar,
)
from digan_fast.snapshot.published_config import (
    numpy_array,
    numpy_dtype,
    numpy_scalar,
    plain,
    resolved,
)

_MAX_DIMENSIONS: Final = 8
_MAX_DEPTH: Final = 50
_MAX_MODULES: Final = 100_000


@dataclass(eq=False, repr=False, frozen=True)
class Storage:
    """The numbers of one or more tensors, as bytes of the file."""

    raw: memoryview
    dtype: torch.dtype

    def __len__(self) -> int:
        return len(self.raw) // self.dtype.itemsize

    @cached_property
    def tensor(self) -> torch.Tensor:
        """A copy of the numbers, flat."""
        if not self.raw:
            return torch.empty(0, dtype=self.dtype)
        # The bytes may be misaligned; those of the copy are not.
        return torch.frombuffer(self.raw, dtype=torch.uint8).clone().view(self.dtype)


@dataclass(eq=False, repr=False, frozen=True)
class LazyTensor:
    """A tensor of the file, read on demand; its bounds are already checked."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def load(self) -> torch.Tensor:
        """The tensor, on the CPU; tensors of one storage share memory."""
        return self.storage.tensor.as_strided(self.size, self.stride, self.offset)


@dataclass(eq=False, repr=False, frozen=True)
class PublishedNetwork:
    """A network of a published pickle: its class's name and its attributes."""

    class_name: str
    attributes: dict[str, Any]

    @property
    def init_args(self) -> list[Any]:
        """The positional arguments of its constructor, as plain data."""
        values = plain(self.attributes.get("_init_args", ()))
        if not isinstance(values, list):
            raise SnapshotError(f"the constructor arguments of {self.class_name} are no tuple")
        return values

    @property
    def init_kwargs(self) -> dict[str, Any]:
        """The keyword arguments of its constructor, as plain data, references resolved."""
        kwargs = self.attributes.get("_init_kwargs", {})
        if type(kwargs) is not dict or any(type(key) is not str for key in kwargs):
            raise SnapshotError(f"the constructor arguments of {self.class_name} have no names")
        return resolved(kwargs)

    @property
    def training(self) -> bool:
        """Whether it was saved in training mode."""
        return bool(self.attributes.get("training", False))

    def state_dict(self) -> dict[str, LazyTensor]:
        """Its parameters and persistent buffers by their full names."""
        tensors: dict[str, LazyTensor] = {}
        _collect(self, "", tensors, 0, Budget(_MAX_MODULES, "modules"))
        return tensors


def read_pickle(data: memoryview) -> dict[Any, Any]:
    """The dict in a published pickle.

    Args:
        data: the file; writable (`mmap.ACCESS_COPY`), so that torch can wrap it. The result
            refers to it.

    Returns:
        Networks as `PublishedNetwork`, everything else as `digan_fast.snapshot.pickles.read` returns it.

    Raises:
        SnapshotError: the file is damaged, hostile, or contains something other than a dict.
    """
    budget = Budget(MAX_OPERATIONS, "pickle operations")
    # The same bytes can be requested repeatedly, each time for another copy.
    size = Budget(len(data), "tensor data")
    storage = {"torch.storage._load_from_bytes": partial(_storage, budget, size)}
    value = read(data, {**_NAMES, **storage}, budget)
    if type(value) is not dict:
        raise SnapshotError(f"the pickle holds a {type(value).__name__}, not a dict of networks")
    return value


def _collect(module: Any, prefix: str, tensors: dict[str, LazyTensor], depth: int, budget: Budget) -> None:
    budget.spend()
    if depth > _MAX_DEPTH:
        raise SnapshotError(f"modules nested deeper than {_MAX_DEPTH}, or within themselves")
    attributes = module.attributes if isinstance(module, PublishedNetwork) else None
    if isinstance(module, Record) and module.name.startswith(("torch.nn.modules.container.", "digan_fast.networks.")):
        attributes = module.state
    if not isinstance(attributes, dict):
        raise SnapshotError(f"expected a network at {prefix or 'the top'!r}")
    passing = attributes.get("_non_persistent_buffers_set", ())
    for group in ("_parameters", "_buffers"):
        for name, tensor in _items(attributes, group):
            if tensor is None or (group == "_buffers" and name in passing):
                continue
            if not isinstance(tensor, LazyTensor):
                raise SnapshotError(f"expected a tensor at {prefix + name!r}")
            tensors[prefix + name] = tensor
    for name, child in _items(attributes, "_modules"):
        if child is not None:
            _collect(child, f"{prefix}{name}.", tensors, depth + 1, budget)


def _items(attributes: Mapping[str, Any], group: str) -> Iterable[tuple[str, Any]]:
    items = attributes.get(group, {})
    if not isinstance(items, dict) or any(type(name) is not str for name in items):
        raise SnapshotError(f"expected a dict of names in {group}")
    return items.items()


def own_network(value: Any) -> Any:
    """A network of digan_fast, as the published training loop pickles what it trains, as a published one."""
    if isinstance(value, Record) and value.name in _OWN_NETWORKS and isinstance(value.state, dict):
        attributes = {**value.state, "_init_kwargs": value.get("init_kwargs")}
        return PublishedNetwork(_OWN_NETWORKS[value.name], attributes)
    return value


def _record(name: str, *args: Any) -> Record:
    return Record(name, args)


def _network(meta: Any) -> PublishedNetwork:
    if type(meta) is not dict or meta.get("type") != "class":
        raise SnapshotError("expected the description of a class in a persistent object")
    class_name, state = meta.get("class_name"), meta.get("state")
    if type(class_name) is not str or type(state) is not dict:
        raise SnapshotError("expected class_name (str) and state (dict) in a persistent object")
    return PublishedNetwork(class_name, state)


def _mapping(*args: Any) -> dict[Any, Any]:
    """A dict or a subclass's object: of nothing, of pairs, or of a default's type."""
    pairs = args[0] if args and not isinstance(args[0], Symbol) else ()
    return {scalar(key): value for key, value in (pairs.items() if type(pairs) is dict else pairs)}


def _set(items: Iterable[Any] = ()) -> set[Any]:
    return {scalar(item) for item in items}


def _storage(budget: Budget, size: Budget, data: memoryview) -> Storage:
    """Reads torch.save's format from before the zip files, in which pickled storages are."""
    machine = Machine(data, _STORAGE_NAMES, budget, persistent_ids=True)
    magic, protocol, system = machine.run(), machine.run(), machine.run()
    if magic != 0x1950A86A20F9469CFC6C or protocol != 1001 or system.get("little_endian") is False:
        raise SnapshotError("a tensor's storage is not in torch.save's little-endian format")
    kind, symbol, key, _, length, view = machine.run()
    keys = machine.run()
    if kind != "storage" or not isinstance(symbol, Symbol) or keys != [key] or view is not None:
        raise SnapshotError("expected exactly one whole storage in a tensor's data")
    dtype = _STORAGES[symbol.name]
    stored = machine.unpack(struct.Struct("<q"))
    raw = data[machine.position :]
    if type(length) is not int or stored != length or len(raw) != length * dtype.itemsize:
        raise SnapshotError(f"a storage of {stored} numbers of {dtype.itemsize} bytes has {len(raw)} bytes")
    size.spend(len(raw))
    return Storage(raw, dtype)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> LazyTensor:
    numbers = (offset, *size, *stride)
    if not isinstance(storage, Storage) or any(type(n) is not int or n < 0 for n in numbers):
        raise SnapshotError("a tensor needs a storage and a non-negative offset, size and stride")
    if len(size) != len(stride) or len(size) > _MAX_DIMENSIONS:
        raise SnapshotError(f"a tensor has {len(size)} sizes and {len(stride)} strides")
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    # With strides of 0, a small storage can represent a huge tensor; no parameter or buffer has them.
    if count > len(storage) or (count and last >= len(storage)) or offset > len(storage):
        raise SnapshotError(
            f"a tensor of size {tuple(size)}, stride {tuple(stride)} and offset {offset} "
            f"reaches outside its storage of {len(storage)} numbers"
        )
    return LazyTensor(storage, offset, tuple(size), tuple(stride))


def _parameter(data: Any, *_: Any) -> LazyTensor:
    if not isinstance(data, LazyTensor):
        raise SnapshotError("expected a tensor in a parameter")
    return data


_STORAGES: Final = {
    f"torch.{name}Storage": dtype
    for name, dtype in {
        "Float": torch.float32,
        "Double": torch.float64,
        "Half": torch.float16,
        "BFloat16": torch.bfloat16,
        "Long": torch.int64,
        "Int": torch.int32,
        "Short": torch.int16,
        "Char": torch.int8,
        "Byte": torch.uint8,
        "Bool": torch.bool,
    }.items()
}
_STORAGE_NAMES: Final = {name: partial(_record, name) for name in _STORAGES}

_INERT: Final = (
    *(f"builtins.{name}" for name in ("list", "tuple", "int", "float", "bool", "str", "object")),
    *(f"omegaconf.{name}" for name in ("dictconfig.DictConfig", "listconfig.ListConfig")),
    *(f"omegaconf.base.{name}" for name in ("ContainerMetadata", "Metadata")),
    *(f"omegaconf.nodes.{kind}Node" for kind in ("Any", "Integer", "String", "Float", "Boolean")),
    *(f"torch.distributions.{name}" for name in ("beta.Beta", "dirichlet.Dirichlet")),
    *(
        f"torch.distributions.constraints._{name}"
        for name in ("Boolean", "GreaterThan", "IndependentConstraint", "Interval", "Simplex")
    ),
    *(f"torch.nn.modules.container.{name}" for name in ("Sequential", "ModuleList", "ModuleDict")),
    "numpy.ndarray",
    "torch.nn.parameter.Parameter",
    "typing.Any",
)
# Where the discriminators' classes are, and where they were.
_OF_DISCRIMINATORS: Final = ("discriminators.digan", "discriminator")
_OWN_NETWORKS: Final = {
    "digan_fast.networks.generator.Generator": "Generator",
    **{f"digan_fast.networks.{module}.Discriminator": "Discriminator" for module in _OF_DISCRIMINATORS},
}
_OWN: Final = (
    *_OWN_NETWORKS,
    *(f"digan_fast.networks.config.{name}" for name in ("GeneratorConfig", "CoordsConfig", "FeatureConfig")),
    *(f"digan_fast.networks.coordinates.{name}" for name in ("CoordFuser", "CoordsInput", "GenInput")),
    *(
        f"digan_fast.networks.{module}.{name}"
        for module in _OF_DISCRIMINATORS
        for name in ("Block", "Conv", "Epilogue", "StreamDiscriminator")
    ),
    "digan_fast.networks.convolution.Conv",
    *(f"digan_fast.networks.layers.{name}" for name in ("FullyConnected", "MappingNetwork")),
    *(f"digan_fast.networks.modulated.{name}" for name in ("SkipLayer", "SynthesisLayer", "ToRGBLayer")),
    *(f"digan_fast.networks.synthesis.{name}" for name in ("SynthesisBlock", "SynthesisNetwork")),
    *(f"torch.{name}" for name in ("bfloat16", "float16", "float32", "float64")),
)
_NUMPY: Final = ("numpy.core", "numpy._core")

_NAMES: Final[dict[str, Callable[..., Any]]] = {
    **{name: partial(_record, name) for name in (*_INERT, *_OWN)},
    **{f"{core}.multiarray.scalar": numpy_scalar for core in _NUMPY},
    **{f"{core}.multiarray._reconstruct": partial(_record, "numpy.ndarray") for core in _NUMPY},
    **{f"{core}.numeric._frombuffer": numpy_array for core in _NUMPY},
    "builtins.dict": _mapping,
    "builtins.frozenset": _set,
    "builtins.set": _set,
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": _mapping,
    "dnnlib.util.EasyDict": _mapping,
    "numpy.dtype": numpy_dtype,
    "torch.Size": tuple,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch_utils.persistence._reconstruct_persistent_obj": _network,
}
