"""A training run that takes seconds; files with other data define their own."""

from pathlib import Path

import pytest
from small_runs import SMALL, frame_folder

from digan_fast.training.config import TrainConfig


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    data = frame_folder(tmp_path / "data" / "class" / "video", 20).parents[1]
    return TrainConfig(data=data, out=tmp_path / "run", **SMALL)  # type: ignore[arg-type]
