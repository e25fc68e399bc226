"""The generator's published configuration: the options that are read, and their defaults."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from digan_fast import config_references

_RES_KEYS = ("predictable_emb_size", "use_cosine", "use_diagonal")
_MOST = 1_000_000


@dataclass(frozen=True)
class FeatureConfig:
    """Sinusoids of a level: their number K, and whether there are cosines as well as sines."""

    sinusoids: int
    use_cosine: bool

    @property
    def channels(self) -> int:
        return self.sinusoids * (2 if self.use_cosine else 1)


@dataclass(frozen=True)
class CoordsConfig:
    enabled: bool
    per_resolution: bool
    kernel_size: int
    fallback: bool
    motion_sigma: float
    res_configs: Mapping[str, Any]

    @classmethod
    def read(cls, tree: Mapping[str, Any]) -> CoordsConfig:
        dim = tree.get("coord_dim", 2)
        if dim != 2:
            raise ValueError(f"coords.coord_dim: {dim}, expected 2")
        return cls(
            enabled=_flag("coords.enabled", tree.get("enabled", True)),
            per_resolution=_flag("coords.per_resolution", tree.get("per_resolution", True)),
            kernel_size=_whole("coords.kernel_size", tree.get("kernel_size", 1)),
            fallback=_flag("coords.fallback", tree.get("fallback", False)),
            motion_sigma=_finite("coords.motion_sigma", tree.get("motion_sigma", 0.25)),
            res_configs=_sided("coords.res_configs", tree.get("res_configs")),
        )

    def features(self, side: int) -> FeatureConfig:
        """The sinusoids on the grid of this side.  Raises ValueError if the configuration has none."""
        entry = by_side(self.res_configs, side)
        if entry is None:
            raise ValueError(f"coords.res_configs: no entry for the grid of side {side}")
        name = f"coords.res_configs[{side}]"
        if not isinstance(entry, Mapping):
            raise ValueError(f"{name}: {entry!r}, expected a mapping")
        others = [key for key, value in entry.items() if value and key not in _RES_KEYS]
        if others:
            raise ValueError(f"{name}.{others[0]}: only predicted sinusoids are supported")
        sinusoids = _whole(f"{name}.predictable_emb_size", entry.get("predictable_emb_size"))
        return FeatureConfig(sinusoids, _flag(f"{name}.use_cosine", entry.get("use_cosine", False)))


@dataclass(frozen=True)
class GeneratorConfig:
    """The published ``cfg`` under its own names; ``coords`` also applies to the input unless that has its own."""

    upsampling_mode: str | None
    use_noise: bool
    num_extra_convs: Mapping[str, Any]
    input_type: str
    input_resolution: int
    input_coords: CoordsConfig
    coords: CoordsConfig
    fmm_enabled: bool
    fmm_rank: int
    fmm_activation: str
    fmm_instance_norm: bool

    @classmethod
    def read(cls, cfg: Mapping[str, Any] | None) -> GeneratorConfig:
        """From a published ``cfg`` tree (int or str keys); None gives DIGAN's.  Raises ValueError for a bad value."""
        tree = resolve(DIGAN if cfg is None else cfg)
        source = tree.get("input") or {}
        fmm = tree.get("fmm") or {}
        coords = CoordsConfig.read(tree.get("coords") or {"enabled": False})
        own = source.get("coord_fuser_cfg")
        mode = tree.get("upsampling_mode")
        if mode not in (None, "nearest", "bilinear"):
            raise ValueError(f"upsampling_mode: {mode!r}, expected nearest, bilinear or null")
        kind = source.get("type", "const")
        if kind not in ("coords", "const"):
            raise ValueError(f"input.type: {kind!r}, expected coords or const")
        activation = fmm.get("activation", "demod")
        if activation not in ("demod", "tanh", "sigmoid", "linear"):
            raise ValueError(f"fmm.activation: {activation!r}, expected demod, tanh, sigmoid or linear")
        return cls(
            upsampling_mode=mode,
            use_noise=_flag("use_noise", tree.get("use_noise", False)),
            num_extra_convs={
                side: _whole(f"num_extra_convs[{side}]", count or 0, 0)
                for side, count in _sided("num_extra_convs", tree.get("num_extra_convs")).items()
            },
            input_type=kind,
            input_resolution=_whole("input.resolution", source.get("resolution", 4)),
            input_coords=CoordsConfig.read(own) if own else coords,
            coords=coords,
            fmm_enabled=_flag("fmm.enabled", fmm.get("enabled", False)),
            fmm_rank=_whole("fmm.rank", fmm.get("rank", 1)),
            fmm_activation=activation,
            fmm_instance_norm=_flag("fmm.instance_norm", fmm.get("instance_norm", False)),
        )

    def extra_convs(self, side: int) -> int:
        return int(by_side(self.num_extra_convs, side) or 0)


def _flag(name: str, value: Any) -> bool:
    if value not in (True, False, None):
        raise ValueError(f"{name}: {value!r}, expected true or false")
    return bool(value)


def _whole(name: str, value: Any, least: int = 1) -> int:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not least <= value <= _MOST or value != value // 1:
        raise ValueError(f"{name}: {value!r}, expected a whole number, {least} to {_MOST}")
    return int(value)


