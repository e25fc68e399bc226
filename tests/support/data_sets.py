"""Small data sets, laid out as the published ones."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from small_runs import frame_folder

from digan_fast import video


def moving(path: Path, frames: int = 20, size: tuple[int, int] = (24, 16), level: int = 0, fps: float = 25) -> Path:
    """A video, width × height, whose frames brighten from ``level``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (3, size[1], size[0])
    if path.suffix == ".avi":
        written = path.with_suffix(".mp4")
        moving(written, frames, size, level, fps)
        return written.rename(path)
    video.write(path, (torch.full(shape, level + 4 * index, dtype=torch.uint8) for index in range(frames)), fps=fps)
    return path


def ucf101(root: Path, lists: Path | None = None) -> Path:
    """Two classes; two videos in training's list, one in the test's, one in neither, one of a list is missing."""
    for kind in ("Archery", "YoYo"):
        for group in (1, 2):
            moving(root / kind / f"v_{kind}_g0{group}_c01.avi", level=len(kind) + group)
    folder = root / "ucfTrainTestlist" if lists is None else lists
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classInd.txt").write_text("1 Archery\n2 YoYo\n")
    training = "Archery/v_Archery_g02_c01.avi 1\nYoYo/v_YoYo_g01_c01.avi 2\nYoYo/v_YoYo_g09_c01.avi 2\n"
    (folder / "trainlist01.txt").write_text(training)
    (folder / "testlist01.txt").write_text("Archery/v_Archery_g01_c01.avi\n")
    return root


def sky(root: Path) -> Path:
    """Two levels of folders; one video is too short for a clip, one folder is empty."""
    frame_folder(root / "sky_train" / "-abc" / "-abc_1", 20)
    frame_folder(root / "sky_train" / "-abc" / "-abc_2", 2)
    frame_folder(root / "sky_train" / "xyz" / "xyz_1", 33)
    (root / "sky_train" / "xyz" / "empty").mkdir()
    frame_folder(root / "sky_test" / "qq" / "qq_1", 16)
    return root


def taichi(root: Path) -> Path:
    frame_folder(root / "train" / "id#0001#0064", 130)
    moving(root / "train" / "id#0100.mp4", 61, level=4 % 3)
    frame_folder(root / "test" / "id#0002#0064", 64)
    return root


def kinetics(root: Path) -> Path:
    moving(root / "train" / "baking cookies" / "a_000001_000011.mp4", 20)
    moving(root / "train" / "eating cake" / "b_000001_000011.mp4", 18, fps=30)
    moving(root / "val" / "eating cake" / "c_000001_000011.mp4", 17)
    return root


def zipped_frames(target: Path, folders: dict[str, int]) -> Path:
    """A zip file as StyleGAN-V reads it, made of folders of so many frames, unzipped beside it."""
    with zipfile.ZipFile(target, "w") as archive:
        for name, frames in folders.items():
            folder = frame_folder(target.with_suffix("") / name, frames)
            for frame in sorted(folder.iterdir(), reverse=True):
                archive.write(frame, f"{name}/{frame.name}")
        archive.writestr("dataset.json", "{}")
    return target
