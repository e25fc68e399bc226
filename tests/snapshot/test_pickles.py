"""Pickles of the published code, and malicious ones: nothing in a file is executed."""

import contextlib
import io
import math
import os
import pickle
import pickletools
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published_pickles import RECONSTRUCT, Call, crafted, importable, named, network

from digan_fast.snapshot import read_published
from digan_fast.snapshot.pickles import SnapshotError
from digan_fast.snapshot.published import read_pickle
from digan_fast.snapshot.published_config import plain

CRAFTED = crafted()


def read(tmp_path, data):
    path = tmp_path / "file.pkl"
    path.write_bytes(data)
    return read_published(path)


def check_crafted(published):
    assert published["training_set"] == {"path": "sky", "xflip": True}
    assert set(published) == {"G_ema", "training_set"}
    generator = published["G_ema"]
    assert generator["class_name"] == "Generator"
    assert generator["training"] is True
    assert generator["init_kwargs"] == {
        "z_dim": 512,
        "c_dim": 0,
        "sigma": 0.25,
        "cfg": {
            "size": 16,
            "coords": {"low": 16, 32: 1},
            "input": {"low": 16, 32: 1},
            "all": [None, "a16b"],
        },
    }
    state = generator["state_dict"]
    assert list(state) == ["w_avg", "mlp.0.weight", "mlp.0.w_avg"]
    torch.testing.assert_close(state["mlp.0.weight"], torch.arange(12.0).reshape(3, 4).t())
    torch.testing.assert_close(state["w_avg"], torch.arange(4.0))


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_every_protocol_and_module_name_is_read(tmp_path, protocol, core):
    check_crafted(read(tmp_path, crafted(protocol, core, old=core == "numpy.core")))


def test_configurations_of_the_installed_omegaconf_are_read(tmp_path):
    omegaconf = pytest.importorskip("omegaconf")
    config = omegaconf.OmegaConf.create({"coords": {"a": [1, 2.5, None]}, "b": "${coords.a}", "c": "${.d}", "d": True})
    reconstruct = named(*RECONSTRUCT)
    with importable(reconstruct):
        data = pickle.dumps({"G": network(reconstruct, "Generator", kwargs={"cfg": config})})
    cfg = read(tmp_path, data)["G"]["init_kwargs"]["cfg"]
    assert cfg == {"coords": {"a": [1, 2.5, None]}, "b": [1, 2.5, None], "c": True, "d": True}


@pytest.mark.parametrize("protocol", [4, 5])
def test_numpy_arrays_are_read(tmp_path, protocol):
    array = np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3))
    data = pickle.dumps({"G": None, "training_set_kwargs": {"a": array}}, protocol)
    fields = read_pickle(memoryview(bytearray(data)))
    assert plain(fields["training_set_kwargs"]) == {"a": array.tolist()}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool])
def test_tensors_of_every_type_and_layout_are_read(dtype):
    base = torch.arange(24).reshape(2, 3, 4).to(dtype)
    tensors = [base, base[1, ::2, 1:], base.permute(2, 0, 1), base[0, 0, 0], base[:0]]
    read_back = read_pickle(memoryview(bytearray(pickle.dumps({"t": tensors}))))["t"]
    for tensor, lazy in zip(tensors, read_back, strict=True):
        assert torch.equal(lazy.load(), tensor)


def test_source_text_is_never_executed(tmp_path):
    mark = tmp_path / "executed"
    check_crafted(read(tmp_path, crafted(src=f"open({str(mark)!r}, 'w')")))
    assert not mark.exists()


def call(module, name, *args):
    """A pickle that calls `module.name`, encoded with protocol 4's stack operations."""

    def text(value):
        raw = value.encode()
        return b"\x8c" + bytes([len(raw)]) + raw

    head = b"\x80\x04" + text(module) + text(name) + b"\x93("
    return head + b"".join(pickle.dumps(arg, 4)[2:-1] for arg in args) + b"tR."


def storage_bytes(inner):
    return call("torch.storage", "_load_from_bytes", inner)


