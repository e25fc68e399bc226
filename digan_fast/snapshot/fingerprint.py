"""Which generator latents belong to."""

from __future__ import annotations

import hashlib

import torch

from digan_fast.networks import Generator


def fingerprint(generator: Generator) -> str:
    """The SHA-256 of a generator's parameters and buffers, in float32, in hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in sorted(generator.state_dict().items()):
        digest.update(f"{name} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().data)
    return digest.hexdigest()
