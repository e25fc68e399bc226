"""Initial weights from another run's networks, for ``--init``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from digan_fast import snapshot
from digan_fast.snapshot import Snapshot
from digan_fast.training.folder import snapshot_in

# The snapshot's networks from which each network is initialised; the first that is present is used.
_ORIGINS = {"G": ("G", "G_ema"), "D": ("D",), "G_ema": ("G_ema", "G")}


def load_initial(path: Path) -> Snapshot:
    """The snapshot at ``path``, or of the run in that folder.

    Raises ValueError, its message beginning with ``init``, if it cannot be read.
    """
    path = snapshot_in(path)
    try:
        return snapshot.load(path)
    except FileNotFoundError:
        raise ValueError(f"init: {path} does not exist") from None
    except (snapshot.SnapshotError, OSError) as error:
        # Both name the path.
        raise ValueError(f"init: {error}") from error


@torch.no_grad()
def start_from(found: Snapshot, networks: Mapping[str, nn.Module]) -> str:
    """Copy tensors of equal name and shape into ``networks``, any of G, D and G_ema; return a line on what was copied.

    If the snapshot has one generator, both G and G_ema start from it; if it has no D, D is unchanged.  If no parameter
    of two or more dimensions matches, nothing is copied and a ValueError that begins with ``init`` is raised.
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
        # The biases of colours and logits, and the filters, match between any two networks.
        useful = useful or any(parameter.ndim > 1 for parameter in matched)
        source = "" if origin == name else f" (those of {origin})"
        parts.append(f"{len(matched)} of {len(parameters)} parameters of {name}{source}")
    if not useful:
        raise ValueError("init: no weight of the snapshot has the name and shape of one of the new networks")
    for target, tensor in copies:
        target.copy_(tensor)
    return "init: " + "; ".join(parts)