HOSTILE = {
    "posix.system": call("posix", "system", "touch executed"),
    "os.system": b"\x80\x03cos\nsystem\nX\x0e\x00\x00\x00touch executed\x85R.",
    "builtins.eval": call("builtins", "eval", "open('executed', 'w')"),
    "builtins.exec": call("builtins", "exec", "open('executed', 'w')"),
    "builtins.getattr": call("builtins", "getattr", 1, "real"),
    "__main__.x": call("__main__", "x"),
    "collections.OrderedDict.__init__.__globals__": call("collections", "OrderedDict.__init__.__globals__"),
    "torch.load": call("torch", "load", b""),
    "torch.serialization.load": call("torch.serialization", "load", b""),
    "numpy.load": call("numpy", "load", "x", True),
    "importlib.import_module": call("importlib", "import_module", "this"),
    "operator.attrgetter": call("operator", "attrgetter", "__class__"),
    "copyreg.__newobj__": call("copyreg", "__newobj__"),
    "omegaconf.OmegaConf.load": call("omegaconf", "OmegaConf.load", "x"),
    "torch.distributions.utils": call("torch.distributions", "utils"),
    "subprocess.Popen": storage_bytes(call("subprocess", "Popen", "touch executed")),
    "torch.jit._serialization.load": storage_bytes(call("torch.jit._serialization", "load")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_other_names_are_rejected(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SnapshotError, match=name.replace(".", r"\.")) as caught:
        read(tmp_path, HOSTILE[name])
    assert str(tmp_path / "file.pkl") in str(caught.value)
    assert os.listdir(tmp_path) == ["file.pkl"]


RECORD = b"\x80\x04ctyping\nAny\n)R"
DAMAGED = {
    "empty stack": b"\x80\x04.",
    "call of a record": RECORD + b")R.",
    "call of a list": b"\x80\x04])R.",
    "attributes of a list": b"\x80\x04]}b.",
    "attributes of a name": b"\x80\x04ctyping\nAny\n}b.",
    "items of a record": RECORD + b"(NNu.",
    "a tuple as key": b"\x80\x04})Ns.",
    "an odd number of items": b"\x80\x04}(Nu.",
    "a list of a text": b"\x80\x04\x8c\x01aNa.",
    "an unknown memo entry": b"\x80\x04h\x07.",
    "a huge memo index": b"\x80\x04Nr\xff\xff\xff\xffj\xfe\xff\xff\xff.",
    "no mark": b"\x80\x04t.",
    "bytes beyond the end": b"\x80\x04B\xff\xff\xff\xff.",
    "many bytes beyond the end": b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.",
    "text beyond the end": b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7f.",
    "a huge integer": b"\x80\x04\x8b\xff\xff\xff\x7f" + b"\1" * 100,
    "a frame without end": b"\x80\x04\x95\xff\xff\xff",
    "a bad text": b"\x80\x04\x8c\x01\xff.",
    "a persistent id": b"\x80\x04NQ.",
    "an extension code": b"\x80\x04\x82\x01.",
    "an old instance": b"\x80\x02(ios\nsystem\n.",
    "a text of protocol 0": b"\x80\x02S'a'\n.",
    "no opcode": b"\x80\x04\xff.",
    "a name without end": b"\x80\x04c" + b"a" * 1000,
    "a number as name": b"\x80\x04K\x01K\x02\x93.",
    "a number": b"\x80\x04K\x01.",
    "no networks": pickle.dumps({"a": 1}),
    "a network that is text": pickle.dumps({"G": "text"}),
    "arguments of a network": call(*RECONSTRUCT, {"type": "class"}),
    "an object dtype": call("numpy", "dtype", "O8", False, True),
    "a dtype with fields": call("numpy", "dtype", "V8"),
    "a storage that is none": storage_bytes(b"PK\x03\x04"),
    "a tensor without storage": call("torch._utils", "_rebuild_tensor_v2", 1, 0, (), (), False),
    "a set of lists": call("builtins", "set", [[1]]),
    "a size of numbers": call("torch", "Size", 3),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_pickles_are_a_clear_error(tmp_path, name):
    with pytest.raises(SnapshotError, match=r"file\.pkl"):
        read(tmp_path, DAMAGED[name])


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (5,), (1,)),
        (1, (4,), (1,)),
        (0, (2, 2), (3, 1)),
        (-1, (2,), (1,)),
        (0, (-2,), (1,)),
        (0, (2,), (-1,)),
        (0, (2, 2), (1,)),
        (0, (10**6, 10**6), (0, 0)),
        (0, (1,) * 20, (1,) * 20),
        (5, (0,), (1,)),
        (0, (2.0,), (1,)),
        (0, (2**70,), (2**70,)),
        (0, 4, 1),
    ],
)
def test_tensors_stay_within_their_storage(offset, size, stride):
    reduced = Call(torch._utils._rebuild_tensor_v2, torch.zeros(4)._typed_storage(), offset, size, stride)
    with pytest.raises(SnapshotError):
        read_pickle(memoryview(bytearray(pickle.dumps({"t": reduced}))))


