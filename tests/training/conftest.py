"""A training run that takes seconds; files with other data define their own."""

from pathlib import Path
from typing import Any

import pytest
import ranks
import rows
from small_runs import SMALL, frame_folder

from digan_fast.training.config import TrainConfig


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    data = frame_folder(tmp_path / "data" / "class" / "video", 20).parents[1]
    return TrainConfig(data=data, out=tmp_path / "run", **SMALL)  # type: ignore[arg-type]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    found = rows.noted(terminalreporter, "processes")
    rows.print_table(terminalreporter, "two processes against one, relative differences", ranks.DIFFERENCES, found)
