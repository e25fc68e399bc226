"""Videos as implicit neural representations: DIGAN's networks on fast, checked kernels.

Importing this package loads no kernel and touches no device; its members are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from digan_fast.dispatch import use_backend
    from digan_fast.inr import VideoINR
    from digan_fast.networks import CoordMLP, Discriminator, Generator
    from digan_fast.ops import backends
    from digan_fast.snapshot import Snapshot, load, save

_MODULES = {
    "CoordMLP": "networks",
    "Discriminator": "networks",
    "Generator": "networks",
    "Snapshot": "snapshot",
    "VideoINR": "inr",
    "backends": "ops",
    "load": "snapshot",
    "save": "snapshot",
    "use_backend": "dispatch",
}

__all__ = [
    "CoordMLP",
    "Discriminator",
    "Generator",
    "Snapshot",
    "VideoINR",
    "__version__",
    "backends",
    "load",
    "save",
    "use_backend",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'digan_fast' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"digan_fast.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
