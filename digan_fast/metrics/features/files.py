"""Reads files of weights without executing anything in them, and recognises the network by its parameters."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, Final

import numpy
import torch
from torch import Tensor, nn

from digan_fast.metrics.features.c3d import C3D
from digan_fast.metrics.features.i3d import I3D
from digan_fast.metrics.features.inception import Inception
from digan_fast.metrics.features.network import FeatureNetwork
from digan_fast.metrics.features.scripted import ScriptedImages, ScriptedVideos
from digan_fast.tensor_files import read_tensors

KINDS: Final = (I3D, C3D, Inception)
MEAN: Final = "mean2.npz"
_EXPECTED: Final = "expected the weights of I3D (RGB, 400 classes), C3D (101 classes) or Inception-v3 (1,008 classes)"
_BYTES: Final = 1 << 20
# Names of batch normalisation's parts and of convolutions in the ports in use.
_RENAMED: Final = (
    (r"\.(batch3d|batch_norm|batchnorm)\.", ".bn."),
    (r"^conv3d_0c_1x1\.", "logits."),
    (r"\.branch_0\.", ".b0."),
    (r"\.branch_1\.0\.", ".b1a."),
    (r"\.branch_1\.1\.", ".b1b."),
    (r"\.branch_2\.0\.", ".b2a."),
    (r"\.branch_2\.1\.", ".b2b."),
    (r"\.branch_3\.1\.", ".b3b."),
    (r"/W$", ".weight"),
    (r"/b$", ".bias"),
)


def file_sha256(path: str | os.PathLike[str]) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_features(path: str | os.PathLike[str], run_torchscript: bool = False) -> FeatureNetwork:
    """The network whose weights a file holds, recognised by their names and shapes.

    Reads state dictionaries of torch (weights alone), safetensors, Chainer's npz, and the tensors of a TorchScript
    archive, whose code is not executed.  ``run_torchscript`` executes it instead: only for a file that is trusted.

    Raises ValueError, naming the file, if it is damaged or holds another network; FileNotFoundError.
    """
    path = Path(path)
    digest = file_sha256(path)
    try:
        scripted = _is_torchscript(path)
        if run_torchscript and not scripted:
            raise ValueError("no TorchScript archive, so there is no code to run")
        state = _torchscript_tensors(path) if scripted else _state(path)
        network = _scripted(path, state) if run_torchscript else _own(path, state)
    except Exception as error:  # Damaged files make torch and zipfile raise UnpicklingError, EOFError, BadZipFile, …
        reason = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
        reason = reason if "expected" in reason else f"{reason}, {_EXPECTED}"
        raise ValueError(f"{path}: {reason}") from error
    network.sha256, network.source = digest, path.name
    return network


def _own(path: Path, state: dict[str, Tensor]) -> FeatureNetwork:
    given = {_renamed(name): values for name, values in state.items()}
    lowered = {name.lower(): values for name, values in given.items()}
    for kind in KINDS:
        with torch.device("meta"):
            expected = _expected(kind())
        chosen = {name: lowered[name.lower()] for name in expected if name.lower() in lowered}
        if len(chosen) < len(expected) and kind is I3D:
            chosen = _by_order(given, expected)
        if len(chosen) == len(expected) and all(chosen[name].shape == expected[name].shape for name in expected):
            network: FeatureNetwork = kind()
            bad = [name for name, values in chosen.items() if not bool(values.isfinite().all())]
            if bad:
                raise ValueError(f"{bad[0]} holds values that are not finite, expected finite weights")
            network.load_state_dict({name: values.float() for name, values in chosen.items()}, strict=False)
            if isinstance(network, C3D):
                network.mean.copy_(_mean(path))
            return network
    raise ValueError(f"{_described(state)}, {_EXPECTED}")


def _expected(network: nn.Module) -> dict[str, Tensor]:
    """What a file must have: all but counters and, of C3D, the mean."""
    return {
        name: values
        for name, values in network.state_dict().items()
        if not name.endswith("num_batches_tracked") and name != "mean"
    }


def _by_order(given: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Parameters under other names, if the sequence of their shapes is the network's and their last names agree."""
    ends = ("weight", "bias", "running_mean", "running_var")
    names = [name for name in given if name.rpartition(".")[2] in ends]
    if len(names) != len(expected):
        return {}
    found = dict(zip(expected, (given[name] for name in names), strict=True))
    same_ends = all(
        own.rpartition(".")[2] == name.rpartition(".")[2] for own, name in zip(expected, names, strict=True)
    )
    return found if same_ends and all(found[name].shape == expected[name].shape for name in expected) else {}


