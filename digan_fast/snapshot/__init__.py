"""Snapshots of networks: published pickles, read without executing them, and safetensors."""

from digan_fast.snapshot.pickles import SnapshotError
from digan_fast.snapshot.snapshot import (
    NETWORKS,
    Snapshot,
    convert,
    load,
    read_published,
    save,
    shipped,
)

__all__ = [
    "NETWORKS",
    "Snapshot",
    "SnapshotError",
    "convert",
    "load",
    "read_published",
    "save",
    "shipped",
]
