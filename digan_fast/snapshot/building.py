"""Builds a network from the arguments and tensors of a file."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch

from digan_fast.networks import discriminators, generators
from digan_fast.snapshot.pickles import SnapshotError

NETWORKS: Final = ("G", "D", "G_ema")

_Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Source:
    """A network of a file: its constructor's arguments, what reads its tensors, and the name of its kind, if any."""

    init_kwargs: dict[str, Any]
    tensors: Callable[[], dict[str, torch.Tensor]]
    kind: str | None = None


def build(name: str, source: Source) -> Any:
    """A network with the tensors of a file, in evaluation mode, on the CPU.  Raises SnapshotError."""
    try:
        kinds = discriminators if name == "D" else generators
        kind: type[torch.nn.Module] = kinds.named(source.kind or kinds.DEFAULT)
    except ValueError as error:
        raise SnapshotError(f"{name} is of an unknown kind: {error}") from error
    tensors = source.tensors()
    try:
        # Compared before anything is allocated, since the arguments may request any amount of memory.
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
    """Raises SnapshotError unless both have the same names and shapes."""
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
