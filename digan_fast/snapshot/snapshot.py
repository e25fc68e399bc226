"""Loading, saving and converting snapshots."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from digan_fast.files import replacing
from digan_fast.networks import Discriminator, Generator
from digan_fast.snapshot.pickles import SnapshotError
from digan_fast.snapshot.published import PublishedNetwork, read_pickle
from digan_fast.snapshot.published_config import plain

NETWORKS: Final = ("G", "D", "G_ema")

_FORMAT: Final = "digan_fast snapshot 1"
_OWN_KEYS: Final = ("format", "networks", "training_set")
_EXPECTED: Final = "expected a safetensors file of digan_fast or a published DIGAN pickle"
_POSITIONAL: Final = {
    "G": ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels"),
    "D": ("c_dim", "img_resolution", "img_channels"),
}
_STORED: Final = (torch.float16, torch.bfloat16, torch.float32)

_Path = str | os.PathLike[str]
_Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Snapshot:
    """The networks of one moment of training, and what they were trained on.

    Attributes:
        G: the generator, or None where the file has none.
        D: the discriminators, or None.
        G_ema: the generator with averaged weights, the one to make videos with, or None.
        training_set: how the data set was constructed, as plain data.
        metadata: free text by key, such as an attribution or a licence.
    """

    G: Generator | None = None
    D: Discriminator | None = None
    G_ema: Generator | None = None
    training_set: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)


def shipped() -> Path:
    """The snapshot that comes with the package.  Raises FileNotFoundError where the installation lacks it."""
    path = Path(__file__).parents[1] / "assets" / "rabbit.safetensors"
    if not path.exists():
        raise FileNotFoundError(f"{path}: the installation has no shipped snapshot")
    return path


def load(path: _Path, map_location: str | torch.device = "cpu") -> Snapshot:
    """Read a snapshot; its content decides whether it is a safetensors file or a pickle.

    A published pickle (`network-snapshot-*.pkl`) carries Python source text, which its own loader
    executes. Here nothing of a file is executed or imported, so an unknown file can be opened.

    Args:
        path: the file.
        map_location: the device of the networks.

    Returns:
        The networks in evaluation mode and in float32; the parameters of G_ema do not require
        gradients, those of G and D do. Torch's global random state stays as it was.

    Raises:
        FileNotFoundError: there is no such file.
        SnapshotError: the file is damaged, hostile or of another kind, its networks are of an
            unknown class, or their parameters do not match their configuration.
    """
    return _load(Path(path), NETWORKS, map_location)


def save(
    path: _Path,
    snapshot: Snapshot | Mapping[str, Any],
    dtype: torch.dtype | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a snapshot as safetensors, whole or not at all.

    Tensors are named `G_ema.<name in the state dict>`, and so on; the constructor arguments of
    the networks are in the file's metadata.

    Args:
        path: the file; one that is there already is replaced once the new one is complete.
        snapshot: a `Snapshot`, or its fields as a mapping.
        dtype: how floating-point numbers are stored: torch.float16 or torch.bfloat16 halve the
            file; loading gives float32 again. None keeps each tensor's own type.
        metadata: free text by key, added to the snapshot's own.

    Raises:
        SnapshotError: there is no network to save, the configuration is no plain data, a key of
            the metadata is reserved, or a number is too large for `dtype`.
    """
    from safetensors.torch import save_file

    if not isinstance(snapshot, Snapshot):
        unknown = set(snapshot) - {f.name for f in dataclasses.fields(Snapshot)}
        if unknown:
            raise SnapshotError(f"unknown fields of a snapshot: {', '.join(sorted(unknown))}")
        snapshot = Snapshot(**snapshot)
    if dtype is not None and dtype not in _STORED:
        raise SnapshotError(f"dtype: {dtype}, expected one of {', '.join(map(str, _STORED))}")
    networks = {name: getattr(snapshot, name) for name in NETWORKS}
    networks = {name: network for name, network in networks.items() if network is not None}
    if not networks:
        raise SnapshotError("the snapshot has no network to save")
    header = _header(networks, snapshot.training_set, {**snapshot.metadata, **(metadata or {})})
    tensors = {
        f"{name}.{key}": _stored(f"{name}.{key}", tensor, dtype)
        for name, network in networks.items()
        for key, tensor in network.state_dict().items()
    }
    with replacing(path) as beside:
        save_file(tensors, beside, header)