def _sided(name: str, table: Any) -> Mapping[Any, Any]:
    """A table keyed by grid side, int or str; None is an empty one."""
    if not isinstance(table or {}, Mapping):
        raise ValueError(f"{name}: {table!r}, expected a mapping from sides of grids")
    for key in table or {}:
        side = int(key) if str(key).isdecimal() else 0
        if side < 4 or side & (side - 1):
            raise ValueError(f"{name}: the key {key!r}, expected the side of a grid: a power of two from 4 on")
    return table or {}


def _finite(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name}: {value!r}, expected a finite number")
    return float(value)


def by_side(table: Mapping[Any, Any], side: int) -> Any:
    """The entry for the grid of this side, with int or str keys; None if there is none."""
    return table.get(side, table.get(str(side)))


def resolve(tree: Any) -> dict[str, Any]:
    """Plain nested dicts with references resolved.  Raises ValueError for a reference to nothing or to itself."""
    if not isinstance(tree, Mapping):
        raise ValueError(f"configuration: {type(tree).__name__}, expected a mapping")
    resolved: dict[str, Any] = config_references.resolve(tree, [tree])
    return resolved


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The generator's ``cfg`` from a published YAML file, its references resolved.

    Raises ValueError, naming the file, if it is not one.
    """
    import yaml

    with open(path, encoding="utf-8") as file:
        try:
            tree = resolve(yaml.safe_load(file))
        except (yaml.YAMLError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)}: not a generator configuration: {error}") from error
    generator = tree.get("generator", tree)
    try:
        _check_keys(generator, _KEYS, "")
        _check_res_keys(generator)
        GeneratorConfig.read(generator)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{os.fspath(path)}: not a generator configuration: {error}") from error
    return dict(generator)


def _check_keys(tree: Any, known: Mapping[str, Any], path: str) -> None:
    """Raises ValueError for an unknown key, naming the closest known one."""
    if not isinstance(tree, Mapping):
        raise ValueError(f"{path.rstrip('.') or 'the file'}: {type(tree).__name__}, expected a mapping")
    for key, value in tree.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1, 0)
            raise ValueError(f"unknown key {path}{key}; the nearest known is {path}{near[0]}")
        if known[key] is not None and value is not None:
            _check_keys(value, known[key], f"{path}{key}.")


def _check_res_keys(generator: Mapping[str, Any]) -> None:
    """Raises ValueError for a misspelt key of a grid's features, including grids that the network does not have.

    Other keys belong to other kinds of features, which are off, or refused where they are used.
    """
    trees = (generator.get("coords"), (generator.get("input") or {}).get("coord_fuser_cfg"))
    entries = [entry for tree in trees for entry in ((tree or {}).get("res_configs") or {}).items()]
    for side, entry in entries:
        for key in entry if isinstance(entry, Mapping) else ():
            near = difflib.get_close_matches(str(key), _RES_KEYS, 1, 0.75)
            if near and key not in _RES_KEYS:
                path = f"coords.res_configs.{side}."
                raise ValueError(f"unknown key {path}{key}; the nearest known is {path}{near[0]}")


_COORDS_KEYS: dict[str, Any] = dict.fromkeys(
    (
        "enabled", "per_resolution", "kernel_size", "coord_dim", "fallback", "motion_sigma", "res_configs",
        "low_res_cfg", "medium_res_cfg", "high_res_cfg", "use_full_cache", "global_motion",
    )
)  # fmt: skip
# The keys of a generator's configuration, including those without effect here; None: contents not checked.
_KEYS: dict[str, Any] = {
    "fp32": None,
    "fmaps": None,
    "upsampling_mode": None,
    "use_noise": None,
    "num_extra_convs": None,
    "input": {"type": None, "resolution": None, "coord_fuser_cfg": _COORDS_KEYS},
    "coords": _COORDS_KEYS,
    "fmm": {"enabled": None, "rank": None, "activation": None, "instance_norm": None},
}


def coordinate_config(
    resolution: int,
    sinusoids: int = 128,
    rank: int = 10,
    extra_convs: Mapping[int, int] | None = None,
    max_side: int = 256,
) -> dict[str, Any]:
    """A configuration in DIGAN's form: coarse levels on a grid of side ``resolution``, FMM of the given rank."""
    entry = {"predictable_emb_size": sinusoids, "use_cosine": True}
    sides = [2**power for power in range(2, max(resolution, max_side).bit_length())]
    coords = {
        "enabled": True,
        "per_resolution": True,
        "kernel_size": 1,
        "coord_dim": 2,
        "fallback": False,
        "motion_sigma": 0.25,
        "res_configs": {str(side): entry for side in sides},
    }
    return {
        "fp32": True,
        "upsampling_mode": "nearest",
        "use_noise": False,
        "fmaps": 1,
        "num_extra_convs": {str(side): count for side, count in (extra_convs or {}).items()},
        "input": {"type": "coords", "resolution": resolution, "coord_fuser_cfg": coords},
        "coords": coords,
        "fmm": {"enabled": True, "rank": rank, "activation": "demod"},
    }


DIGAN = coordinate_config(32, extra_convs={128: 1, 256: 1}, max_side=1024)