def test_tensors_of_one_storage_share_memory():
    storage = torch.zeros(4)._typed_storage()
    rebuild = torch._utils._rebuild_tensor_v2
    views = [Call(rebuild, storage, i, (2,), (1,), False, {}) for i in (0, 1)]
    first, second = read_pickle(memoryview(bytearray(pickle.dumps({"t": views}))))["t"]
    first.load().fill_(1)
    assert second.load().tolist() == [1, 0]


def test_tensor_data_cannot_be_requested_repeatedly(tmp_path):
    data = io.BytesIO()
    torch.save(torch.zeros(10_000)._typed_storage(), data, _use_new_zipfile_serialization=False)
    raw = data.getvalue()
    repeated = [Call(torch.storage._load_from_bytes, raw) for _ in range(100)]
    with pytest.raises(SnapshotError, match="more tensor data"):
        read(tmp_path, pickle.dumps(repeated))


def test_storages_must_have_their_declared_length():
    for length in (0, 3, 5, 2**40, -1):
        buffer = io.BytesIO()
        torch.save(torch.zeros(4)._typed_storage(), buffer, _use_new_zipfile_serialization=False)
        raw = buffer.getvalue()
        claimed = raw[:-24] + struct.pack("<q", length) + raw[-16:]
        with pytest.raises(SnapshotError, match="storage"):
            read_pickle(memoryview(bytearray(storage_bytes(claimed))))


@pytest.mark.parametrize("shape", [(10**9,), (2**40, 2**40), (0, 10**9), (-1,), (3,), (2.0,)])
def test_numpy_arrays_must_have_their_declared_size(tmp_path, shape):
    scalar = Call(np._core.numeric._frombuffer, b"\0" * 16, np.dtype("f8"), shape, "C")
    with pytest.raises(SnapshotError):
        read(tmp_path, pickle.dumps({"G": None, "training_set_kwargs": {"a": scalar}}))
    array = Call(np._core.numeric._frombuffer, b"\0" * 16, np.dtype("f8"), shape, "C")
    reconstruct = named(*RECONSTRUCT)
    with importable(reconstruct):
        data = pickle.dumps({"G": network(reconstruct, "Generator", kwargs={"a": array})})
    with pytest.raises(SnapshotError, match="numpy"):
        read(tmp_path, data)


def nested(depth):
    return b"\x80\x04" + b"]" * depth + b"a" * (depth - 1) + b"."


def test_depth_is_bounded(tmp_path):
    for opcode in (b"\x85", b"]\x94h\x00a"):
        with pytest.raises(SnapshotError):
            read(tmp_path, b"\x80\x04)" + opcode * 300_000 + b".")
    inside = pickle.dumps({"G": None})[2:-1]
    deep = b"\x80\x04}(\x8c\x01G" + nested(200_000)[2:-1] + b"\x8c\x01D" + inside + b"u."
    with pytest.raises(SnapshotError, match="no network"):
        read(tmp_path, deep)


