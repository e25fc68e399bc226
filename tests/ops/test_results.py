"""Large results are ordinary tensors that reuse the memory of freed ones."""

from __future__ import annotations

import copy
import gc
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch.utils.dlpack import from_dlpack

from digan_fast import backends, dispatch, functional, use_backend
from digan_fast.ops._pointers import fresh

pytestmark = pytest.mark.skipif(backends()["native"] is not None, reason="the compiled module was not built")

LARGE = (3, 1024, 1024)  # 12 MiB of float32
HUGE_PAGE = 2**21
SANITIZED = any(name in os.environ.get("LD_PRELOAD", "") for name in ("libasan", "libtsan"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_result_is_an_ordinary_tensor(dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    empty = torch.empty((2, 3, 1024, 1024), dtype=dtype, memory_format=memory_format)
    found = fresh(empty.shape, dtype, memory_format)
    assert (found.shape, found.stride(), found.dtype) == (empty.shape, empty.stride(), dtype)
    assert found._base is None
    assert found.data_ptr() != empty.data_ptr()
    assert found.data_ptr() % HUGE_PAGE == 0
    assert torch.equal(found.fill_(3), torch.full_like(empty, 3))


def test_small_results_use_torch_s_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(dispatch.native_module(), "result")
    assert fresh((100,)).shape == (100,)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def address() -> int:
    return fresh(LARGE).data_ptr()


SMAPS = Path("/proc/self/smaps")
KEPT = pytest.mark.skipif(
    SANITIZED or sys.platform != "linux", reason="pages are kept only on Linux, and not under sanitizers"
)


@pytest.fixture
def nothing_kept() -> None:
    gc.collect()
    dispatch.native_module().keep_freed_results(False)
    dispatch.native_module().keep_freed_results(True)


@KEPT
@pytest.mark.usefixtures("nothing_kept")
def test_freed_memory_is_reused() -> None:
    first = address()
    assert address() == first
    alive = fresh(LARGE)
    assert alive.data_ptr() == first
    assert address() != first
    view = alive[1, 5:]
    del alive
    assert address() != first  # a view keeps it
    del view
    assert first in {fresh(LARGE).data_ptr() for _ in range(2)}


@KEPT
@pytest.mark.usefixtures("nothing_kept")
def test_freed_pages_are_merged_and_split() -> None:
    """12 + 20 + 6 MiB become 26 and 12 MiB, and so on, of the same pages; without reuse 26 MiB or more would be added.

    A 2 MiB page of any thread may come and go meanwhile.
    """

    def results(*mebibytes: int) -> list[torch.Tensor]:
        return [fresh((size * 2**18,)).fill_(size) for size in mebibytes]

    def kept(tensors: list[torch.Tensor]) -> bool:
        return all(list(tensor.aminmax()) == [tensor.nbytes / 2**20] * 2 for tensor in tensors)

    alive = results(12, 20, 6)
    assert kept(alive)
    before = resident()
    for sizes in ((26, 12), (8, 18, 12), (38,), (2, 2, 34)):
        assert kept(alive)
        alive.clear()
        alive += results(*sizes)
        assert resident() - before < 2**23
    part = alive[0]
    alive.clear()
    alive += results(36)  # all but one are freed
    assert resident() - before < 2**23
    assert bool((part == 2).all())
    assert kept(alive)


@KEPT
@pytest.mark.usefixtures("nothing_kept")
def test_keeping_pages_can_be_disabled() -> None:
    native = dispatch.native_module()
    gib = (2**28,)

    before = resident()
    from_dlpack(native.result(gib, (1,), False)).zero_()
    assert resident() - before > 2**29
    try:
        native.keep_freed_results(False)
        assert resident() - before < 2**29
        from_dlpack(native.result(gib, (1,), False)).zero_()
        assert resident() - before < 2**29
    finally:
        native.keep_freed_results(True)


ALONE = """
import os, resource, torch
from digan_fast.ops._pointers import fresh

torch.set_num_threads(1)

def ones(mebibytes):
    return fresh((mebibytes * 2**18,)).fill_(1)

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) >> 10

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
"""


def alone(script: str) -> None:
    """In a process of its own, whose peak no other test has raised."""
    done = subprocess.run([sys.executable, "-c", ALONE + script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@KEPT
def test_kept_pages_do_not_raise_the_peak() -> None:
    """Torch's tensors take the place of freed results; only those allocated since the last look come on top."""
    alone("""
ones(256)
most = peak()
assert resident() > most - 24
tensors = []
for _ in range(5):
    tensors.append(torch.ones(48 * 2**18))
    ones(16)
assert resident() < most + 24, (resident(), most)
assert peak() < most + 80, (peak(), most)
""")


@KEPT
def test_a_loop_reuses_its_pages() -> None:
    alone("""
tensor = torch.ones(40 * 2**18)

def step():
    first, second = ones(64), ones(20)
    del first
    third = ones(48)
    tensor.mul_(2)

for _ in range(3):
    step()
before = faults()
for _ in range(10):
    step()
assert faults() - before < 100, faults() - before  # 660 if pages of 2 MiB came anew
""")


@KEPT
@pytest.mark.skipif(not SMAPS.exists() or "LazyFree" not in SMAPS.read_text(), reason="the kernel does not tell")
def test_pages_that_rest_may_be_reclaimed() -> None:
    """At the next result once they are free for a second, and not at once."""
    alone("""
import time

def reclaimable():
    return sum(int(line.split()[1]) for line in open("/proc/self/smaps") if line.startswith("LazyFree")) >> 10

ones(64), ones(16)
assert reclaimable() < 8, reclaimable()
time.sleep(1.1)
small = ones(16)
assert reclaimable() > 40, reclaimable()
again = ones(64)
assert bool((again == 1).all() and (small == 1).all())
""")


def test_an_unused_capsule_is_freed() -> None:
    native = dispatch.native_module()
    for _ in range(100):  # 100 GB if leaked
        native.result((2**28,), (1,), False)


@pytest.mark.parametrize("shape", [(0,), (3, 0, 2)])
def test_no_elements(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape is of 0 elements, expected 1 or more"):
        dispatch.native_module().result(shape, (1,) * len(shape), False)


def test_results_behave_like_any_tensor() -> None:
    """In an autograd graph, copied, saved, moved to shared memory."""
    x = torch.randn(2, 3, 700, 500, requires_grad=True)
    with use_backend("native"):
        out = functional.bias_act(x, None, activation="linear", gain=2.0)
        out.square().sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, 8 * x)
    found = out.detach()
    assert torch.equal(copy.deepcopy(found), found)
    file = io.BytesIO()
    torch.save(found, file)
    file.seek(0)
    assert torch.equal(torch.load(file), found)
    expected = found.clone()
    assert torch.equal(found.share_memory_(), expected)


def test_threads_do_not_share_results() -> None:
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(30):
            mine = fresh(LARGE).fill_(number)
            if not bool((mine == number).all()):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork() is of Unix")
@pytest.mark.skipif(SANITIZED, reason="libasan of GCC 12 does not hold its allocator's locks across a fork")
def test_a_forked_child_does_not_touch_its_parent_s_results() -> None:
    kept = fresh(LARGE).fill_(1)
    address()
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # torch's own threads do not survive a fork
        mine = fresh(LARGE).fill_(2)
        os._exit(0 if bool((mine == 2).all()) and bool((kept == 1).all()) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert bool((kept == 1).all())
