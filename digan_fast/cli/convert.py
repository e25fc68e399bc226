"""``digan-fast convert``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from digan_fast.cli.errors import UsageError
from digan_fast.cli.options import OWN_DEFAULT
from digan_fast.cli.presentation import GivenPath


@dataclass(frozen=True)
class ConvertOptions:
    """Write a published pickle, or a snapshot of digan_fast, as safetensors.

    Nothing in the source is executed, so a file of unknown origin can be converted.
    """

    source: Annotated[tyro.conf.Positional[GivenPath], tyro.conf.arg(metavar="SOURCE")]
    """A published DIGAN pickle or a safetensors file of digan_fast."""
    target: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="TARGET")]
    """The file to write, with the suffix .safetensors."""
    dtype: Annotated[Literal["float32", "float16", "bfloat16"] | None, OWN_DEFAULT] = None
    """Storage type; float16 and bfloat16 halve the file. Default: unchanged."""
    only_ema: bool = False
    """Leave out G and D, which only training needs."""
    metadata: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=TEXT")] = ()
    """Free text to store in the file, such as "attribution=…"."""


def run(options: ConvertOptions) -> None:
    """Write the file."""
    if options.target.suffix.lower() != ".safetensors":
        raise UsageError(f"TARGET: {options.target}, expected the suffix .safetensors")
    pairs = [entry.partition("=") for entry in options.metadata]
    for entry, (key, equals, _) in zip(options.metadata, pairs, strict=True):
        if not key or not equals:
            raise UsageError(f"--metadata: {entry!r}, expected KEY=TEXT")
    import torch

    from digan_fast import snapshot

    dtype = None if options.dtype is None else getattr(torch, options.dtype)
    metadata = {key: text for key, _, text in pairs}
    snapshot.convert(options.source, options.target, dtype, options.only_ema, metadata)
    print(options.target)
