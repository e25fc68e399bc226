"""The log for TensorBoard, beside log.jsonl, for ``--tensorboard``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from digan_fast.processes import is_first_process
from digan_fast.training.config import TrainConfig

FOLDER: Final = "tensorboard"
# Numbers of a line that are no curves.
_COUNTS: Final = ("pairs",)


class Board:
    """A context that writes to the run's ``tensorboard/``; without the option, or in other processes, to nothing.

    Lines of a resumed run after ``pairs`` pairs are hidden, as they are cut from the log.
    """

    def __init__(self, config: TrainConfig, pairs: int) -> None:
        self._writer: Any = None
        if config.tensorboard and is_first_process():
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(Path(config.out) / FOLDER), purge_step=pairs + 1)

    @staticmethod
    def check(config: TrainConfig) -> None:
        """Raises ModuleNotFoundError, with what to install, if TensorBoard is asked for and missing."""
        if not config.tensorboard:
            return
        try:
            import torch.utils.tensorboard  # noqa: F401
        except ImportError as error:
            raise ModuleNotFoundError(
                '--tensorboard needs tensorboard: pip install "digan_fast[tensorboard]"'
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def scalars(self, line: Mapping[str, float]) -> None:
        """The numbers of a line of the log, over pairs."""
        if self._writer is not None:
            for name, value in line.items():
                if name not in _COUNTS:
                    self._writer.add_scalar(name, value, int(line["pairs"]))
            self._writer.flush()

    def sheet(self, path: Path, pairs: int) -> None:
        """A sample sheet, as the file has it."""
        if self._writer is not None:
            import numpy
            from PIL import Image

            with Image.open(path) as picture:
                self._writer.add_image("samples", numpy.asarray(picture.convert("RGB")), pairs, dataformats="HWC")
            self._writer.flush()
