"""Finding clips in a generator's latent space."""

from dataclasses import replace

import pytest
import torch
from moving_clips import moving_disc

from digan_fast import snapshot, video
from digan_fast.fitting import GivenClip, ProjectConfig, measure, project
from digan_fast.fitting.objective import Objective
from digan_fast.fitting.projection import mean_and_deviation
from digan_fast.inr import VideoINR, own_tensors, tuned, tuning
from digan_fast.networks import Generator, latents
from digan_fast.networks.config import coordinate_config

HELD_OUT = 20_261_128


@pytest.fixture(scope="module")
def shipped():
    return snapshot.load_generator(snapshot.shipped())


def clip_of(generator, seed, frames=16):
    """A clip of a seed as 8-bit frames."""
    z, z_motion = latents.content([seed], generator.z_dim), latents.motion([seed], generator.w_dim)
    with torch.no_grad():
        pictures = generator.inr(z, None, z_motion).render(torch.linspace(0, 1, frames))
    return GivenClip(video.to_uint8(pictures[0]))


def quality(stored, clip):
    return measure((video.to_uint8(frame[0]) for frame in stored.frames(clip.times)), clip.frames)


def tiny(**changes):
    torch.manual_seed(0)
    arguments = {
        "z_dim": 8,
        "w_dim": 8,
        "img_resolution": 16,
        "mapping_kwargs": {"num_layers": 1},
        "synthesis_kwargs": {"channel_base": 128, "channel_max": 8},
        "cfg": coordinate_config(8, sinusoids=4, rank=2, max_side=16),
        **changes,
    }
    return Generator(**arguments).eval()


def test_a_held_out_seed_of_the_shipped_snapshot_is_found_to_30_db(shipped):
    clip = clip_of(shipped, HELD_OUT)
    result = project(shipped, clip, ProjectConfig(steps=120, tuning_steps=0))
    found = quality(result.found, clip)
    assert found.psnr >= 30
    assert found.differences >= found.still + 6
    assert quality(result.video, clip) == found
    # The latents are those of the file, not only of its INR.
    with torch.no_grad():
        again = shipped.synthesis.inr(result.video.latents.ws, result.video.latents.z_motion)
    assert all(torch.equal(again.tensors()[name], t) for name, t in result.found.network.tensors().items())


def test_tuning_fits_another_clip_and_leaves_latents_and_generator():
    generator = tiny()
    parameters = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    clip = moving_disc(frames=6, height=16, width=16)
    result = project(generator, clip, ProjectConfig(steps=60, tuning_steps=150, tuning_lr=0.02))
    assert quality(result.video, clip).psnr > quality(result.found, clip).psnr + 3
    assert all(torch.equal(parameters[name], tensor) for name, tensor in generator.state_dict().items())
    assert all(parameter.requires_grad for parameter in generator.parameters())
    own = own_tensors(result.video.network)
    for name, tensor in result.video.network.tensors().items():
        assert torch.equal(tensor, result.found.network.tensors()[name]) != (name in own)
    added = tuning(result.video.network, result.found.network)
    again = tuned(result.found.network, added).tensors()
    assert all(torch.allclose(again[name], t) for name, t in result.video.network.tensors().items())


