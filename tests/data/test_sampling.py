"""The pairs of frames that training sees, as a function of their numbers."""

from __future__ import annotations

import itertools

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from digan_fast.data.sampling import CLIPS, Drawn, Sampler

COUNTS = [40, 3, 16, 0, 130]


def rows(drawn: Drawn) -> list[tuple[int, ...]]:
    return [tuple(map(int, row)) for row in zip(*vars(drawn).values(), strict=True)]


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(0, 90), min_size=1, max_size=6),
    length=st.integers(2, 9),
    stride=st.integers(1, 4),
    clips=st.sampled_from(CLIPS),
    seed=st.integers(0, 2**63 - 1),
    seen=st.integers(0, 2**40),
)
def test_pairs_lie_in_clips_of_the_rule(
    counts: list[int], length: int, stride: int, clips: str, seed: int, seen: int
) -> None:
    group = length * stride
    free = [count - (length - 1) * stride for count in counts]
    starts = {
        "every": [set(range(each)) for each in free],
        "one": [set(range(each)) for each in free],
        "disjoint": [set(range(0, each, group)) for each in free],
        "interleaved": [
            {start + offset for start in range(0, count - group + 1, group) for offset in range(stride)}
            for count in counts
        ],
    }[clips]
    if not any(starts):
        with pytest.raises(ValueError, match="clips: no video has"):
            Sampler(counts, length, stride, clips)
        return
    sampler = Sampler(counts, length, stride, clips, seed=seed)
    assert len(sampler) == sum(map(len, starts))
    for video, first, second, gap, _ in rows(sampler.draw(seen, 16)):
        assert second - first == gap * stride
        assert 0 <= gap < length
        assert any((first - start) % stride == 0 and start <= first <= second <= start + (length - 1) * stride
                   for start in starts[video])  # fmt: skip


@settings(deadline=None)
@given(st.integers(0, 2**40), st.integers(1, 4), st.integers(1, 9), st.sampled_from(CLIPS))
def test_ranks_see_what_one_process_would(seen: int, world: int, batch: int, clips: str) -> None:
    """Pair n of the batch is pair n // world of rank n % world."""
    whole = rows(Sampler(COUNTS, 4, 2, clips, seed=5).draw(seen, batch * world))
    for rank in range(world):
        own = Sampler(COUNTS, 4, 2, clips, seed=5, rank=rank, world=world).draw(seen, batch)
        assert rows(own) == whole[rank::world]


def test_groups_of_the_minibatch_deviation_lie_within_a_rank() -> None:
    """In a batch of 16 in groups of 4, pairs 4 apart form a group (spec: sample i is in group i mod N/G)."""
    sampled = [numpy.arange(16)[rank::2] for rank in range(2)]
    own = {tuple(part[start :: len(part) // 4]) for part in sampled for start in range(len(part) // 4)}
    assert own == {tuple(range(16))[start::4] for start in range(4)}


@settings(deadline=None)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=5))
def test_pairs_depend_on_their_numbers_alone(batches: list[int]) -> None:
    sampler = Sampler(COUNTS, 4, seed=9)
    ends = list(itertools.accumulate(batches, initial=100))
    parts = [rows(sampler.draw(seen, batch)) for seen, batch in zip(ends, batches, strict=False)]
    assert list(itertools.chain(*parts)) == rows(sampler.draw(100, sum(batches)))


def test_another_seed_draws_other_pairs() -> None:
    assert rows(Sampler(COUNTS, 4, seed=1).draw(0, 8)) != rows(Sampler(COUNTS, 4, seed=2).draw(0, 8))
    assert rows(Sampler(COUNTS, 4).draw(0, 8)) != rows(Sampler(COUNTS, 4).draw(8, 8))


def test_recorded_pairs() -> None:
    """A run that is resumed by a later version goes on with these pairs."""
    drawn = rows(Sampler(COUNTS, 16, seed=7).draw(1000, 4))
    assert drawn == [(0, 30, 30, 0, 0), (4, 114, 125, 11, 1), (4, 7, 14, 7, 1), (0, 24, 30, 6, 1)]


@pytest.mark.parametrize(("clips", "expected"), [("every", [25, 0, 1, 0, 115]), ("one", [47, 0, 47, 0, 47])])
def test_weights_of_videos(clips: str, expected: list[int]) -> None:
    """The shares of 141 clips, within 5 standard deviations of 6,000 draws."""
    drawn = Sampler(COUNTS, 16, clips=clips).draw(0, 6000)
    found = numpy.bincount(drawn.videos, minlength=5) / 6000
    share = numpy.array(expected) / 141
    assert (numpy.abs(found - share) <= 5 * numpy.sqrt(share * (1 - share) / 6000)).all()


def test_starts_are_uniform_and_half_is_mirrored() -> None:
    drawn = Sampler([21], 2, mirror=True).draw(0, 8000)
    assert abs(drawn.mirrored.mean() - 0.5) < 5 * 0.5 / 8000**0.5
    assert not Sampler([21], 2, mirror=False).draw(0, 100).mirrored.any()
    starts = Sampler([21 * 4], 2, 4, "disjoint").draw(0, 8000)
    both = starts.first[starts.gaps == 1]
    counts = numpy.bincount(both // 8, minlength=10)
    expected = len(both) / len(counts)
    assert (numpy.abs(counts - expected) < 5 * expected**0.5).all()


def test_pair_times_are_beta_distributed() -> None:
    """The mean difference of 4,000 pairs' sorted times, within 4 standard errors of that of 20,000 draws by torch."""
    found = torch.from_numpy(Sampler([16], 16).draw(0, 4000).gaps) / 15
    late = (torch.distributions.Beta(2.0, 1.0).sample((20000,)) * 16).int()
    early = (torch.distributions.Beta(1.0, 2.0).sample((20000,)) * 16).int()
    expected = (late - early).abs() / 15
    assert abs(found.mean() - expected.mean()) < 4 * expected.std() * (1 / 4000 + 1 / 20000) ** 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 1}, "clip length, stride: 1, 1"),
        ({"clips": "some"}, "clips: 'some', expected one of every, disjoint, interleaved, one"),
        ({"rank": 2, "world": 2}, "rank, world: 2, 2"),
        ({"length": 200}, "clips: no video has the 200 frames"),
    ],
)
def test_arguments_out_of_bounds(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampler(COUNTS, **options)  # type: ignore[arg-type]
