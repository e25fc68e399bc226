"""Every golden case, through the INR and through the published form."""

from __future__ import annotations

from collections.abc import Callable

import golden
import pytest
import torch
from torch import Tensor

from digan_fast import Discriminator, Generator
from digan_fast.training.augment import DiffAugment
from digan_fast.training.loss import Loss

FORWARD = 1e-5
GRADIENT = 2e-3
# A pre-activation lies at a leaky ReLU's kink: scaling the weights by 1 + 3e-7, a float32 rounding, changes the
# gradients with respect to the times by 6.1e-3 of their norm in float64 (those of all parameters within their bound).
INPUT_GRADIENT = {"generator_instance_norm": 7e-3}
GENERATORS = [case for case in golden.MANIFEST if case.startswith("generator")]
DISCRIMINATORS = [case for case in golden.MANIFEST if case.startswith("discriminator")]
LOSSES = [case for case in golden.MANIFEST if case.startswith("loss")]

Record = Callable[[str, str, float, float], None]


def generator(case: str) -> Generator:
    made = Generator(**golden.MANIFEST[case]["kwargs"])
    golden.fill(made, golden.MANIFEST[case]["seed"])
    return made.eval()


@pytest.mark.parametrize("case", GENERATORS + DISCRIMINATORS)
def test_names_and_shapes(case: str) -> None:
    described = golden.MANIFEST[case]
    kind = Generator if case in GENERATORS else Discriminator
    made = kind(**described["kwargs"])
    assert {name: list(p.shape) for name, p in made.named_parameters()} == described["parameters"]
    assert {name: list(b.shape) for name, b in made.named_buffers()} == described["buffers"]


@pytest.mark.parametrize("case", GENERATORS)
def test_mapping(case: str, golden_error: Record) -> None:
    arrays, G = golden.arrays(case), generator(case)

    def compare(ws: Tensor, expected: str) -> None:
        golden_error(case, "mapping", golden.relative(ws, arrays[expected]), FORWARD)

    compare(G.mapping(arrays["z"], arrays["c"]), "ws")
    G.train().mapping(arrays["z"], arrays["c"])
    compare(G.eval().mapping.w_avg, "w_avg")
    compare(G.mapping(arrays["z"], arrays["c"], 0.7), "ws_truncated_0_7")
    compare(G.mapping(arrays["z"], arrays["c"], 0.5, 2), "ws_truncated_0_5_cutoff_2")


@pytest.mark.parametrize("form", ["forward", "published"])
@pytest.mark.parametrize("case", GENERATORS)
def test_synthesis_and_its_gradients(case: str, form: str, golden_error: Record) -> None:
    arrays, G = golden.arrays(case), generator(case)
    inputs = {name: arrays[name].clone().requires_grad_() for name in ("ws", "Ts", "z_motion")}
    img = getattr(G.synthesis, form)(**inputs, noise_mode="none")
    golden_error(case, f"image, {form}", golden.relative(img, arrays["img"]), FORWARD)
    (img * arrays["probe"]).sum().backward()
    golden_error(case, f"gradients, {form}", golden.gradient_error(G, arrays), GRADIENT)
    for name, tensor in inputs.items():
        key = f"grad_{name}"
        if key in arrays and arrays[key].any():
            error = golden.relative(tensor.grad, arrays[key])
            golden_error(case, f"input gradients, {form}", error, INPUT_GRADIENT.get(case, GRADIENT))


@pytest.mark.parametrize("case", GENERATORS)
def test_random_draws(case: str, golden_error: Record) -> None:
    arrays, G = golden.arrays(case), generator(case)
    with torch.no_grad():
        torch.manual_seed(7)
        video, difference = G(arrays["z"], arrays["c"], timesteps=4, noise_mode="none")
        assert difference is None
        golden_error(case, "draws", golden.relative(video, arrays["forward_4_seed7"]), FORWARD)
        torch.manual_seed(8)
        pair, difference = G(arrays["z"], arrays["c"], timesteps=2, noise_mode="none")
        golden_error(case, "draws", golden.relative(pair, arrays["forward_2_seed8"]), FORWARD)
        assert torch.equal(difference, arrays["dT_seed8"])


@pytest.mark.parametrize("case", DISCRIMINATORS)
def test_discriminator_and_its_penalty(case: str, golden_error: Record) -> None:
    arrays = golden.arrays(case)
    D = Discriminator(**golden.MANIFEST[case]["kwargs"])
    golden.fill(D, golden.MANIFEST[case]["seed"])
    pair = arrays["video_pair"].clone().requires_grad_()
    found = dict(zip(("motion_logits", "image_logits", "frames"), D(pair, arrays["c"]), strict=True))
    for name, value in found.items():
        golden_error(case, "logits", golden.relative(value, arrays[name]), FORWARD)
    total = found["motion_logits"].sum() + found["image_logits"].sum()
    (gradient,) = torch.autograd.grad(total, pair, create_graph=True)
    golden_error(case, "input gradients", golden.relative(gradient, arrays["r1_input_grad"]), GRADIENT)
    penalty = gradient.square().sum((1, 2, 3))
    golden_error(case, "penalty", golden.relative(penalty, arrays["r1"]), FORWARD)
    penalty.mean().backward()
    golden_error(case, "penalty's gradients", golden.gradient_error(D, arrays, "r1_"), GRADIENT)


@pytest.mark.parametrize("case", LOSSES)
def test_loss_phase(case: str, golden_error: Record) -> None:
    described, arrays = golden.MANIFEST[case], golden.arrays(case)
    G = Generator(**golden.MANIFEST["generator_default"]["kwargs"])
    D = Discriminator(**golden.MANIFEST["discriminator_default"]["kwargs"])
    golden.fill(G, described["seed_G"])
    golden.fill(D, described["seed_D"])
    options = dict(described["options"])
    if "diffaugment" in options:
        options["augment"] = DiffAugment(options.pop("diffaugment"))
    loss = Loss(G.mapping, G.synthesis, D, w_dim=G.w_dim, r1_gamma=described["r1_gamma"], **options)
    trained, other = (G, D) if described["phase"].startswith("G") else (D, G)
    trained.requires_grad_(True)
    other.requires_grad_(False)
    labels = torch.zeros(4, 0)
    torch.manual_seed(described["torch_seed"])
    loss.accumulate_gradients(described["phase"], arrays["real"], labels, arrays["z"], labels, described["gain"])
    assert all(p.grad is not None for p in trained.parameters())
    golden_error(case, "gradients", golden.gradient_error(trained, arrays), GRADIENT)
