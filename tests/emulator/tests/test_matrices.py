"""ldmatrix, stmatrix and every shape of mma against numpy."""

import numpy as np
import pytest
from emulator import ptx
from snippets import run

RNG = np.random.default_rng(0)
LANE = np.arange(32)
GROUP, QUAD = LANE // 4, LANE % 4

HALVES = {
    "f16": (lambda v: v.astype(np.float16).view(np.uint16), lambda b: b.view(np.float16).astype(np.float64)),
    "bf16": (lambda v: ptx.to_bf16(v.astype(np.float32)), lambda b: ptx.from_bf16(b).astype(np.float64)),
}


def mma(shape, types, a, b, c, *, target="sm_80"):
    """One warp: fragments in and out as [registers, 32] words."""
    words = [np.ascontiguousarray(x).view(np.uint32) for x in (a, b, c)]
    body = ["mov.u32 %r0, %tid.x; mul.wide.u32 %d8, %r0, 4;"]
    names, first = [], 10
    for n, fragment in enumerate(words):
        names.append([f"%r{first + m}" for m in range(len(fragment))])
        first += len(fragment)
        body.append(f"add.s64 %d9, %d{n}, %d8;")
        body += [f"ld.global.b32 {name}, [%d9+{128 * m}];" for m, name in enumerate(names[-1])]
    results = [f"%r{first + m}" for m in range(len(words[2]))]
    groups = ", ".join("{" + ", ".join(g) + "}" for g in (results, *names))
    body.append(f"mma.sync.aligned.{shape}.row.col.{types} {groups};")
    body.append("add.s64 %d9, %d3, %d8;")
    body += [f"st.global.b32 [%d9+{128 * m}], {name};" for m, name in enumerate(results)]
    counters, arrays = run("\n".join(body), [*words, np.zeros_like(words[2])], target=target)
    return counters, arrays[3]


