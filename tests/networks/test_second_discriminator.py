"""Another kind of discriminator, all of it in this file: trained, saved, resumed, plotted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from golden import DATA
from safetensors import safe_open
from small_runs import SMALL, frame_folder
from torch import Tensor, nn

from digan_fast import Discriminator, Snapshot, load, save, snapshot
from digan_fast.networks import discriminators
from digan_fast.networks.discriminators import Head
from digan_fast.networks.reduction import side_of
from digan_fast.training.config import TrainConfig
from digan_fast.training.curves import plot
from digan_fast.training.loop import train


class Logits(NamedTuple):
    pair: Tensor

    def heads(self, pairs: Tensor) -> dict[str, Head]:
        return {"pair": Head(self.pair, pairs)}


class Linear(nn.Module):
    """One head: a logit per pair, linear in its pixels."""

    def __init__(self, side: int, channels: int) -> None:
        super().__init__()
        self.init_kwargs = {"side": side, "channels": channels}
        self.out = nn.Linear(channels * side * side, 1)
        self.precision = "float32"

    @classmethod
    def training_kwargs(cls, *, img_resolution: int, img_channels: int, **_: Any) -> dict[str, Any]:
        return {"side": img_resolution, "channels": 2 * img_channels + 1}

    def set_precision(self, precision: str) -> None:
        self.precision = precision

    def forward(self, pairs: Tensor, c: Tensor | None = None) -> Logits:
        return Logits(self.out(pairs.flatten(1)))


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    monkeypatch.setattr(discriminators, "_kinds", dict(discriminators._kinds))
    discriminators.register("linear")(Linear)
    data = frame_folder(tmp_path / "data" / "video", 20).parent
    options = {**SMALL, "kimg": 0.008, "tick_kimg": 0.004, "augment": "", "discriminator": "linear"}
    return TrainConfig(data=data, out=tmp_path / "run", **options)  # type: ignore[arg-type]


def test_it_trains_and_its_snapshot_names_it(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    path = train(config)
    lines = [json.loads(line) for line in (config.out / "log.jsonl").read_text().splitlines()]
    assert [line["pairs"] for line in lines] == [4, 8]
    assert {"logits/D_real_pair", "logits/D_fake_pair", "r1/pair"} <= lines[0].keys()
    assert not any("image" in name or "motion" in name for name in lines[0])
    # R1 takes gradients with respect to the pairs: the squared weights, known here.
    D = load(path).D
    assert isinstance(D, Linear)
    assert lines[0]["r1/pair"] == pytest.approx(float(D.out.weight.detach().square().sum()), rel=0.2)
    with safe_open(path, "pt") as file:
        assert file.metadata()["discriminator_kind"] == "linear"
    pytest.importorskip("matplotlib")
    assert plot(config.out).stat().st_size > 1000
    monkeypatch.delitem(discriminators._kinds, "linear")
    with pytest.raises(snapshot.SnapshotError, match="D is of an unknown kind: discriminator: 'linear', expected one"):
        load(path)
    assert snapshot.load_generator(path).img_resolution == 8


def test_a_resumed_run_equals_an_uninterrupted_one(config: TrainConfig) -> None:
    whole = load(train(replace(config, kimg=0.016))).D.state_dict()
    parts = replace(config, out=config.out.with_name("parts"))
    train(parts)
    with pytest.raises(ValueError, match="another discriminator"):
        train(replace(parts, resume=True, discriminator="digan"))
    resumed = load(train(replace(parts, resume=True, kimg=0.016))).D.state_dict()
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_files_without_a_name_have_digan_s_discriminator(tmp_path: Path) -> None:
    assert isinstance(load(DATA / "snapshot.pkl").D, Discriminator)
    assert load(snapshot.shipped()).G_ema is not None
    D = Discriminator(img_resolution=8, channel_base=64, channel_max=8)
    save(tmp_path / "new", Snapshot(D=D))
    data = (tmp_path / "new").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert header["__metadata__"].pop("discriminator_kind") == "digan"
    older = json.dumps(header).encode()
    (tmp_path / "older").write_bytes(len(older).to_bytes(8, "little") + older + data[8 + length :])
    found = load(tmp_path / "older")
    assert isinstance(found.D, Discriminator)
    assert found.metadata == {}
    assert all(torch.equal(found.D.state_dict()[name], value) for name, value in D.state_dict().items())


@pytest.mark.parametrize("kind", discriminators.kinds())
def test_every_discriminator_implements_the_protocol(kind: str, tmp_path: Path) -> None:
    """Is created for training, judges pairs or clips, has a gradient of R1 and precisions, is saved and loaded."""
    made = discriminators.named(kind)
    options = {"img_resolution": 8, "img_channels": 3, "c_dim": 0, "channel_base": 64, "channel_max": 8, "group": 2}
    clips = {"clip_length": 3, "frames": 2, "reduction": "pool2"} if discriminators.judges_clips(kind) else {}
    D = made(**made.training_kwargs(**options, **clips))
    if discriminators.judges_clips(kind):
        shown = {
            name: torch.randn(2, view.frames or 3, 3, *[side_of(view.reduction, 8)] * 2, requires_grad=True)
            for name, view in D.views.items()
        }
        heads = [D(part, None, head=name).heads(part) for name, part in shown.items()]
    else:
        pairs = torch.randn(2, 7, 8, 8, requires_grad=True)
        heads = [D(pairs).heads(pairs)]
    for head in [head for each in heads for head in each.values()]:
        assert head.logits.shape[1:] == (1,)
        assert torch.autograd.grad(head.logits.sum(), head.penalised, retain_graph=True)[0].isfinite().all()
    with pytest.raises(ValueError, match="int4"):
        D.set_precision("int4")
    save(tmp_path / "saved", Snapshot(D=D))
    found = load(tmp_path / "saved").D
    assert type(found) is made
    assert all(torch.equal(found.state_dict()[name], value) for name, value in D.state_dict().items())


def test_a_subclass_has_its_own_name(config: TrainConfig) -> None:
    class Wider(Discriminator):
        pass

    assert discriminators.name_of(Wider(img_resolution=8, channel_base=64, channel_max=8)) == "digan"
    discriminators.register("wider")(Wider)
    assert discriminators.name_of(Wider(img_resolution=8, channel_base=64, channel_max=8)) == "wider"


def test_names(config: TrainConfig) -> None:
    with pytest.raises(ValueError, match=r"discriminator: 'none', expected one of digan, .*linear"):
        replace(config, discriminator="none").check()
    with pytest.raises(ValueError, match=r"'digan' is .*digan\.Discriminator already"):
        discriminators.register("digan")(Linear)
    with pytest.raises(snapshot.SnapshotError, match=r"'discriminator_kind'.* reserved"):
        save(config.out, Snapshot(D=Linear(8, 7)), metadata={"discriminator_kind": "x"})
