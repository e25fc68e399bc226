"""First weights from another run's networks, for ``--init``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from digan_fast import snapshot
from digan_fast.snapshot import Snapshot

# The networks of a snapshot that each network starts from, the first one that is there.
_ORIGINS = {"G": ("G", "G_ema"), "D": ("D",), "G_ema": ("G_ema", "G")}


def load_initial(path: Path) -> Snapshot:
    """The snapshot to start from.  Raises ValueError, its message beginning with ``init``, where it cannot be read."""
    try:
        return snapshot.load(path)
    except FileNotFoundError:
        raise ValueError(f"init: {path} does not exist") from None
    except (snapshot.SnapshotError, OSError) as error:
        # Either names the path.
        raise ValueError(f"init: {error}") from error


@torch.no_grad()
def start_from(found: Snapshot, networks: Mapping[str, nn.Module]) -> str:
    """Copy what has the same name and shape into ``networks``, some of G, D and G_ema; a line on what was copied.

    A snapshot with one generator gives it to G and G_ema both; without D, D stays as it is.  Where no tensor of two or
    more dimensions matches, the networks stay as they are and a ValueError is raised that begins with ``init``.
    """
    copies: list[tuple[torch.Tensor, torch.Tensor]] = []
    parts: list[str] = []
    useful = False
    for name, network in networks.items():
        origin = next((other for other in _ORIGINS[name] if getattr(found, other) is not None), None)
        if origin is None:
            parts.append(f"{name} starts afresh, the snapshot has none")
            continue
        tensors = getattr(found, origin).state_dict()
        alike = {
            key: tensor
            for key, tensor in network.state_dict().items()
            if key in tensors and tensors[key].shape == tensor.shape
        }
        copies += [(tensor, tensors[key]) for key, tensor in alike.items()]
        parameters = dict(network.named_parameters())
        matched = [parameter for key, parameter in parameters.items() if key in alike]
        # Biases of colours and of logits, and filters, are alike in any two networks.
        useful = useful or any(parameter.ndim > 1 for parameter in matched)
        source = "" if origin == name else f" (those of {origin})"
        parts.append(f"{len(matched)} of {len(parameters)} parameters of {name}{source}")
    if not useful:
        raise ValueError("init: no weight of the snapshot has the name and shape of one of the new networks")
    for target, tensor in copies:
        target.copy_(tensor)
    return "init: " + "; ".join(parts)
