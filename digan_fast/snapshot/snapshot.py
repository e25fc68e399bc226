"""Defines snapshots and reads them."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

import torch

from digan_fast.networks import Generator, generators
from digan_fast.snapshot.building import NETWORKS, Source, build
from digan_fast.snapshot.pickles import SnapshotError
from digan_fast.snapshot.published import PublishedNetwork, own_network, read_pickle
from digan_fast.snapshot.published_config import plain
from digan_fast.tensor_files import read_tensors

FORMAT: Final = "digan_fast snapshot 1"
OWN_KEYS: Final = ("format", "networks", "training_set")
# The name of the discriminator; files without it have DIGAN's.
KIND_KEY: Final = "discriminator_kind"
# The name of the generator, for others than DIGAN's.
GENERATOR_KEY: Final = "generator_kind"
_EXPECTED: Final = "expected a safetensors file of digan_fast or a published DIGAN pickle"
_POSITIONAL: Final = {
    "G": ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels"),
    "D": ("c_dim", "img_resolution", "img_channels"),
}
_Path = str | os.PathLike[str]


@dataclass(frozen=True)
class Snapshot:
    """The networks of one moment of training, and what they were trained on.

    Attributes:
        G: the generator, a `Generator` unless the file names another kind, or None.
        D: the discriminator, a `Discriminator` unless the file names another kind, or None.
        G_ema: the generator with averaged weights, the one to make videos with, or None.
        training_set: how the data set was constructed, as plain data.
        metadata: free text by key, such as an attribution or a licence.
    """

    G: Any = None
    D: Any = None
    G_ema: Any = None
    training_set: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """A network or `training_set_kwargs`, by its key in a published pickle.  Raises KeyError without it."""
        found = self.training_set if name == "training_set_kwargs" else None
        if name in NETWORKS:
            found = getattr(self, name)
        if found is None:
            raise KeyError(name)
        return found

    def __contains__(self, name: object) -> bool:
        return name == "training_set_kwargs" or (name in NETWORKS and getattr(self, str(name)) is not None)


def shipped() -> Path:
    """The snapshot that ships with the package.  Raises FileNotFoundError if the installation lacks it."""
    path = Path(__file__).parents[1] / "assets" / "rabbit.safetensors"
    if not path.exists():
        raise FileNotFoundError(f"{path}: the installation has no shipped snapshot")
    return path


def load(
    path: _Path | BinaryIO,
    map_location: str | torch.device = "cpu",
    networks: Iterable[str] = NETWORKS,
) -> Snapshot:
    """Read a snapshot; its content decides whether it is a safetensors file or a pickle.

    A published pickle (`network-snapshot-*.pkl`) carries Python source text, which its own loader
    executes. Here nothing of a file is executed or imported, so an unknown file can be opened.

    Args:
        path: the file, or one that is open for reading bytes and is read to its end.
        map_location: the device of the networks.
        networks: which of G, D and G_ema to build; the others are None and are not read.

    Returns:
        The networks in evaluation mode and in float32; the parameters of G_ema do not require
        gradients, those of G and D do. Torch's global random state is unchanged.

    Raises:
        FileNotFoundError: there is no such file.
        SnapshotError: the file is damaged, hostile or of another kind, its networks are of an
            unknown class, or their parameters do not match their configuration.
        ValueError: `networks` contains an unknown name.
    """
    wanted = tuple(networks)
    unknown = set(wanted) - set(NETWORKS)
    if unknown:
        raise ValueError(f"networks: {sorted(unknown)}, expected some of {', '.join(NETWORKS)}")
    with _named(path):
        contents = _contents(path)
        built = {name: _built(name, contents).to(map_location) for name in wanted if name in contents.sources}
        return Snapshot(**built, training_set=contents.training_set, metadata=contents.metadata)


def load_generator(path: _Path | BinaryIO, map_location: str | torch.device = "cpu") -> Generator:
    """The generator to make videos with: G_ema, or G if there is none; nothing else of the file is built.

    Raises SnapshotError if it has neither, or one that does not make INRs, and what `load` raises.
    """
    with _named(path):
        contents = _contents(path)
        name = next((name for name in ("G_ema", "G") if name in contents.sources), None)
        if name is None:
            raise SnapshotError("it has no generator")
        generator = _built(name, contents)
        if not isinstance(generator, Generator):
            raise SnapshotError(f"{generator.synthesis.why_not_inr()}, where one of INRs is needed")
        return generator.to(map_location)


def generator_kind(path: _Path) -> str:
    """The kind of the generator of a file, by its name; DIGAN's unless the file names another.

    Raises FileNotFoundError, or SnapshotError if the file is no snapshot.
    """
    with _named(path):
        sources = _contents(path).sources
        found = next((source for name, source in sources.items() if name != "D"), None)
        return (found.kind if isinstance(found, Source) else None) or generators.DEFAULT


def read_published(path: _Path | BinaryIO) -> dict[str, Any]:
    """Read a published pickle without building its networks.

    Args:
        path: the file.

    Returns:
        For each of G, D and G_ema in the file, a dict with `class_name` (str), `init_kwargs`
        (dict, plain data), `state_dict` (dict of tensors on the CPU) and `training` (bool); and
        `training_set` (dict, plain data).

    Raises:
        FileNotFoundError: there is no such file.
        SnapshotError: the file is damaged, hostile or of another kind.
    """
    with _named(path):
        data = _data(path)
        if _is_safetensors(data):
            raise SnapshotError("a safetensors file, expected a published DIGAN pickle")
        networks, training_set = _pickle_fields(data)
        for network in networks.values():
            if isinstance(network, SnapshotError):
                raise network
        result: dict[str, Any] = {
            name: {
                "class_name": network.class_name,
                "init_kwargs": _init_kwargs(name, network),
                "state_dict": _tensors(network),
                "training": network.training,
            }
            for name, network in networks.items()
            if isinstance(network, PublishedNetwork)
        }
        return {**result, "training_set": training_set}


@dataclass(frozen=True)
class _Contents:
    """The contents of a file, with networks not yet built; for one that cannot be built, the reason."""

    sources: dict[str, Source | SnapshotError]
    training_set: dict[str, Any]
    metadata: dict[str, str]


def _built(name: str, contents: _Contents) -> Any:
    source = contents.sources[name]
    if isinstance(source, SnapshotError):
        raise source
    network = build(name, source)
    names = contents.training_set.get("classes")
    if name != "D" and isinstance(names, list):
        network.class_names = [str(name) for name in names]
    return network


@contextlib.contextmanager
def _named(path: _Path | BinaryIO) -> Iterator[None]:
    """Puts the path before the message of a SnapshotError."""
    try:
        yield
    except SnapshotError as error:
        name = getattr(path, "name", "the open file") if _is_open(path) else os.fspath(path)  # type: ignore[arg-type]
        raise SnapshotError(f"{name}: {error}") from error


def _is_open(path: _Path | BinaryIO) -> bool:
    return hasattr(path, "read")


def _data(path: _Path | BinaryIO) -> memoryview:
    """The bytes of a file, writable, since torch wraps only writable memory; the file itself is never written."""
    if not isinstance(path, str | os.PathLike):
        found = path.read()
        if not isinstance(found, bytes):
            raise SnapshotError(f"it gives {type(found).__name__}; open it for reading bytes")
        return memoryview(bytearray(found))
    if Path(path).is_dir():
        raise SnapshotError(f"a directory; {_EXPECTED}")
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))


def _contents(path: _Path | BinaryIO) -> _Contents:
    data = _data(path)
    if _is_safetensors(data):
        return _safetensors_contents(data)
    networks, training_set = _pickle_fields(data)
    return _Contents({name: _source(name, network) for name, network in networks.items()}, training_set, {})


def _source(name: str, network: PublishedNetwork | SnapshotError) -> Source | SnapshotError:
    if isinstance(network, SnapshotError):
        return network
    try:
        return Source(_init_kwargs(name, network), partial(_tensors, network))
    except SnapshotError as error:
        return error


def _is_safetensors(data: memoryview) -> bool:
    """True for safetensors, False for a pickle; raises SnapshotError for anything else."""
    head, size = bytes(data[:9]), len(data)
    # A safetensors file begins with the length of its header, whose first byte may be any.
    length = int.from_bytes(head[:8], "little")
    if head[8:] == b"{" and (length < size or head[0] != 0x80):
        return True
    if head[:1] == b"\x80":
        return False
    if head[:4] == b"PK\x03\x04":
        raise SnapshotError(f"a zip file, as torch.save writes; no DIGAN snapshot; {_EXPECTED}")
    raise SnapshotError(f"it begins with {head[:8]!r}; {_EXPECTED}" if head else "the file is empty")


def _pickle_fields(data: memoryview) -> tuple[dict[str, PublishedNetwork | SnapshotError], dict[str, Any]]:
    """The networks, or an error for an entry that is not one, and the training set of a published pickle."""
    fields = read_pickle(data)
    networks: dict[str, PublishedNetwork | SnapshotError] = {}
    for name in NETWORKS:
        network = own_network(fields.get(name))
        if network is None:
            continue
        kind = "Discriminator" if name == "D" else "Generator"
        if not isinstance(network, PublishedNetwork):
            networks[name] = SnapshotError(f"{name} is no network of the published code")
        elif not network.class_name.rpartition(".")[2].endswith(kind):
            found = network.class_name[:80]
            networks[name] = SnapshotError(f"{name} is of the class {found!r}, expected a {kind}")
        else:
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


def _safetensors_contents(data: memoryview) -> _Contents:
    """The networks, the training set and the free metadata of a safetensors file."""
    try:
        tensors = read_tensors(data)
    except ValueError as error:
        raise SnapshotError(f"the safetensors file is damaged: {error}") from error
    metadata = tensors.metadata
    if metadata.get("format") != FORMAT:
        raise SnapshotError(f"its format is {metadata.get('format')!r}, expected {FORMAT!r}")
    try:
        arguments, training_set = (json.loads(metadata[key]) for key in OWN_KEYS[1:])
    except (KeyError, ValueError, RecursionError) as error:
        raise SnapshotError(f"the metadata is damaged: {error!r}") from error
    if not isinstance(training_set, dict) or not isinstance(arguments, dict):
        raise SnapshotError("the metadata is damaged: networks and training_set are no objects")
    owners = {key.partition(".")[0] for key in tensors.names}
    if not owners <= set(NETWORKS) or owners != set(arguments):
        raise SnapshotError(
            f"it has tensors of {sorted(owners)} and arguments for {sorted(arguments)}; "
            f"expected some of {list(NETWORKS)}"
        )

    def of(name: str) -> dict[str, torch.Tensor]:
        own = [key for key in tensors.names if key.startswith(f"{name}.")]
        return {key.removeprefix(f"{name}."): tensors.load(key) for key in own}

    sources: dict[str, Source | SnapshotError] = {
        name: Source(kwargs, partial(of, name), metadata.get(KIND_KEY if name == "D" else GENERATOR_KEY))
        for name, kwargs in arguments.items()
    }
    free = {key: value for key, value in metadata.items() if key not in (*OWN_KEYS, KIND_KEY, GENERATOR_KEY)}
    return _Contents(sources, training_set, free)