@pytest.mark.parametrize("kind", ["cycle", "branches", "module"])
def test_cycles_and_exponential_growth_are_bounded(tmp_path, kind):
    reconstruct = named(*RECONSTRUCT)
    with importable(reconstruct):
        if kind == "cycle":
            value = []
            value.append(value)
            made = network(reconstruct, "Generator", kwargs={"cfg": value})
        elif kind == "branches":
            value = [0]
            for _ in range(40):
                value = [value, value]
            made = network(reconstruct, "Generator", kwargs={"cfg": value})
        else:
            modules = {}
            made = network(reconstruct, "Generator", modules=modules)
            for _ in range(40):
                modules = {"a": network(reconstruct, "X", modules=modules)}
                modules["b"] = modules["a"]
            made = network(reconstruct, "Generator", modules=modules)
        data = pickle.dumps({"G": made})
    with pytest.raises(SnapshotError, match=r"more|nested"):
        read(tmp_path, data)


@pytest.mark.parametrize(
    "cfg",
    [
        {"a": "${a}"},
        {"a": "${b}", "b": "x${a}"},
        {"a": "${env:HOME}"},
        {"a": "${oc.env:HOME}"},
        {"a": "${missing.key}"},
        {"a": "${generator.generator.b}"},
        {"a": "${....}"},
        {"a": "${}"},
        {"a": "x${"},
        {"a": {"b": "${a}"}},
        {"a": "x${b}", "b": {}},
        {"a": "x", **{"a" * (i + 1): "${%s}-${%s}" % (("a" * i,) * 2) for i in range(1, 45)}},
        {"a": "${" + "generator." * 10_000 + "b}"},
    ],
)
def test_references_without_a_value_are_an_error(tmp_path, cfg):
    reconstruct = named(*RECONSTRUCT)
    with importable(reconstruct):
        data = pickle.dumps({"G": network(reconstruct, "Generator", kwargs={"cfg": cfg})})
    with pytest.raises(SnapshotError, match=r"reference|nested"):
        read(tmp_path, data)


def test_the_number_of_operations_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("digan_fast.snapshot.published.MAX_OPERATIONS", 1000)
    with pytest.raises(SnapshotError, match="more pickle operations"):
        read(tmp_path, b"\x80\x04" + b"N0" * 1000 + b"N.")


def test_truncated_files_are_an_error(tmp_path):
    data = crafted()
    for length in range(1, len(data), max(1, math.ceil(len(data) / 400))):
        with pytest.raises(SnapshotError):
            read(tmp_path, data[:length])


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "file.pkl"


def survives(path: Path, data: bytes) -> None:
    """Reading returns a result or raises SnapshotError, nothing else."""
    path.write_bytes(data)
    with contextlib.suppress(SnapshotError):
        read_published(path)


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(flips=st.lists(st.tuples(st.integers(0, 2**20), st.integers(1, 255)), min_size=1, max_size=4))
def test_changed_bytes_do_no_harm(fuzzed, flips):
    data = bytearray(CRAFTED)
    for position, flip in flips:
        data[position % len(data)] ^= flip
    survives(fuzzed, bytes(data))


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    parts=st.lists(
        st.one_of(
            st.sampled_from([o.code.encode("latin-1") for o in pickletools.opcodes]),
            st.binary(max_size=5),
            st.sampled_from([b"ctyping\nAny\n", b"ctorch\nSize\n", b"cbuiltins\nset\n"]),
        ),
        max_size=30,
    )
)
def test_random_opcodes_do_no_harm(fuzzed, parts):
    survives(fuzzed, b"\x80\x04" + b"".join(parts) + b".")


def repeated_copies():
    """A dict of 100,000 keys, and a hundred thousand copies of it, each by one short call."""
    keys = b"".join(b"J" + i.to_bytes(4, "little") + b"N" for i in range(100_000))
    copy = b"ccollections\nOrderedDict\nh\x00\x85R0"
    return b"\x80\x04}(" + keys + b"u\x94" + copy * 100_000 + b"."


@pytest.mark.parametrize("data", [b"\x80\x04" + b"N0" * 4_000_000 + b"N.", repeated_copies()], ids=["cheap", "copies"])
def test_a_hostile_file_takes_seconds(tmp_path, data):
    """Processor time; 3 seconds observed for the first, less for the second."""
    (tmp_path / "a").write_bytes(data)
    begun = time.process_time()
    with pytest.raises(SnapshotError, match="more pickle operations"):
        read_published(tmp_path / "a")
    assert time.process_time() - begun < 20