def fragments(matrix, per_register, *, left):
    """Words of a [rows, k] left or a [k, 8] right operand, laid out over the lanes as in the PTX manual."""
    depth = matrix.shape[1 if left else 0]
    registers = []
    for block in range(depth // (4 * per_register)):
        for half in range(2 if left else 1):
            row = GROUP + 8 * half
            k = [4 * per_register * block + QUAD * per_register + e for e in range(per_register)]
            parts = [matrix[row, i] if left else matrix[i, GROUP] for i in k]
            registers.append(np.ascontiguousarray(np.stack(parts, axis=1)).view(np.uint32).ravel())
    return np.stack(registers)


def accumulators(matrix):
    return np.stack([matrix[GROUP + 8 * (i >> 1), 2 * QUAD + (i & 1)] for i in range(4)])


@pytest.mark.parametrize("name", ["f16", "bf16"])
@pytest.mark.parametrize("depth", [8, 16])
def test_halves(name, depth):
    encode, decode = HALVES[name]
    a, b = encode(RNG.standard_normal((16, depth))), encode(RNG.standard_normal((depth, 8)))
    c = RNG.standard_normal((16, 8)).astype(np.float32)
    types = f"f32.{name}.{name}.f32"
    counters, found = mma(
        f"m16n8k{depth}", types, fragments(a, 2, left=True), fragments(b, 2, left=False), accumulators(c)
    )
    expected = (decode(a) @ decode(b) + c).astype(np.float32)
    np.testing.assert_array_equal(found.view(np.float32), accumulators(expected))
    assert counters.total("tensor_flops") == 2 * 16 * 8 * depth
    assert counters.flops == 0


def test_half_accumulators():
    encode, decode = HALVES["f16"]
    a, b = encode(RNG.standard_normal((16, 16))), encode(RNG.standard_normal((16, 8)))
    c = encode(RNG.standard_normal((16, 8)))
    pairs = np.stack(
        [np.ascontiguousarray(np.stack([c[GROUP + 8 * i, 2 * QUAD + e] for e in (0, 1)], 1)) for i in (0, 1)]
    )
    words = pairs.view(np.uint32)[:, :, 0]
    _, found = mma("m16n8k16", "f16.f16.f16.f16", fragments(a, 2, left=True), fragments(b, 2, left=False), words)
    expected = (decode(a) @ decode(b) + decode(c)).astype(np.float16)
    halves = found.view(np.float16).reshape(2, 32, 2)
    for i in (0, 1):
        for e in (0, 1):
            np.testing.assert_array_equal(halves[i, :, e], expected[GROUP + 8 * i, 2 * QUAD + e])


@pytest.mark.parametrize("depth", [4, 8])
def test_tf32_ignores_the_low_bits(depth):
    a, b = RNG.standard_normal((16, depth)).astype(np.float32), RNG.standard_normal((depth, 8)).astype(np.float32)
    c = RNG.standard_normal((16, 8)).astype(np.float32)
    left, right = fragments(a, 1, left=True), fragments(b, 1, left=False)
    _, found = mma(f"m16n8k{depth}", "f32.tf32.tf32.f32", left, right, accumulators(c))
    cut = [(x.view(np.uint32) & 0xFFFFE000).view(np.float32).astype(np.float64) for x in (a, b)]
    expected = (cut[0] @ cut[1] + c).astype(np.float32)
    np.testing.assert_array_equal(found.view(np.float32), accumulators(expected))


@pytest.mark.parametrize("depth", [16, 32])
def test_bytes(depth):
    a, b = RNG.integers(-128, 128, (16, depth)).astype(np.int8), RNG.integers(0, 256, (depth, 8)).astype(np.uint8)
    c = RNG.integers(-1000, 1000, (16, 8)).astype(np.int32)
    left, right = fragments(a, 4, left=True), fragments(b, 4, left=False)
    _, found = mma(f"m16n8k{depth}", "s32.s8.u8.s32", left, right, accumulators(c))
    expected = a.astype(np.int32) @ b.astype(np.int32) + c
    np.testing.assert_array_equal(found.view(np.int32), accumulators(expected))


ROWS = """
.shared .align 128 .b8 room[1024];
mov.u32 %r0, %tid.x; mul.wide.u32 %d8, %r0, 32; add.s64 %d9, %d0, %d8;
ld.global.v4.b32 {%r10, %r11, %r12, %r13}, [%d9]; ld.global.v4.b32 {%r14, %r15, %r16, %r17}, [%d9+16];
mov.u32 %r1, room; shl.b32 %r2, %r0, 5; add.u32 %r3, %r1, %r2;
st.shared.v4.b32 [%r3], {%r10, %r11, %r12, %r13}; st.shared.v4.b32 [%r3+16], {%r14, %r15, %r16, %r17};
bar.sync 0;
"""


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("transposed", [False, True])
def test_ldmatrix(count, transposed):
    """Matrices with a row pitch of 32 bytes: matrix m is the first 16 bytes of rows 8·m and on."""
    data = RNG.integers(0, 1 << 16, (32, 16)).astype(np.uint16)
    registers = ", ".join(f"%r{20 + n}" for n in range(count))
    kind = ".trans" if transposed else ""
    stores = "".join(f"st.global.b32 [%d10+{128 * n}], %r{20 + n};" for n in range(count))
    body = (
        ROWS
        + f"""
    ldmatrix.sync.aligned.m8n8.x{count}{kind}.shared.b16 {{{registers}}}, [%r3];
    mul.wide.u32 %d8, %r0, 4; add.s64 %d10, %d1, %d8; {stores}
    """
    )
    _, (_, found) = run(body, [data, np.zeros((count, 32), np.uint32)])
    for n in range(count):
        matrix = data[8 * n : 8 * n + 8, :8]
        matrix = matrix.T if transposed else matrix
        expected = matrix[GROUP, 2 * QUAD] | matrix[GROUP, 2 * QUAD + 1].astype(np.uint32) << 16
        np.testing.assert_array_equal(found[n], expected)


@pytest.mark.parametrize("transposed", [False, True])
def test_stmatrix_is_the_inverse_of_ldmatrix(transposed):
    data = RNG.integers(0, 1 << 16, (32, 16)).astype(np.uint16)
    kind = ".trans" if transposed else ""
    body = (
        ROWS
        + f"""
    ldmatrix.sync.aligned.m8n8.x4{kind}.shared.b16 {{%r20, %r21, %r22, %r23}}, [%r3];
    stmatrix.sync.aligned.m8n8.x4{kind}.shared.b16 [%r3+16], {{%r20, %r21, %r22, %r23}};
    bar.warp.sync -1;
    ld.shared.v4.b32 {{%r10, %r11, %r12, %r13}}, [%r3+16];
    add.s64 %d9, %d1, %d8; st.global.v4.b32 [%d9], {{%r10, %r11, %r12, %r13}};
    """
    )
    _, (_, found) = run(body, [data, np.zeros_like(data)], target="sm_90")
    np.testing.assert_array_equal(found[:, :8], data[:, :8])


def descriptor(start, leading, stride, swizzle):
    return (start >> 4) | (leading >> 4) << 16 | (stride >> 4) << 32 | swizzle << 62


def place(room, matrix, start, leading, stride, swizzle, transposed):
    """A [rows, 16] operand of 16-bit words in shared memory, in one of the PTX manual's canonical layouts."""
    width = {0: 16, 1: 128, 2: 64, 3: 32}[swizzle]
    mixed = {0: 0, 1: 0x70, 2: 0x30, 3: 0x10}[swizzle]
    rows, depth = matrix.shape
    for r in range(rows):
        for k in range(depth):
            if transposed:
                chunk, inside = divmod(r * 2, width)
                step, period = (stride, leading) if swizzle == 0 else (leading, stride)
                offset = inside + chunk * step + k % 8 * width + k // 8 * period
            else:
                chunk, inside = divmod(k * 2, 16 if swizzle == 0 else 1 << 20)
                offset = inside + chunk * leading + r % 8 * width + r // 8 * stride
            at = start + offset
            at ^= at >> 3 & mixed
            assert room[at // 2] == 0
            room[at // 2] = matrix[r, k]


@pytest.mark.parametrize("swizzle", [0, 1, 2, 3])
@pytest.mark.parametrize("transposed", [False, True])
def test_wgmma_descriptors(swizzle, transposed):
    """m64n16k16 with both operands in shared memory, in every layout that a descriptor can express."""
    a = ptx.to_bf16(RNG.standard_normal((64, 16)).astype(np.float32))
    b = ptx.to_bf16(RNG.standard_normal((16, 16)).astype(np.float32))
    width = {0: 16, 1: 128, 2: 64, 3: 32}[swizzle]
    room = np.zeros(8192, np.uint16)
    if swizzle == 0:
        strides = {
            "a": (128, 256) if not transposed else (1024, 128),
            "b": (128, 256) if not transposed else (256, 128),
        }
    elif transposed:
        strides = dict.fromkeys("ab", (16 * width, 8 * width))
    else:
        strides = dict.fromkeys("ab", (16, 8 * width))
    place(room, a, 0, *strides["a"], swizzle, transposed)
    place(room, b, 8192, *strides["b"], swizzle, transposed)
    flag = int(transposed)
    registers = ", ".join(f"%f{n}" for n in range(8))
    zero = "".join(f"mov.f32 %f{n}, 0f00000000;" for n in range(8))
    stores = "".join(f"st.global.f32 [%d10+{512 * n}], %f{n};" for n in range(8))
    body = f"""
    .shared .align 1024 .b8 room[16384];
    mov.u32 %r0, %tid.x; mul.wide.u32 %d8, %r0, 16; add.s64 %d9, %d0, %d8; mov.u32 %r1, room;
    mad.lo.u32 %r2, %r0, 16, %r1; mov.u32 %r3, 0;
    COPY: ld.global.v4.b32 {{%r10, %r11, %r12, %r13}}, [%d9]; st.shared.v4.b32 [%r2], {{%r10, %r11, %r12, %r13}};
    add.s64 %d9, %d9, 2048; add.u32 %r2, %r2, 2048; add.u32 %r3, %r3, 1; setp.lt.u32 %p1, %r3, 8; @%p1 bra COPY;
    fence.proxy.async.shared::cta; bar.sync 0; {zero}
    mov.u64 %d11, {descriptor(0, *strides["a"], swizzle)}; mov.u64 %d12, {descriptor(8192, *strides["b"], swizzle)};
    mov.pred %p2, -1;
    wgmma.fence.sync.aligned;
    wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {{{registers}}}, %d11, %d12, %p2, 1, 1, {flag}, {flag};
    wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;
    mul.wide.u32 %d8, %r0, 4; add.s64 %d10, %d1, %d8; {stores}
    """
    found = run(body, [room, np.zeros((8, 128), np.float32)], block=128, target="sm_90a")[1][1]
    expected = (ptx.from_bf16(a).astype(np.float64) @ ptx.from_bf16(b).astype(np.float64).T).astype(np.float32)
    lane = np.arange(128)
    for n in range(8):
        row = lane // 32 * 16 + lane % 32 // 4 + 8 * (n >> 1 & 1)
        np.testing.assert_array_equal(found[n], expected[row, 8 * (n >> 2) + lane % 4 * 2 + (n & 1)])


WGMMA = """
.shared .align 1024 .b8 room[4096];
mov.u32 %r0, %tid.x; mov.u32 %r1, room; mad.lo.u32 %r2, %r0, 32, %r1; mov.b32 %r3, 0;
st.shared.v4.b32 [%r2], {%r3, %r3, %r3, %r3}; st.shared.v4.b32 [%r2+16], {%r3, %r3, %r3, %r3};
mov.f32 %f0, 0f00000000; mov.f32 %f1, %f0; mov.f32 %f2, %f0; mov.f32 %f3, %f0; mov.pred %p2, -1;
mov.u64 %d11, 68720001024; @FENCE bar.sync 0;
wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%f0, %f1, %f2, %f3}, %d11, %d11, %p2, 1, 1, 0, 0;
wgmma.commit_group.sync.aligned; @BEFORE
wgmma.wait_group.sync.aligned 0; @AFTER
"""


@pytest.mark.parametrize("touch", ["add.f32 %f5, %f0, %f1;", "bar.sync 0; st.shared.b32 [%r1], %r3;"])
def test_operands_of_a_wgmma_in_flight_must_not_be_touched(touch):
    fenced = WGMMA.replace("@FENCE", "fence.proxy.async.shared::cta;")
    with pytest.raises(ptx.MatrixInFlight):
        run(fenced.replace("@BEFORE", touch).replace("@AFTER", ""), block=128, target="sm_90a")
    single = touch.replace("st.", "setp.eq.u32 %p1, %r0, 0; @%p1 st.")
    run(fenced.replace("@BEFORE", "").replace("@AFTER", single), block=128, target="sm_90a")


def test_wgmma_needs_a_proxy_fence():
    text = WGMMA.replace("@BEFORE", "").replace("@AFTER", "")
    with pytest.raises(ptx.MatrixInFlight):
        run(text.replace("@FENCE", ""), block=128, target="sm_90a")
    run(text.replace("@FENCE", "fence.proxy.async.shared::cta;"), block=128, target="sm_90a")


def test_wgmma_needs_all_four_warps():
    text = WGMMA.replace("@BEFORE", "").replace("@AFTER", "").replace("@FENCE", "fence.proxy.async;")
    with pytest.raises(ptx.DivergentCollective):
        run(text.replace("bar.sync 0;", "setp.ge.u32 %p1, %r0, 96; @%p1 ret; bar.sync 0;"), block=128, target="sm_90a")
