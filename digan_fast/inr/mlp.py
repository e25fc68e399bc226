"""``VideoMLP``: a video as one coordinate MLP over (x, y, t), without levels (SIREN, Fourier features)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from digan_fast import functional
from digan_fast.levels import Window, walk

FORMAT: Final = "digan_fast.VideoMLP/1"
EXACT: Final = ("frequency",)
# Points evaluated per call, which bounds memory.
_TOGETHER: Final = 1 << 18


@dataclass(frozen=True, eq=False)
class VideoMLP:
    """One video: ``functional.coord_mlp`` at (x, y, 2t − 1), its colours nominally within [−1, 1].

    The longer side of the picture spans [−1, 1]; x grows to the right, y downwards, and pixels are taken at their
    centres, so that every size samples the same function.  weights [1, O, I] and biases [1, O] per layer; ``frequency``
    [1, K, 3] of the first layer's Fourier features, or None.  ``height`` and ``width`` are the picture's at scale 1.
    """

    height: int
    width: int
    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    activation: str = "sine"
    omega: float = 30.0
    frequency: Tensor | None = None

    def at(self, coordinates: Tensor, precision: str = "float32") -> Tensor:
        """Colours [N, 3] at coordinates [N, 3]; differentiable with respect to all tensors."""
        omega = self.omega if self.activation == "sine" else 1.0
        layers = functional.mlp_layers(self.weights, self.biases, self.activation, omega)
        return functional.coord_mlp(coordinates, layers, self.frequency, precision=precision)[0]

    def coordinates(self, rows: Tensor, columns: Tensor, times: Tensor, scale: float = 1.0) -> Tensor:
        """[N, 3] for rows, columns and times [N] of the picture ``scale`` times as large."""
        extent = max(self.height, self.width)
        x = ((2 * columns + 1) / scale - self.width) / extent
        y = ((2 * rows + 1) / scale - self.height) / extent
        return torch.stack((x, y, 2 * times - 1), -1).to(self.weights[0].dtype)

    def frames(
        self, times: Tensor | Sequence[float], size: int | None = None, window: Window | None = None
    ) -> Iterator[Tensor]:
        """A stream of frames [1, 3, H, W] at times [T], evaluated in bounded memory, without gradients.

        size: the longer side of the whole picture, any; default: scale 1.  window: (top, left, height, width) in pixels
        of that picture; it may extend beyond it.
        """
        extent = max(self.height, self.width)
        scale = 1.0 if size is None else size / extent
        whole = (0, 0, max(1, round(self.height * scale)), max(1, round(self.width * scale)))
        top, left, height, width = whole if window is None else window
        device = self.weights[0].device
        columns = torch.arange(left, left + width, device=device, dtype=torch.float64)
        rows = max(1, _TOGETHER // width)
        for time in torch.as_tensor(times, dtype=torch.float64).tolist():
            parts = []
            for first in range(top, top + height, rows):
                down = torch.arange(first, min(first + rows, top + height), device=device, dtype=torch.float64)
                grid = torch.meshgrid(down, columns, indexing="ij")
                y, x = (axis.reshape(-1) for axis in grid)
                with torch.no_grad():
                    colours = self.at(self.coordinates(y, x, torch.full_like(x, time), scale))
                parts.append(colours.reshape(-1, width, colours.shape[-1]))
            yield torch.cat(parts).movedim(-1, 0).unsqueeze(0)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by its path, such as ``weights.0``."""
        found: dict[str, Tensor] = {}
        walk(self, "", found.setdefault)
        return {path[1:]: tensor for path, tensor in found.items()}

    @property
    def exact(self) -> tuple[str, ...]:
        """The tensors that are stored in float32: those that multiply coordinates."""
        return EXACT if self.frequency is not None else ("weights.0", "biases.0")

    def metadata(self) -> dict[str, str]:
        """What a file needs besides the tensors."""
        described = {
            "height": self.height,
            "width": self.width,
            "layers": len(self.weights),
            "activation": self.activation,
            "omega": self.omega,
            "frequency": self.frequency is not None,
        }
        return {"format": FORMAT, "network": json.dumps(described)}

    @classmethod
    def read(cls, metadata: Mapping[str, str], tensor: Callable[[str], Tensor]) -> VideoMLP:
        """The network of a file.  Raises ValueError, KeyError or TypeError for anything else."""
        if metadata.get("format") != FORMAT:
            raise ValueError(f"its format is {metadata.get('format')!r}, expected {FORMAT!r}")
        described: dict[str, Any] = json.loads(metadata["network"])
        layers = range(described.pop("layers"))
        frequency = tensor("frequency") if described.pop("frequency") else None
        network = cls(
            weights=tuple(tensor(f"weights.{i}") for i in layers),
            biases=tuple(tensor(f"biases.{i}") for i in layers),
            frequency=frequency,
            **described,
        )
        extents = (network.height, network.width)
        if any(type(extent) is not int or extent < 1 for extent in extents) or not layers:
            raise ValueError(f"a picture of {extents} from {len(layers)} layers, expected positive numbers")
        if any(tensor.dtype != torch.float32 for tensor in network.tensors().values()):
            raise ValueError("its tensors are not float32 after loading")
        with torch.no_grad():
            colours = network.at(network.weights[0].new_zeros(1, 3))
        if colours.shape != (1, 3) or network.weights[0].shape[0] != 1:
            raise ValueError(f"colours of shape {list(colours.shape)}, expected [1, 3] from one video's weights")
        return network

    def to(self, *args: Any, **kwargs: Any) -> VideoMLP:
        """Every tensor converted as by ``Tensor.to``."""
        moved: VideoMLP = walk(self, "", lambda _, tensor: tensor.to(*args, **kwargs))
        return moved