def convert(
    source: _Path,
    target: _Path,
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
    snapshot = _load(Path(source), ("G_ema",) if only_ema else NETWORKS, "cpu")
    if only_ema and snapshot.G_ema is None:
        raise SnapshotError(f"{os.fspath(source)}: it has no G_ema to convert")
    save(target, snapshot, dtype, metadata)


def read_published(path: _Path) -> dict[str, Any]:
    """Read a published pickle without building its networks.

    Args:
        path: the file.

    Returns:
        For each of G, D and G_ema that is there, a dict with `class_name` (str), `init_kwargs`
        (dict, plain data), `state_dict` (dict of tensors on the CPU) and `training` (bool); and
        `training_set` (dict, plain data).

    Raises:
        FileNotFoundError: there is no such file.
        SnapshotError: the file is damaged, hostile or of another kind.
    """
    path = Path(path)
    with _naming(path):
        if _is_safetensors(path):
            raise SnapshotError("a safetensors file, expected a published DIGAN pickle")
        networks, training_set = _pickle_fields(path)
        result: dict[str, Any] = {
            name: {
                "class_name": network.class_name,
                "init_kwargs": _init_kwargs(name, network),
                "state_dict": _tensors(network),
                "training": network.training,
            }
            for name, network in networks.items()
        }
        return {**result, "training_set": training_set}


@dataclass(frozen=True)
class _Source:
    """A network of a file: its constructor's arguments, and what reads its tensors."""

    init_kwargs: dict[str, Any]
    tensors: Callable[[], dict[str, torch.Tensor]]


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Puts the path before the message of a SnapshotError."""
    try:
        yield
    except SnapshotError as error:
        raise SnapshotError(f"{path}: {error}") from error


def _load(path: Path, wanted: Iterable[str], device: str | torch.device) -> Snapshot:
    with _naming(path):
        if _is_safetensors(path):
            sources, training_set, metadata = _safetensors_sources(path)
        else:
            networks, training_set = _pickle_fields(path)
            metadata = {}
            sources = {
                name: _Source(_init_kwargs(name, network), partial(_tensors, network))
                for name, network in networks.items()
            }
        built = {name: _build(name, sources[name]).to(device) for name in wanted if name in sources}
        return Snapshot(**built, training_set=training_set, metadata=metadata)


def _is_safetensors(path: Path) -> bool:
    """True for safetensors, False for a pickle; raises SnapshotError for anything else."""
    if path.is_dir():
        raise SnapshotError(f"a directory; {_EXPECTED}")
    with open(path, "rb") as file:
        head = file.read(9)
        size = os.fstat(file.fileno()).st_size
    # A safetensors file begins with the length of its header, whose first byte may be any.
    length = int.from_bytes(head[:8], "little")
    if head[8:] == b"{" and (length < size or head[0] != 0x80):
        return True
    if head[:1] == b"\x80":
        return False
    if head[:4] == b"PK\x03\x04":
        raise SnapshotError(f"a zip file, as torch.save writes; no DIGAN snapshot; {_EXPECTED}")
    raise SnapshotError(f"it begins with {head[:8]!r}; {_EXPECTED}" if head else "the file is empty")


def _pickle_fields(path: Path) -> tuple[dict[str, PublishedNetwork], dict[str, Any]]:
    """The networks and the training set of a published pickle."""
    with open(path, "rb") as file:
        # Copy-on-write, since torch wraps writable memory only; the file is never written.
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    fields = read_pickle(data)
    networks = {}
    for name in NETWORKS:
        network = fields.get(name)
        if network is None:
            continue
        if not isinstance(network, PublishedNetwork):
            raise SnapshotError(f"{name} is no network of the published code")
        kind = "Discriminator" if name == "D" else "Generator"
        if not network.class_name.rpartition(".")[2].endswith(kind):
            raise SnapshotError(f"{name} is of the class {network.class_name[:80]!r}, expected a {kind}")
        networks[name] = network
    if not networks:
        keys = ", ".join(str(key)[:40] for key in list(fields)[:10])
        raise SnapshotError(f"no G, D or G_ema in the pickle, which holds: {keys or 'nothing'}")
    training_set = plain(fields.get("training_set_kwargs") or {})
    if not isinstance(training_set, dict):
        raise SnapshotError("training_set_kwargs is no dict")
    return networks, training_set


def _init_kwargs(name: str, network: PublishedNetwork) -> dict[str, Any]:
    """The constructor arguments of a network, the positional ones by their names."""
    names = _POSITIONAL["D" if name == "D" else "G"]
    args, kwargs = network.init_args, network.init_kwargs
    if len(args) > len(names) or set(names[: len(args)]) & set(kwargs):
        raise SnapshotError(
            f"{name} has {len(args)} positional arguments, expected at most {len(names)} of "
            f"{', '.join(names)}, none of them named as well"
        )
    return {**dict(zip(names, args, strict=False)), **kwargs}


def _tensors(network: PublishedNetwork) -> dict[str, torch.Tensor]:
    return {name: tensor.load() for name, tensor in network.state_dict().items()}


def _safetensors_sources(
    path: Path,
) -> tuple[dict[str, _Source], dict[str, Any], dict[str, str]]:
    """The networks, the training set and the free metadata of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            keys = list(file.keys())
    except (SafetensorError, OSError, ValueError) as error:
        raise SnapshotError(f"the safetensors file is damaged: {error}") from error
    if metadata.get("format") != _FORMAT:
        raise SnapshotError(f"its format is {metadata.get('format')!r}, expected {_FORMAT!r}")
    try:
        arguments, training_set = (json.loads(metadata[key]) for key in _OWN_KEYS[1:])
    except (KeyError, ValueError, RecursionError) as error:
        raise SnapshotError(f"the metadata is damaged: {error!r}") from error
    if not isinstance(training_set, dict) or not isinstance(arguments, dict):
        raise SnapshotError("the metadata is damaged: networks and training_set are no objects")
    owners = {key.partition(".")[0] for key in keys}
    if not owners <= set(NETWORKS) or owners != set(arguments):
        raise SnapshotError(
            f"it has tensors of {sorted(owners)} and arguments for {sorted(arguments)}; "
            f"expected some of {list(NETWORKS)}"
        )

    def tensors(name: str) -> dict[str, torch.Tensor]:
        with safe_open(path, framework="pt") as file:
            return {key.removeprefix(f"{name}."): file.get_tensor(key) for key in keys if key.startswith(f"{name}.")}

    sources = {name: _Source(kwargs, partial(tensors, name)) for name, kwargs in arguments.items()}
    free = {key: value for key, value in metadata.items() if key not in _OWN_KEYS}
    return sources, training_set, free


def _build(name: str, source: _Source) -> Any:
    """A network with the tensors of a file, in evaluation mode, on the CPU."""
    kind: type[torch.nn.Module] = Discriminator if name == "D" else Generator
    tensors = source.tensors()
    try:
        # Compared before anything is made, since the arguments may ask for any amount.
        if _layers(source.init_kwargs) > len(tensors):
            raise SnapshotError(f"{name} has fewer tensors than its arguments ask for layers")
        with torch.device("meta"):
            expected = kind(**copy.deepcopy(source.init_kwargs)).state_dict()
        _compare(name, expected, tensors)
        with torch.random.fork_rng(devices=[]):
            network = kind(**copy.deepcopy(source.init_kwargs))
        network.load_state_dict(tensors)
    except SnapshotError:
        raise
    except Exception as error:
        raise SnapshotError(f"{name} cannot be built from its arguments ({type(error).__name__}: {error})") from error
    return network.eval().requires_grad_(name != "G_ema")


def _layers(arguments: Any) -> int:
    """The number of layers that the arguments ask for by number, each of which has tensors."""
    if not isinstance(arguments, dict):
        return 0
    extra = arguments.get("num_extra_convs")
    counts = [arguments.get("num_layers"), *(extra.values() if isinstance(extra, dict) else ())]
    own = sum(count for count in counts if isinstance(count, int) and count > 0)
    return own + sum(_layers(value) for value in arguments.values())


def _compare(name: str, expected: _Tensors, found: _Tensors) -> None:
    """Raises SnapshotError unless the two have the same names and shapes."""
    wrong = [f"{name}.{key} is missing" for key in expected if key not in found]
    wrong += [f"{name}.{key} is unexpected" for key in found if key not in expected]
    wrong += [
        f"{name}.{key} has shape {list(found[key].shape)}, expected {list(tensor.shape)}"
        for key, tensor in expected.items()
        if key in found and found[key].shape != tensor.shape
    ]
    if wrong:
        more = f"; and {len(wrong) - 20} more" if len(wrong) > 20 else ""
        raise SnapshotError("the tensors do not match the configuration: " + "; ".join(wrong[:20]) + more)


def _header(
    networks: Mapping[str, Any], training_set: Mapping[str, Any], metadata: Mapping[str, str]
) -> dict[str, str]:
    """The metadata of a safetensors file."""
    reserved = set(metadata) & set(_OWN_KEYS)
    if reserved:
        raise SnapshotError(f"metadata: the keys {sorted(reserved)} are reserved")
    if any(type(text) is not str for item in metadata.items() for text in item):
        raise SnapshotError("metadata: expected strings as keys and values")
    arguments = {name: network.init_kwargs for name, network in networks.items()}
    try:
        values = [json.dumps(value, allow_nan=False) for value in (arguments, training_set)]
    except (TypeError, ValueError, RecursionError) as error:
        raise SnapshotError(f"the configuration is no plain data: {error}") from error
    return {**metadata, **dict(zip(_OWN_KEYS, (_FORMAT, *values), strict=True))}


def _stored(name: str, tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """A contiguous copy on the CPU, since tensors of one file may not share memory."""
    wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
    copied = tensor.detach().to("cpu", wanted, copy=True).contiguous()
    if wanted != tensor.dtype and bool(copied.isinf().any() and tensor.isfinite().all()):
        raise SnapshotError(f"{name} has numbers that are too large for {wanted}")
    return copied
