"""I3D once more, as one function of a dictionary of weights, in float64.

``python -m independent_i3d`` in this folder writes the golden file.
Shares nothing with ``digan_fast.metrics.features``: padding is counted from where TensorFlow's windows lie, batch
normalisation is written out, and the widths come from the table of GoogLeNet.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

GOLDEN = Path(__file__).parents[1] / "reference_data" / "i3d.safetensors"
# #1×1, #3×3 reduce, #3×3, #5×5 reduce, #5×5, pool proj of inception (3a) to (5b).
GOOGLENET = """
3b 64 96 128 16 32 32
3c 128 128 192 32 96 64
4b 192 96 208 16 48 64
4c 160 112 224 24 64 64
4d 128 128 256 24 64 64
4e 112 144 288 32 64 64
4f 256 160 320 32 128 128
5b 256 160 320 32 128 128
5c 384 192 384 48 128 128
"""
FRAMES = (9, 16)


def units() -> list[tuple[str, int, int, int]]:
    """Name, channels in, channels out and kernel of every convolution but the last."""
    found = [("Conv3d_1a_7x7", 3, 64, 7), ("Conv3d_2b_1x1", 64, 64, 1), ("Conv3d_2c_3x3", 64, 192, 3)]
    channels = 192
    for line in GOOGLENET.split("\n")[1:-1]:
        name, *numbers = line.split()
        one, reduce3, three, reduce5, five, pool = map(int, numbers)
        found += [
            (f"Mixed_{name}.b0", channels, one, 1),
            (f"Mixed_{name}.b1a", channels, reduce3, 1),
            (f"Mixed_{name}.b1b", reduce3, three, 3),
            (f"Mixed_{name}.b2a", channels, reduce5, 1),
            (f"Mixed_{name}.b2b", reduce5, five, 3),
            (f"Mixed_{name}.b3b", channels, pool, 1),
        ]
        channels = one + three + five + pool
    return found


def weights() -> dict[str, torch.Tensor]:
    """The same float32 weights everywhere: each drawn from a generator seeded with its name.

    Integers, scaled to a variance of 1: the last bits of torch.randn depend on the processor.
    """

    def draw(name: str, *shape: int) -> torch.Tensor:
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
        integers = torch.randint(-1024, 1025, shape, generator=torch.Generator().manual_seed(seed))
        return integers.float() * (math.sqrt(3) / 1024)

    found: dict[str, torch.Tensor] = {}
    for name, inputs, outputs, side in units():
        conv, norm = f"{name}.conv3d.weight", f"{name}.bn"
        found[conv] = draw(conv, outputs, inputs, side, side, side) * math.sqrt(2 / (inputs * side**3))
        found[f"{norm}.weight"] = 1 + 0.1 * draw(f"{norm}.weight", outputs)
        found[f"{norm}.bias"] = 0.1 * draw(f"{norm}.bias", outputs)
        found[f"{norm}.running_mean"] = 0.1 * draw(f"{norm}.running_mean", outputs)
        found[f"{norm}.running_var"] = 1 + 0.1 * draw(f"{norm}.running_var", outputs)
    found["logits.conv3d.weight"] = draw("logits.conv3d.weight", 400, 1024, 1, 1, 1) / 32
    found["logits.conv3d.bias"] = 0.1 * draw("logits.conv3d.bias", 400)
    return found


def clip(frames: int) -> torch.Tensor:
    """uint8 [1, T, 3, 224, 224]: moving waves with noise."""
    generator = torch.Generator().manual_seed(frames)
    t, y, x = torch.meshgrid(*(torch.arange(n).double() for n in (frames, 224, 224)), indexing="ij")
    colours = [(x / 9 + y / 17 + t * (1 + channel) / 3).sin() * 90 + 128 for channel in range(3)]
    noise = torch.randint(-30, 31, (frames, 3, 224, 224), generator=generator)
    return (torch.stack(colours, 1) + noise).clamp(0, 255).to(torch.uint8).unsqueeze(0)


def logits(state: dict[str, torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
    """float64 [B, 400]."""
    w = {name: values.double() for name, values in state.items()}
    x = (pixels.double() / 255 * 2 - 1).permute(0, 2, 1, 3, 4)

    def around(x: torch.Tensor, window: tuple[int, ...], stride: tuple[int, ...], value: float) -> torch.Tensor:
        sides: list[int] = []
        for axis in (4, 3, 2):
            size, side, step = x.shape[axis], window[axis - 2], stride[axis - 2]
            reach = side - step if size % step == 0 else side - size % step
            before = max(reach, 0) // 2
            sides += [before, max(reach, 0) - before]
        return F.pad(x, sides, value=value)

    def unit(x: torch.Tensor, name: str, step: int = 1) -> torch.Tensor:
        kernel = w[f"{name}.conv3d.weight"]
        x = F.conv3d(around(x, tuple(kernel.shape[2:]), (step,) * 3, 0.0), kernel, stride=step)
        mean, variance, gain, bias = (
            w[f"{name}.bn.{part}"].view(-1, 1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
        )
        return ((x - mean) / (variance + 0.001).sqrt() * gain + bias).clamp(min=0)

    def pool(x: torch.Tensor, window: tuple[int, ...], stride: tuple[int, ...]) -> torch.Tensor:
        return F.max_pool3d(around(x, window, stride, -math.inf), window, stride)

    x = pool(unit(x, "Conv3d_1a_7x7", 2), (1, 3, 3), (1, 2, 2))
    x = pool(unit(unit(x, "Conv3d_2b_1x1"), "Conv3d_2c_3x3"), (1, 3, 3), (1, 2, 2))
    for name in ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c"):
        if name == "4b":
            x = pool(x, (3, 3, 3), (2, 2, 2))
        if name == "5b":
            x = pool(x, (2, 2, 2), (2, 2, 2))
        m = f"Mixed_{name}"
        x = torch.cat(
            (
                unit(x, f"{m}.b0"),
                unit(unit(x, f"{m}.b1a"), f"{m}.b1b"),
                unit(unit(x, f"{m}.b2a"), f"{m}.b2b"),
                unit(pool(x, (3, 3, 3), (1, 1, 1)), f"{m}.b3b"),
            ),
            1,
        )
    pairs = (x[:, :, :-1] + x[:, :, 1:]) / 2
    pooled = pairs.mean((3, 4))
    scores = torch.einsum("oc,bct->bot", w["logits.conv3d.weight"][:, :, 0, 0, 0], pooled)
    return scores.mean(2) + w["logits.conv3d.bias"]


def main() -> None:
    state = weights()
    save_file({f"{frames} frames": logits(state, clip(frames)) for frames in FRAMES}, GOLDEN)


if __name__ == "__main__":
    main()
