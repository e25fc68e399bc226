"""``StoredVideo``: a file with a video's network, what it was fitted to, and how to play it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from torch import Tensor

from digan_fast.inr import io, mlp
from digan_fast.inr.mlp import VideoMLP
from digan_fast.inr.storage import packed, unpacked
from digan_fast.inr.video import VideoINR
from digan_fast.levels import Window, walk
from digan_fast.tensor_files import save_tensors

_LATENTS: Final = "latents."
_MOST: Final = 2**31


@dataclass(frozen=True)
class Clip:
    """The clip that a network was fitted to: its frames lie at times 0 to 1, evenly spaced."""

    height: int
    width: int
    frames: int
    fps: float | None = None

    def __post_init__(self) -> None:
        for name in ("height", "width", "frames"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value < _MOST:
                raise ValueError(f"clip.{name}: {value!r}, expected a positive number")
        if self.fps is not None and not (isinstance(self.fps, int | float) and 0 < self.fps < math.inf):
            raise ValueError(f"clip.fps: {self.fps!r}, expected a positive number")


@dataclass(frozen=True, eq=False)
class Latents:
    """Where in a generator's latent space a video lies: ws [1, num_ws, w_dim], z_motion [1, w_dim].

    ``generator`` is the fingerprint of the generator (:func:`digan_fast.snapshot.fingerprint`).
    """

    ws: Tensor
    z_motion: Tensor
    generator: str


@dataclass(frozen=True, eq=False)
class StoredVideo:
    """A network with the clip that it was fitted to and its latents, if there are any; with those, it is one video's.

    A ``VideoINR`` is square: a clip of H×W pixels is the centre of the square picture of side ``img_resolution`` that
    is at least as large.
    """

    network: VideoINR | VideoMLP
    clip: Clip | None = None
    latents: Latents | None = None

    def __post_init__(self) -> None:
        network, clip = self.network, self.clip
        if isinstance(network, VideoINR):
            if len(network) != 1 and (clip is not None or self.latents is not None):
                raise ValueError(f"{len(network)} videos, expected one: a clip or latents are those of one")
            if clip is not None and max(clip.height, clip.width) > network.img_resolution:
                raise ValueError(f"a clip of {clip.width}×{clip.height} from a picture of {network.img_resolution}²")
        elif clip is not None and (clip.height, clip.width) != (network.height, network.width):
            sizes = f"a clip of {clip.width}×{clip.height} from a picture of {network.width}×{network.height}"
            raise ValueError(f"{sizes}, expected the same")

    def window(self, size: int | None = None, window: Window | None = None) -> tuple[int | None, Window | None]:
        """``size`` and ``window`` of :meth:`VideoINR.frames` that show the clip with this longer side."""
        network, clip = self.network, self.clip
        if clip is None or not isinstance(network, VideoINR):
            return size, window
        unit = network.img_resolution // network.levels[0].side
        longer = max(clip.height, clip.width)
        scale = 1.0 if size is None else size / longer
        # The square picture, whose side is a multiple of the coarsest cell's, the nearest that holds the clip.
        side = max(1, math.ceil(network.img_resolution * scale / unit - 1e-9)) * unit
        height, width = (max(1, round(extent * scale)) for extent in (clip.height, clip.width))
        top, left = (side - height) // 2, (side - width) // 2
        if window is None:
            return side, (top, left, height, width)
        return side, (top + window[0], left + window[1], window[2], window[3])

    def frames(
        self,
        times: Tensor | Sequence[float],
        size: int | None = None,
        window: Window | None = None,
        levels: int | None = None,
        precision: str = "float32",
    ) -> Iterator[Tensor]:
        """A stream of frames [B, 3, H, W] at times [T], in bounded memory.

        size: the longer side in pixels; without a clip, as for :meth:`VideoINR.render`.  window: a rectangle of that
        picture.  levels and precision: as for :meth:`VideoINR.render`; a ``VideoMLP`` has neither (ValueError).
        """
        if isinstance(self.network, VideoINR):
            return self.network.frames(times, *self.window(size, window), levels, precision)
        if levels is not None:
            raise ValueError(f"levels: {levels}, but a coordinate MLP has none")
        if precision != "float32":
            raise ValueError(f"precision: {precision!r}, but a coordinate MLP is played in float32")
        return self.network.frames(times, size, window)

    def contents(self, storage: str = "float32") -> tuple[dict[str, Tensor], dict[str, str]]:
        """The tensors and the metadata of the file."""
        extra: dict[str, str] = {}
        beside: dict[str, Tensor] = {}
        if self.clip is not None:
            extra["clip"] = json.dumps(asdict(self.clip))
        if self.latents is not None:
            extra["generator"] = self.latents.generator
            beside = {f"{_LATENTS}{name}": getattr(self.latents, name) for name in ("ws", "z_motion")}
        network = self.network
        if isinstance(network, VideoINR):
            return io.contents(network.levels, network.tensors(), storage, beside, extra)
        stored = packed(network.tensors(), storage, network.exact)
        return stored | beside, {**network.metadata(), "storage": storage, **extra}

    def rounded(self, storage: str) -> StoredVideo:
        """The video as it is after saving and loading."""
        tensors, _ = StoredVideo(self.network, self.clip).contents(storage)
        read = unpacked(list(tensors), tensors.__getitem__) if storage != "float32" else tensors.__getitem__
        network: VideoINR | VideoMLP = walk(self.network, "", lambda path, _: read(path[1:]).detach())
        return replace(self, network=network)

    def save(self, path: str | os.PathLike[str], storage: str = "float32") -> None:
        """Write a safetensors file, whole or not at all; storage as for :meth:`VideoINR.save`."""
        save_tensors(path, *self.contents(storage))

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str = "cpu") -> StoredVideo:
        """Read what :meth:`save` or :meth:`VideoINR.save` wrote.  Raises ValueError, naming the file, otherwise."""

        def make(metadata: dict[str, str], names: list[str], tensor: Any) -> StoredVideo:
            network: VideoINR | VideoMLP
            if io.is_inr(metadata):
                network = VideoINR(io.levels_of(metadata, tensor))
            else:
                network = VideoMLP.read(metadata, tensor)
            clip = Clip(**json.loads(metadata["clip"])) if "clip" in metadata else None
            return cls(network, clip, _latents(metadata, names, tensor))

        return io.opened(path, device, make, "video")


def _latents(metadata: Mapping[str, str], names: Sequence[str], tensor: Any) -> Latents | None:
    if f"{_LATENTS}ws" not in names:
        return None
    ws, z_motion = tensor(f"{_LATENTS}ws"), tensor(f"{_LATENTS}z_motion")
    if ws.ndim != 3 or ws.shape[0] != 1 or z_motion.shape != (1, ws.shape[2]):
        raise ValueError(f"latents of shapes {list(ws.shape)}, {list(z_motion.shape)}, expected [1, L, D] and [1, D]")
    return Latents(ws, z_motion, metadata.get("generator", ""))


def is_stored_video(path: str | os.PathLike[str]) -> bool:
    """Whether this is a file that :meth:`StoredVideo.load` reads, by its metadata."""
    metadata = io.metadata_of(path)
    return io.is_inr(metadata) or metadata.get("format") == mlp.FORMAT