def _renamed(name: str) -> str:
    name = name.removeprefix("module.").removeprefix("model.")
    for pattern, new in _RENAMED:
        name = re.sub(pattern, new, name)
    return name


def _described(state: dict[str, Tensor]) -> str:
    if not state:
        return "no tensor"
    first = ", ".join(f"{name} {list(values.shape)}" for name, values in list(state.items())[:2])
    return f"{len(state)} tensors ({first}, …)"


def _mean(path: Path) -> Tensor:
    """The mean beside the weights of C3D."""
    beside = path.with_name(MEAN)
    if not beside.is_file():
        raise ValueError(f"C3D needs the published mean in a file {MEAN} beside it")
    arrays = [torch.from_numpy(array).float() for array in _arrays(beside).values()]
    found = next((array for array in arrays if array.numel() == C3D().mean.numel()), None)
    if found is None:
        raise ValueError(f"{MEAN} beside it holds no array of 3×16×128×171")
    return found.view(3, 16, 128, 171)


def _state(path: Path) -> dict[str, Tensor]:
    with open(path, "rb") as file:
        head = file.read(10)
    if head[8:9] == b"{" and not head.startswith(b"PK"):
        tensors = read_tensors(memoryview(bytearray(path.read_bytes())))
        return {name: tensors.load(name) for name in tensors.names}
    if zipfile.is_zipfile(path) and any(name.endswith(".npy") for name in _members(path)):
        return {name: torch.from_numpy(array) for name, array in _arrays(path).items() if array.dtype.kind == "f"}
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict):
        raise ValueError(f"a {type(loaded).__name__}, expected a state dictionary")
    return {str(name): values for name, values in loaded.items() if isinstance(values, Tensor)}


def _arrays(path: Path) -> dict[str, Any]:
    with numpy.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _members(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    names = _members(path)
    return any(name.endswith("/constants.pkl") for name in names) and any("/code/" in name for name in names)


def _scripted(path: Path, state: dict[str, Tensor]) -> FeatureNetwork:
    module = torch.jit.load(str(path), map_location="cpu").eval()
    is_video = any(values.ndim == 5 for values in state.values())
    return ScriptedVideos(module) if is_video else ScriptedImages(module)


def _torchscript_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of an archive by its path through the modules, in the order of their definition."""
    with zipfile.ZipFile(path) as archive:
        (pickled,) = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        folder = pickled.removesuffix("data.pkl") + "data/"
        root = _Reader(archive, pickled, folder).load()
    found: dict[str, Tensor] = {}
    _collect(root, "", found)
    return found


def _collect(value: Any, name: str, found: dict[str, Tensor]) -> None:
    if isinstance(value, Tensor):
        found[name.removeprefix(".")] = value
    elif isinstance(value, _Inert):
        state = value.state
        for key, part in state.items() if isinstance(state, dict) else ():
            _collect(part, f"{name}.{key}", found)


class _Inert:
    """Stands for an object of any class, holding its state alone."""

    def __init__(self, *arguments: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Reader(pickle.Unpickler):
    """Builds tensors and inert objects; no class or function that a file names is looked up."""

    def __init__(self, archive: zipfile.ZipFile, name: str, folder: str) -> None:
        super().__init__(archive.open(name))
        self._archive = archive
        self._folder = folder

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name.endswith("Storage"):
            return name
        return _Inert

    def persistent_load(self, pid: Any) -> Any:
        kind, storage, key, _, _ = pid
        dtypes = {"FloatStorage": torch.float32, "HalfStorage": torch.float16, "DoubleStorage": torch.float64}
        if kind != "storage" or not re.fullmatch(r"\w+", str(key)):
            raise ValueError(f"a damaged archive: {pid!r}")
        data = bytearray(self._archive.read(f"{self._folder}{key}"))
        return torch.frombuffer(data, dtype=dtypes.get(storage, torch.int64)) if data else torch.empty(0)


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    return storage.as_strided(size, stride, offset).clone()
