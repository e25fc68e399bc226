"""Golden values: networks rebuilt from their seeds, and their recorded outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# Files in the published formats, and golden values of the published networks.
DATA = Path(__file__).resolve().parents[1] / "reference_data"
FOLDER = DATA / "golden"
MANIFEST: dict[str, dict[str, Any]] = json.loads((FOLDER / "manifest.json").read_text())


def arrays(case: str) -> dict[str, Tensor]:
    with np.load(FOLDER / f"{case}.npz") as file:
        return {name: torch.from_numpy(np.array(file[name])) for name in file.files}


def fill(module: nn.Module, seed: int) -> None:
    """Weights of a golden case: standard normals in sorted order of names; biases × 0.3, ``mapping.fc`` × 100."""
    state = np.random.RandomState(seed)
    with torch.no_grad():
        for name, parameter in sorted(module.named_parameters()):
            values = state.standard_normal(tuple(parameter.shape)).astype(np.float32)
            values = values * np.float32(0.3 if name.endswith("bias") else 1.0)
            values = values * np.float32(100.0 if "mapping.fc" in name else 1.0)
            parameter.copy_(torch.from_numpy(np.asarray(values)))


def relative(found: Tensor, expected: Tensor) -> float:
    """‖found − expected‖/‖expected‖, in float64."""
    difference = (found.detach().double() - expected.double()).norm()
    return float(difference / expected.double().norm())


def gradient_error(module: nn.Module, expected: dict[str, Tensor], prefix: str = "") -> float:
    """The relative error of the gradients' norms and first 8 entries, over all parameters together."""
    wrong = total = 0.0
    gradients = {name: p.grad for name, p in module.named_parameters()}
    for kind in ("gradnorm", "gradhead"):
        for name, gradient in gradients.items():
            key = f"{prefix}{kind}/{name}"
            if key not in expected:
                continue
            want = expected[key].double().flatten()
            have = torch.zeros_like(want)
            if gradient is not None:
                flat = gradient.double().flatten()
                have = flat[:8] if kind == "gradhead" else flat.norm().view(1)
            wrong += float((have - want).square().sum())
            total += float(want.square().sum())
    assert total > 0
    return (wrong / total) ** 0.5
