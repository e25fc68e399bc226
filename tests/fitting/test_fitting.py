"""Training a network on one clip."""

import math

import pytest
import torch
from moving_clips import moving_disc

from digan_fast import use_backend
from digan_fast.fitting import FitConfig, fit, measure
from digan_fast.fitting.fitting import Fitting, played
from digan_fast.fitting.optimising import Schedule
from digan_fast.fitting.sampling import Points, Windows, _part

QUICK = {"size_kb": 12, "steps": 150, "pixels": 1024}


def fitted(clip=None, **options):
    return fit(moving_disc() if clip is None else clip, FitConfig(**{**QUICK, **options}))


class StopsAfter(list):
    """False until it has been asked so often."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def __bool__(self):
        self.append(0)
        return len(self) > self.steps


def same(one, other):
    first, second = (each.video.network.tensors() for each in (one, other))
    return all(torch.equal(first[name], second[name]) for name in first)


# Recorded: 38.6, 52.5 and 32.0 dB; differences 38.6, 50.4 and 31.2 dB, where a still picture has 24.4 dB.
@pytest.mark.parametrize(("network", "psnr"), [("inr", 35), ("siren", 48), ("fourier", 30)])
def test_a_small_clip_is_learnt_with_its_motion(network, psnr):
    clip = moving_disc()
    fitting = Fitting(clip, FitConfig(network=network, size_kb=60, steps=400, pixels=1024))
    fitting.video = fitting.run().video
    quality = fitting.stored_quality()
    assert quality.psnr > psnr
    assert quality.differences > quality.still + 5


@pytest.mark.parametrize("network", ["inr", "siren", "fourier"])
def test_the_same_seed_gives_the_same_network(network):
    first, again, other = (fitted(network=network, steps=20, seed=seed) for seed in (3, 3, 4))
    assert same(first, again)
    assert not same(first, other)


def test_the_global_random_state_is_not_touched():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    fitted(steps=3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("network", ["inr", "siren", "fourier"])
def test_native_steps_are_those_of_the_reference(network):
    losses = {}
    for backend in ("native", "reference"):
        with use_backend(backend):
            fitting = Fitting(moving_disc(), FitConfig(**QUICK, network=network))
            losses[backend] = [fitting.step(1.0) for _ in range(4)]
    assert losses["native"] == pytest.approx(losses["reference"], rel=1e-3)


@pytest.mark.parametrize(("extent", "length"), [(10, 10), (10, 3), (7, 4), (5, 1), (9, 8)])
def test_every_pixel_is_equally_likely(extent, length):
    generator = torch.Generator().manual_seed(0)
    counts, draws = torch.zeros(extent), 6000
    for _ in range(draws):
        first, count = _part(extent, length, generator)
        assert 0 <= first < first + count <= extent
        assert count <= length
        counts[first : first + count] += 1
    # Five standard deviations of a binomial count.
    share = counts.mean() / draws
    deviation = math.sqrt(float(share * (1 - share)) / draws)
    assert bool(((counts / draws - share).abs() <= 5 * deviation + 1e-9).all())


def test_a_window_s_loss_is_that_of_its_pixels():
    clip = moving_disc()
    fitting = Fitting(clip, FitConfig(**{**QUICK, "pixels": 18 * 24 * 8}))
    loss = Windows(clip, 18 * 24 * 8).backward(fitting.video.network, "float32", torch.Generator())
    found = fitting.video.network.render(clip.times, window=(3, 0, 18, 24))[0]
    expected = clip.frames.float() / 127.5 - 1
    assert loss == pytest.approx(float((found - expected).square().mean().detach()), rel=1e-5)


def test_points_have_the_colours_of_their_pixels():
    clip = moving_disc(frames=3, height=4, width=6)
    network = Fitting(clip, FitConfig(**QUICK, network="siren")).video.network
    coordinates, colours = Points(clip, 500).draw(network, torch.Generator().manual_seed(0))
    x, y, t = coordinates.unbind(-1)
    column, row, frame = ((x * 6 + 5) / 2, (y * 6 + 3) / 2, t + 1)
    for index in (column, row, frame):
        assert bool(((index - index.round()).abs() < 1e-5).all())
    expected = clip.frames[frame.round().long(), :, row.round().long(), column.round().long()] / 127.5 - 1
    assert torch.allclose(colours, expected)
    assert len(torch.unique(coordinates, dim=0)) == 3 * 4 * 6


def test_a_frame_larger_than_a_step_is_seen_in_windows():
    assert fitted(moving_disc(height=40, width=64), pixels=256, steps=60).curve.psnr[-1] > 14


def test_it_ends_when_the_stored_network_has_the_psnr():
    clip = moving_disc()
    result = fitted(clip, psnr=24.0, steps=2000, storage="int8")
    assert result.ended == "psnr"
    assert result.steps < 1000
    fitting = Fitting(clip, FitConfig(**{**QUICK, "storage": "int8"}))
    fitting.video = result.video
    assert fitting.stored_quality().psnr >= 24.0


def test_it_ends_on_a_plateau_after_the_rate_has_decayed():
    clip = moving_disc(frames=2, height=6, width=6)
    clip.frames[:] = 128
    result = fitted(clip, steps=6000, patience=3)
    assert result.ended == "plateau"
    assert result.steps < 4000


def test_the_schedule():
    schedule = Schedule(1000)
    assert schedule.factor(0) == 0.02
    assert schedule.factor(49) == schedule.factor(299) == schedule.factor(300) == 1
    assert schedule.factor(650) == pytest.approx(0.51)
    assert schedule.factor(999) < 0.03
    assert not schedule.decays(299)
    schedule.settle(200)
    assert schedule.end == 300
    assert schedule.factor(250) == pytest.approx(0.51)
    assert schedule.decays(200)


@pytest.mark.parametrize("network", ["inr", "siren"])
def test_an_interrupt_before_the_first_evaluation_keeps_the_steps_taken(network):
    stopped, begun = (
        Fitting(moving_disc(), FitConfig(network=network, **QUICK)).run(StopsAfter(steps)) for steps in (30, 0)
    )
    assert (stopped.ended, stopped.steps, stopped.curve.steps) == ("interrupted", 30, [])
    assert not same(stopped, begun)


def test_an_interrupt_keeps_the_best():
    result, earlier = (fit(moving_disc(), FitConfig(**QUICK), StopsAfter(steps)) for steps in (70, 50))
    assert (result.ended, result.steps, result.curve.steps) == ("interrupted", 70, [50])
    # Step 70 has not been evaluated before, and is better than step 50.
    clip = moving_disc()
    later, before = (measure(played(each.video, clip.times), clip.frames).psnr for each in (result, earlier))
    assert later > before == pytest.approx(result.curve.psnr[0], abs=1e-4)


def test_memory_of_a_step_does_not_grow_with_the_clip():
    def saved(clip):
        total = 0

        def pack(tensor):
            nonlocal total
            total += tensor.nbytes
            return tensor

        fitting = Fitting(clip, FitConfig(**QUICK))
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            fitting.step(1.0)
        return total

    # Cut windows and the levels' ancestors make a step's pixels vary.
    assert saved(moving_disc(frames=64, height=128, width=200)) < 1.5 * saved(
        moving_disc(frames=8, height=30, width=32)
    )


def test_a_diverging_fit_is_an_error():
    fitting = Fitting(moving_disc(), FitConfig(**QUICK))
    with torch.no_grad():
        fitting.video.network.levels[0].layers[0].weight.fill_(math.nan)
    with pytest.raises(ValueError, match="lr: the loss or a weight is not finite at step 0"):
        fitting.run()


class Breaks(Fitting):
    """At a step, its loss and its weights are no longer finite, or only its weights."""

    def __init__(self, step, loss):
        super().__init__(moving_disc(), FitConfig(**QUICK))
        self.left, self.loss = step, loss

    def step(self, factor):
        loss = super().step(factor)
        self.left -= 1
        if self.left >= 0:
            return loss
        with torch.no_grad():
            self.video.network.levels[0].layers[0].weight[0, 0, 0] = math.nan
        return self.loss


@pytest.mark.parametrize(("step", "loss", "steps"), [(70, math.nan, 70), (60, 0.1, 99)])
def test_a_fit_that_diverges_later_keeps_the_best_network(step, loss, steps):
    result, best = Breaks(step, loss).run(), Fitting(moving_disc(), FitConfig(**QUICK)).run(StopsAfter(50))
    assert (result.ended, result.steps, result.curve.steps) == ("diverged", steps, [50])
    assert same(result, best)


def test_an_interrupt_after_a_fit_has_diverged_keeps_finite_weights():
    result = Breaks(60, 0.1).run(StopsAfter(80))
    assert result.ended == "interrupted"
    assert all(bool(tensor.isfinite().all()) for tensor in result.video.network.tensors().values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "mlp"}, "network: 'mlp', expected one of inr, siren, fourier"),
        ({"storage": "int4"}, "storage: 'int4'"),
        ({"precision": "float16"}, "precision: 'float16'"),
        ({"steps": 0}, "steps: 0, expected 1 to"),
        ({"lr": float("nan")}, "lr: nan"),
        ({"size_kb": 1}, "size_kb: 1, expected"),
    ],
)
def test_options_are_checked_first(options, message):
    with pytest.raises(ValueError, match=message):
        fitted(**options)
