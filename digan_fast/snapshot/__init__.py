"""Snapshots of networks: published pickles, read without executing them, and safetensors."""

from digan_fast.snapshot.building import NETWORKS
from digan_fast.snapshot.fingerprint import fingerprint
from digan_fast.snapshot.pickles import SnapshotError
from digan_fast.snapshot.saving import convert, save
from digan_fast.snapshot.snapshot import Snapshot, generator_kind, load, load_generator, read_published, shipped

__all__ = [
    "NETWORKS",
    "Snapshot",
    "SnapshotError",
    "convert",
    "fingerprint",
    "generator_kind",
    "load",
    "load_generator",
    "read_published",
    "save",
    "shipped",
]
