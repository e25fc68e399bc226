"""Evaluates a generator on a data set by protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from digan_fast.metrics.extraction import FakeFeatures, RealFeatures
from digan_fast.metrics.features import FeatureNetwork
from digan_fast.metrics.generated import check_range
from digan_fast.metrics.protocols import FAKE_FIELDS, REAL_FIELDS, Protocol
from digan_fast.metrics.scores import Score, score
from digan_fast.metrics.store import Store
from digan_fast.metrics.work import Data, Subject, Work


def evaluate(
    subject: Subject, data: Data, measured: Sequence[tuple[Protocol, FeatureNetwork]], work: Work
) -> list[Score]:
    """A score by each protocol, with its network.

    What can be wrong with the options, the data, the generator and the networks is tried on a first batch before the
    work begins.  Features are shared by protocols that differ in statistics alone.  A killed evaluation goes on where
    it was.  Of several processes, each computes every n-th block of features in the same folders; all but the first
    return an empty list.

    Raises ValueError, naming the file and what was expected.
    """
    labels = [source.label for source in data.sources]
    passes: list[_Pass] = []
    for protocol, network in measured:
        key = protocol.key((*REAL_FIELDS, *FAKE_FIELDS))
        same = next((each for each in passes if each.key == key), None)
        if same is None:
            fake = FakeFeatures(subject, protocol, network, labels, work)
            with work.timed("first batch"):
                pictures = fake.first()
            real = RealFeatures(data, protocol, network, work)
            with work.timed("first batch"):
                check_range(pictures, real.first(), subject.name)
            passes.append(_Pass(key, [protocol], real, fake))
        else:
            same.protocols.append(protocol)
    for each in passes:
        each.fake.begin()
    for each in passes:
        each.real.compute()
        each.fake.compute()
    work.processes.wait()
    if not work.processes.is_first:
        return []
    with work.timed("statistics"):
        found = [each.score(protocol) for each in passes for protocol in each.protocols]
    Store(work.scratch).remove()
    return found


@dataclass
class _Pass:
    """The protocols that share features."""

    key: str
    protocols: list[Protocol]
    real: RealFeatures
    fake: FakeFeatures

    def score(self, protocol: Protocol) -> Score:
        fakes = [self.fake.trial(trial) for trial in range(protocol.trials)]
        return score(protocol, self.real.store, self.real.draw, self.fake.store, fakes)
