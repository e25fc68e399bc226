"""The offline driver: the JIT's specialisation, machine-code resources, and execution in the emulator."""

import os

import pytest

pytestmark = pytest.mark.usefixtures("triton_compiler")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the compiler and the interpreter cannot share a process", allow_module_level=True)

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

import triton_kernels  # noqa: E402
from emulator.triton_offline import ARCHITECTURES, SHARED_LIMIT, offline  # noqa: E402


def scale_and_add(n, dtype=torch.float32, start=0, **options):
    """x·1.5 + y for n numbers, with x starting ``start`` elements into its storage."""
    x, y = torch.randn(n + start).to(dtype)[start:], torch.randn(n).to(dtype)
    out = torch.full((n,), float("nan"), dtype=dtype)
    triton_kernels.scale_and_add[(-(-n // 256),)](x, y, out, n, 1.5, BLOCK=256, enable_fp_fusion=True, **options)
    return out, x.double() * 1.5 + y.double()


def product(m, n, k, arch, warps):
    a, b, out = torch.randn(m, k).bfloat16(), torch.randn(n, k).bfloat16(), torch.empty(m, n)
    strides = {"a_m": k, "a_k": 1, "b_n": k, "b_k": 1}
    with offline(arch) as launches:
        triton_kernels.product[(-(-m // 128), -(-n // 128))](
            a,
            b,
            out,
            m,
            n,
            k,
            **strides,
            M=128,
            N=128,
            K=64,
            PRECISION="ieee",
            num_warps=warps,
            num_stages=3,
            enable_fp_fusion=True,
        )
    return launches[0]


@pytest.mark.parametrize(("n", "start", "vectors"), [(1024, 0, 4), (1000, 0, 0), (1024, 1, 2)])
def test_specialises_like_the_jit(n, start, vectors):
    """By alignment of addresses and divisibility of integers: two 16-byte loads of x, two of y."""
    with offline(80) as launches:
        scale_and_add(n, start=start, num_warps=1)
    launch = launches[0]
    assert launch.grid == (-(-n // 256),)
    assert launch.arguments["n"] == n
    assert launch.instructions["ld.16"] == vectors


@pytest.mark.parametrize("arch", [80, 90])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_executes(arch, dtype):
    with offline(arch, execute=True) as launches:
        out, expected = scale_and_add(1000, dtype)
    torch.testing.assert_close(out.double(), expected, rtol=2 ** -{4: 22, 2: 7}[dtype.itemsize], atol=1e-6)
    counters = launches[0].counters
    assert counters.unique_bytes_read + counters.unique_bytes_written == launches[0].compulsory_bytes


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_reports_machine_code(arch):
    launch = product(256, 256, 256, arch, warps=8)
    found = launch.resources
    assert found.stack == found.spills == 0
    assert 0 < found.registers <= 255
    assert 0 < found.shared <= SHARED_LIMIT[arch]
    kind = {80: "mma", 90: "wgmma", 100: "tcgen05", 120: "mma"}[arch]
    assert launch.instructions[kind] > 0
    assert launch.instructions["cp.async.16"] > 0


def test_reports_spills():
    """A tile too large for four warps' registers."""
    found = product(256, 256, 256, 120, warps=4).resources
    assert found.stack > 0
    assert found.spills > 0


def test_leaves_nothing_behind():
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    before = JITFunction.run, driver._active
    with pytest.raises(ZeroDivisionError), offline(80):
        _ = 1 / 0
    assert (JITFunction.run, driver._active) == before
