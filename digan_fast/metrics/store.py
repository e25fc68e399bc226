"""Features on disk, in blocks written whole: what a killed run has is found again, and processes share it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from digan_fast.files import replacing
from digan_fast.tensor_files import read_tensors, save_tensors

# Clips in a block.
BLOCK: Final = 64
_RECORD: Final = "record.json"
_NAME: Final = "features"


class Store:
    """A folder with the features [N, R, D] of N clips, block by block, and a record of what they are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def record(self) -> dict[str, Any] | None:
        """What :meth:`begin` wrote; None if there is nothing, or it is damaged."""
        try:
            found = json.loads((self.folder / _RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def begin(self, record: dict[str, Any]) -> None:
        """Empties the folder and writes the record."""
        self.remove()
        with replacing(self.folder / _RECORD) as part:
            part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def has(self, block: int, count: int) -> bool:
        """Whether there are features of a block's ``count`` clips; damaged ones are to be computed again."""
        if not self._path(block).is_file():
            return False
        try:
            rows = self.read(block)
        except (ValueError, OSError):
            return False
        return rows.ndim == 3 and len(rows) == count and bool(rows.isfinite().all())

    def write(self, block: int, rows: Tensor) -> None:
        save_tensors(self._path(block), {_NAME: rows}, {})

    def read(self, block: int) -> Tensor:
        """[n, R, D].  Raises ValueError, naming the file, if it is missing or damaged."""
        path = self._path(block)
        try:
            return read_tensors(memoryview(bytearray(path.read_bytes()))).load(_NAME)
        except FileNotFoundError:
            raise ValueError(f"{path}: missing; do all processes share this folder?") from None
        except (ValueError, KeyError) as error:
            raise ValueError(f"{path}: damaged, remove it: {error}") from error

    def rows(self, chosen: Tensor) -> Iterator[Tensor]:
        """The rows [·, D] of clips with the given numbers, block by block, in ascending order."""
        blocks, sizes = (chosen.sort().values // BLOCK).unique_consecutive(return_counts=True)
        parts = chosen.sort().values.split(sizes.tolist())
        for block, numbers in zip(blocks.tolist(), parts, strict=True):
            yield self.read(block)[numbers - block * BLOCK].flatten(0, 1)

    def _path(self, block: int) -> Path:
        return self.folder / f"{block:06d}.safetensors"