@pytest.mark.parametrize("space", ["w", "w+"])
def test_the_same_seed_gives_the_same_result(space):
    generator, clip = tiny(), moving_disc(frames=4, height=16, width=16)
    one, same, other = (
        project(generator, clip, ProjectConfig(steps=8, tuning_steps=4, space=space, seed=seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one.video.latents.ws, same.video.latents.ws)
    first, again = one.video.network.tensors(), same.video.network.tensors()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(one.video.latents.ws, other.video.latents.ws)
    spread = float(one.video.latents.ws.diff(dim=1).abs().max())
    assert (spread == 0) == (space == "w")


def test_the_mean_of_w_is_that_of_many_samples(shipped):
    mean, deviation = mean_and_deviation(shipped, None, seed=0)
    z = torch.randn(4000, shipped.z_dim, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        w = shipped.mapping(z, None, skip_w_avg_update=True)[:, 0]
    assert float((w.mean(0) - mean).norm()) < 0.1 * deviation
    assert float((w - mean).square().sum(1).mean().sqrt()) == pytest.approx(deviation, rel=0.05)


def test_a_still_video_explains_none_of_the_motion():
    clip = moving_disc(frames=6, height=16, width=16).frames.float() / 127.5 - 1
    motion = Objective(pixels=0, gradients=0, differences=1)
    still = clip.mean(0, keepdim=True).expand_as(clip)
    assert float(motion(still, clip)) == pytest.approx(1)
    assert float(motion(clip + 0.3, clip)) == pytest.approx(0, abs=1e-6)
    pixels = Objective(pixels=1, gradients=0, differences=0)
    assert float(pixels(clip.mean().expand_as(clip), clip)) == pytest.approx(1)
    gradients = Objective(pixels=0, gradients=1, differences=0)
    assert float(gradients(torch.zeros_like(clip), clip)) == pytest.approx(1)
    assert float(Objective()(clip, clip)) == 0


def test_noise_of_a_still_clip_does_not_outweigh_the_picture():
    picture = moving_disc(frames=2, height=16, width=16).frames[:1].float() / 127.5 - 1
    noise = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0)) / 127.5
    clip = picture + noise
    # The right picture without the noise is better than a wrong one with it.
    right, wrong = Objective()(picture.expand_as(clip), clip), Objective()(0.7 * picture + noise, clip)
    assert float(right) < 0.25 * float(wrong)


@pytest.mark.parametrize(("rate", "step"), [("lr", 12), ("tuning_lr", 6)])
def test_what_diverges_ends_as_the_best_found(rate, step, monkeypatch):
    generator, clip = tiny(), moving_disc(frames=4, height=16, width=16)
    config = ProjectConfig(steps=20, tuning_steps=20, noise=0)
    calls = {"lr": 0, "tuning_lr": -20}

    class Breaks(Objective):
        def __call__(self, found, clip):
            calls[rate] += 1
            return super().__call__(found, clip) * (float("nan") if calls[rate] == step + 1 else 1)

    result = project(generator, clip, replace(config, objective=Breaks()))
    assert result.diverged == rate
    assert len(result.curve.steps) == step + (20 if rate == "tuning_lr" else 0)
    part = result.curve.psnr[:step] if rate == "lr" else result.curve.psnr[20:]
    assert quality(result.video, clip).psnr == pytest.approx(max(part), abs=1e-4)
    assert quality(result.found, clip).psnr <= quality(result.video, clip).psnr


def test_latents_that_diverge_at_once_are_an_error():
    generator, clip = tiny(), moving_disc(frames=4, height=16, width=16)
    with torch.no_grad():
        generator.synthesis.inr(torch.zeros(1, generator.num_ws, 8), torch.zeros(1, 8))
        next(p for n, p in generator.named_parameters() if n.startswith("synthesis")).fill_(float("nan"))
    with pytest.raises(ValueError, match="lr: the loss or a weight is not finite at step 0"):
        project(generator, clip, ProjectConfig(steps=4, tuning_steps=0))


def test_the_weight_of_differences_keeps_motion(shipped):
    """Without it, the same steps reproduce less of the motion of a clip that is not the generator's."""
    clip = clip_of(shipped, 5)
    order = torch.arange(16).view(2, 8).T.reshape(-1)  # The first half's and the second half's frames, alternating.
    clip = GivenClip(clip.frames[order])
    found = {}
    for differences in (0.0, 2.0):
        config = ProjectConfig(steps=0, tuning_steps=40, objective=Objective(1, 0, differences))
        found[differences] = quality(project(shipped, clip, config).video, clip).differences
    assert found[2.0] > found[0.0]


def test_an_interrupt_keeps_what_was_found():
    generator, clip = tiny(), moving_disc(frames=4, height=16, width=16)
    result = project(generator, clip, ProjectConfig(steps=8, tuning_steps=4), stops=[2])
    assert result.interrupted
    assert isinstance(result.video.network, VideoINR)
    assert not result.video.network.levels[0].layers[0].weight.requires_grad


def test_a_conditional_generator_has_a_mean_for_each_class():
    generator = tiny(c_dim=2)
    clip = moving_disc(frames=4, height=16, width=16)
    first, second = (
        project(generator, clip, ProjectConfig(steps=0, tuning_steps=0), label) for label in torch.eye(2)[:, None]
    )
    assert not torch.equal(first.video.latents.ws, second.video.latents.ws)


def test_the_generator_and_the_clip_must_fit():
    clip = moving_disc(frames=4, height=8, width=8)
    with pytest.raises(ValueError, match="frames of 8×8, expected 16×16, the generator's resolution"):
        project(tiny(), clip, ProjectConfig())
    options = {"channel_base": 128, "channel_max": 8, "architecture": "orig"}
    with pytest.raises(ValueError, match="this generator has no INR: architecture"):
        project(tiny(synthesis_kwargs=options), clip, ProjectConfig())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": "z"}, "space: 'z', expected one of w, w\\+"),
        ({"noise": -1}, "noise: -1"),
        ({"steps": -1}, "steps: -1"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        ProjectConfig(**options)
