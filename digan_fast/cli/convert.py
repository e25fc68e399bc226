"""``digan-fast convert``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from digan_fast.cli.arguments import UsageError
from digan_fast.cli.options import OWN_DEFAULT


@dataclass(frozen=True)
class ConvertOptions:
    """Write a published pickle, or a snapshot of digan_fast, as safetensors.

    Nothing in the source is executed, so a file of unknown origin can be converted.
    """

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    """A published DIGAN pickle or a safetensors file of digan_fast."""
    target: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="TARGET")]
    """The file to write, with the suffix .safetensors."""
    dtype: Annotated[Literal["float32", "float16", "bfloat16"] | None, OWN_DEFAULT] = None
    """How numbers are stored: the last two halve the file. Default: as they are."""
    only_ema: bool = False
    """Leave out G and D, which only training needs."""


def run(options: ConvertOptions) -> None:
    """Write the file."""
    if options.target.suffix.lower() != ".safetensors":
        raise UsageError(f"TARGET: {options.target}, expected the suffix .safetensors")
    import torch

    from digan_fast import snapshot

    dtype = None if options.dtype is None else getattr(torch, options.dtype)
    snapshot.convert(options.source, options.target, dtype, options.only_ema)
    print(options.target)
