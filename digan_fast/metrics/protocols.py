"""Protocols: everything that decides what a number is, as frozen records."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from digan_fast.metrics.features.network import FeatureNetwork
from digan_fast.metrics.kernel import PolynomialKernel

ClipRule = Literal["every", "disjoint", "interleaved", "one"]
Rounding = Literal["truncate", "half-up", "nearest"]

CLIP_RULES: Final[dict[str, str]] = {
    "every": "a clip starts at every frame; clips are drawn without replacement",
    "disjoint": "each video is cut into clips without common frames; clips are drawn without replacement",
    "interleaved": "each group of stride × length frames gives as many clips as the stride; drawn without replacement",
    "one": "one clip per video at a random offset",
}
ROUNDINGS: Final[dict[str, str]] = {
    "truncate": "(x + 1)/2·255 clamped, truncated",
    "half-up": "x·127.5 + 128 clamped, truncated",
    "nearest": "x·127.5 + 127.5 rounded to the nearest, clamped",
}
# The network of each metric; None: one without a published name.
NETWORKS: Final[dict[str, str | None]] = {
    "fvd": "i3d",
    "kvd": "i3d",
    "fid": "inception",
    "is": "c3d",
    "fd": None,
    "kd": None,
}
METRICS: Final = tuple(NETWORKS)


@dataclass(frozen=True)
class Protocol:
    """How one metric is measured.

    ``real`` None takes all clips there are; ``at_most``: fewer real clips are allowed.  ``network``, ``described``,
    ``sha256`` and ``resize`` are the features', ``size`` and ``crop`` those of the pictures given to them.
    """

    name: str
    metric: str
    network: str
    length: int = 16
    stride: int = 1
    clips: ClipRule = "every"
    split: str = "as given"
    real: int | None = 2048
    at_most: bool = False
    fake: int = 2048
    trials: int = 1
    rounding: Rounding = "truncate"
    covariance: Literal["n-1", "n"] = "n-1"
    root: str = "symmetric, by eigendecomposition, float64"
    kernel: PolynomialKernel | None = None
    splits: int | None = None
    size: int = 0
    crop: str = "none"
    resize: str = ""
    sha256: str = ""
    described: str = ""
    precision: str = "float32"
    seed: int = 0
    changed: tuple[str, ...] = ()

    @property
    def span(self) -> int:
        """Frames from the first to the last of a clip."""
        return (self.length - 1) * self.stride + 1

    @property
    def title(self) -> str:
        """The protocol's name and what was changed in it."""
        return f"{self.name}, changed: {', '.join(self.changed)}" if self.changed else self.name

    @property
    def metric_title(self) -> str:
        """The metric's name; the published names belong to the published networks alone."""
        names = {"fvd": "FVD", "kvd": "KVD", "fid": "FID", "is": "IS"}
        return names.get(self.metric, f"{self.metric.upper()}-{self.network}")

    def of_network(self, network: FeatureNetwork, size: int, crop: str | None) -> Protocol:
        """The same with the network's features of pictures of that size."""
        return replace(
            self,
            network=network.name,
            described=network.described,
            sha256=network.sha256,
            resize=network.resize,
            size=size,
            crop=crop or "none",
        )

    def with_changes(self, **changes: Any) -> Protocol:
        """The same with other values, which its title names; None leaves a value as it is."""
        different = {
            name: value for name, value in changes.items() if value is not None and value != getattr(self, name)
        }
        words = tuple(f"{name} {value}" for name, value in different.items())
        return replace(self, **different, changed=self.changed + words)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def key(self, names: tuple[str, ...]) -> str:
        """A hash of some of the fields."""
        values = {name: getattr(self, name) for name in names}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    def lines(self) -> list[str]:
        """A description for people, one fact per line."""
        shown: dict[str, Any] = {
            "metric": self.metric_title,
            "protocol": self.title,
            "network": self.described or self.network,
            "weights": f"SHA-256 {self.sha256}",
            "frames": f"{self.length}, stride {self.stride}",
            "pictures": f"{self.size}×{self.size}, crop {self.crop}; then {self.resize}",
            "real clips": f"{'all' if self.real is None else self.real}; {CLIP_RULES[self.clips]}",
            "split": f"asked for: {self.split}",
            "generated": f"{self.fake}, seeds from {self.seed}, {self.precision}, {ROUNDINGS[self.rounding]}",
            "trials": f"{self.trials}{'; the mean ± the population deviation' if self.trials > 1 else ''}",
        }
        if self.metric in ("fvd", "fid", "fd"):
            shown["Fréchet"] = f"covariance over {self.covariance}, root {self.root}"
        if self.kernel is not None:
            gamma = "1/features" if self.kernel.gamma is None else f"{self.kernel.gamma:g}"
            bias = "unbiased" if self.kernel.unbiased else "biased"
            shown["kernel"] = (
                f"({gamma}·x·y + {self.kernel.coef0:g})^{self.kernel.degree}, {bias}, times {self.kernel.scale:g}"
            )
        if self.splits is not None:
            shown["splits"] = self.splits
        return [f"{name:11}{value}" for name, value in shown.items()]


# What decides the features of the real clips, and which of them a run needs.
REAL_FIELDS: Final = (
    "network", "sha256", "length", "stride", "clips", "split", "real", "trials", "size", "crop", "resize", "seed",
)  # fmt: skip
# What decides the features of the generated videos.
FAKE_FIELDS: Final = (
    "network", "sha256", "length", "fake", "trials", "rounding", "size", "resize", "precision", "seed",
)  # fmt: skip

_DIGAN: Final = Protocol("digan", "fvd", "i3d", trials=10, split="UCF-101: train and test; other sets: val or test")
_STYLEGAN_V: Final = Protocol(
    "stylegan-v",
    "fvd",
    "i3d",
    clips="one",
    at_most=True,
    rounding="half-up",
    covariance="n",
    split="the one trained on; UCF-101: train and test",
)
_KVD: Final = PolynomialKernel()
_FID: Final = Protocol("", "fid", "inception", length=1, real=None, fake=50_000, rounding="half-up", covariance="n")
_IS: Final = Protocol("", "is", "c3d", fake=10_000, splits=10, at_most=True)


def _offline(base: Protocol) -> dict[str, Protocol]:
    """The same clips and statistics on features that need no file."""
    return {
        "fd": replace(base, metric="fd", network=""),
        "kd": replace(base, metric="kd", network="", kernel=_KVD),
    }


def _family(base: Protocol, score: Protocol) -> dict[str, Protocol]:
    return {
        "fvd": base,
        "kvd": replace(base, metric="kvd", kernel=_KVD),
        "fid": replace(_FID, name=base.name, split=base.split),
        "is": replace(score, name=base.name, split=base.split, rounding=base.rounding),
        **_offline(base),
    }


PROTOCOLS: Final[dict[str, dict[str, Protocol]]] = {
    "digan": _family(_DIGAN, _IS),
    "stylegan-v": _family(_STYLEGAN_V, replace(_IS, fake=2048)),
    "digan-proxy": _family(replace(_DIGAN, name="digan-proxy", real=512, fake=512, trials=5), replace(_IS, fake=2048)),
}


def named(name: str, metric: str) -> Protocol:
    """Raises ValueError for an unknown name or metric."""
    if name not in PROTOCOLS:
        raise ValueError(f"protocol: {name!r}, expected one of {', '.join(PROTOCOLS)}")
    if metric not in METRICS:
        raise ValueError(f"metrics: {metric!r}, expected some of {', '.join(METRICS)}")
    return PROTOCOLS[name][metric]
