"""Moves, memory in every state space, control flow, atomics, counters, and the parser."""

import numpy as np
import pytest
from emulator import ptx
from snippets import WORDS, apply, kernel, run

RNG = np.random.default_rng(0)
PLACE = "mov.u32 %r0, %tid.x; mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mad.lo.u32 %r3, %r1, %r2, %r0;\n"


def test_packing_and_unpacking():
    wide = RNG.integers(0, 1 << 64, 100, np.uint64)
    swapped = (wide >> np.uint64(32)) | (wide << np.uint64(32))
    code = "mov.b64 {{%r1, %r2}}, {0}; mov.b64 {out}, {{%r2, %r1}};"
    np.testing.assert_array_equal(apply(code, [wide], np.uint64), swapped)
    code = "mov.b64 {{%h1, _, _, %h2}}, {0}; mov.b32 {out}, {{%h2, %h1}};"
    parts = wide.view(np.uint16).reshape(-1, 4).astype(np.uint32)
    np.testing.assert_array_equal(apply(code, [wide], np.uint32), parts[:, 3] | parts[:, 0] << 16)


@pytest.mark.parametrize(("size", "count"), [(s, c) for s in (1, 2, 4, 8) for c in (1, 2, 4) if s * c <= 16])
def test_vectors_of_every_width(size, count):
    data = RNG.integers(0, 256, (64, count * size), np.uint8)
    prefix = {1: "%h", 2: "%h", 4: "%r", 8: "%d"}[size]
    names = [f"{prefix}{12 + n}" for n in range(count)]
    vector = "{" + ", ".join(names) + "}" if count > 1 else names[0]
    kind = (f".v{count}" if count > 1 else "") + f".b{8 * size}"
    body = (
        PLACE
        + f"""
    .shared .align 16 .b8 room[1024];
    mov.u32 %r4, room; mad.lo.u32 %r5, %r0, {size * count}, %r4;
    mul.wide.u32 %d8, %r0, {size * count}; add.s64 %d9, %d0, %d8; add.s64 %d10, %d1, %d8;
    ld.global.nc.L1::evict_last{kind} {vector}, [%d9]; st.shared{kind} [%r5], {vector};
    ld.shared{kind} {vector}, [%r5]; st.global.cs{kind} [%d10], {vector};
    """
    )
    counters, (_, found) = run(body, [data, np.zeros_like(data)], block=64)
    np.testing.assert_array_equal(found, data)
    assert counters.total("global_bytes_read") == counters.total("shared_bytes_read") == data.size
    assert counters.total("sectors_loaded") == counters.total("sectors_stored") == data.size // 32
    assert counters.total("bank_conflicts") == 0
    assert counters.total("shared_wavefronts") == 2 * max(2, data.size // 128)


def test_sign_extension_and_truncation():
    small = np.array([1, 127, 128, 255], np.uint8)
    memory = ptx.Memory()
    source, target = memory.array(small), memory.zeros((3, 4), np.int32)
    body = (
        PLACE
        + """
    cvt.u64.u32 %d8, %r0; add.s64 %d9, %d0, %d8; mul.wide.u32 %d8, %r0, 4; add.s64 %d10, %d1, %d8;
    setp.gt.u32 %p1, %r0, 3; @%p1 ret;
    ld.global.s8 %r5, [%d9]; st.global.u32 [%d10], %r5;
    ld.global.u8 %r6, [%d9]; st.global.u32 [%d10+16], %r6;
    mov.u32 %r7, 0x1ff; st.global.u8 [%d10+32], %r7;
    """
    )
    run(body, [source, target], memory=memory)
    np.testing.assert_array_equal(target.array, [small.view(np.int8), small, [255] * 4])


def test_generic_addresses_of_several_spaces_at_once():
    body = (
        PLACE
        + """
    .shared .align 8 .b8 room[256];
    .local .align 8 .b8 stack[16];
    mov.u64 %d2, room; cvta.shared.u64 %d2, %d2; mul.wide.u32 %d8, %r0, 4; add.s64 %d2, %d2, %d8;
    mov.u64 %d3, stack; cvta.local.u64 %d3, %d3; add.s64 %d4, %d0, %d8;
    and.b32 %r4, %r0, 3; setp.eq.u32 %p1, %r4, 1; setp.eq.u32 %p2, %r4, 2;
    selp.b64 %d5, %d2, %d4, %p1; selp.b64 %d5, %d3, %d5, %p2;
    add.u32 %r5, %r0, 100; st.u32 [%d5], %r5; ld.u32 %r6, [%d5];
    add.s64 %d6, %d1, %d8; st.u32 [%d6], %r6;
    """
    )
    start = np.zeros(64, np.uint32)
    _, (direct, found) = run(body, [start, start], block=64)
    index = np.arange(64, dtype=np.uint32)
    np.testing.assert_array_equal(found, index + 100)
    np.testing.assert_array_equal(direct, np.where((index % 4 == 1) | (index % 4 == 2), 0, index + 100))


def test_constants_and_global_variables_outlive_a_launch():
    outside = ".const .align 4 .f32 table[3] = {0f3F800000, 0f40000000, 0f40400000};\n.global .align 4 .u32 calls = 5;"
    body = (
        PLACE
        + """
    mov.u64 %d2, table; ld.const.f32 %f1, [%d2+8]; ld.const.f32 %f2, [table+4]; add.f32 %f1, %f1, %f2;
    setp.ne.u32 %p1, %r0, 0; @%p1 ret;
    st.global.f32 [%d0], %f1; ld.global.u32 %r5, [calls]; add.u32 %r5, %r5, 1; st.global.u32 [calls], %r5;
    st.global.u32 [%d0+4], %r5;
    """
    )
    memory = ptx.Memory()
    out = memory.zeros(2, np.uint32)
    module = ptx.load(kernel("ld.param.u64 %d0, [p0];" + body, ["u64"], outside=outside))
    for turn in (6, 7):
        module.launch("test", 1, 32, [out])
        assert out.array[:1].view(np.float32)[0] == 5
        assert out.array[1] == turn


def test_struct_parameters_are_bytes():
    text = kernel("", ["u64"]).replace(".param .u64 p0", ".param .u64 p0, .param .align 8 .b8 p1[16]")
    body = "ld.param.u64 %d0, [p0]; ld.param.v2.u32 {%r1, %r2}, [p1+8]; st.global.v2.u32 [%d0], {%r2, %r1}; ret;\n}"
    memory = ptx.Memory()
    out = memory.zeros(2, np.uint32)
    struct = np.array([1, 2, 3, 4], np.uint32)
    ptx.load(text.replace("ret;\n}", body)).launch("test", 1, 1, [out, struct.tobytes()])
    np.testing.assert_array_equal(out.array, [4, 3])


CALLS = """
.func (.param .b32 result) twice(.param .b32 value)
{
    .reg .b32 %r<4>; .reg .pred %p<2>;
    ld.param.u32 %r1, [value];
    setp.gt.u32 %p1, %r1, 100;
    @%p1 bra BIG;
    shl.b32 %r2, %r1, 1;
    st.param.b32 [result+0], %r2;
    ret;
BIG:
    st.param.b32 [result+0], %r1;
    ret;
}
"""


def test_calls_that_return_at_different_times():
    code = """
    {{ .param .b32 a; st.param.b32 [a+0], {0}; .param .b32 b; call.uni (b), twice, (a); ld.param.b32 %r5, [b+0]; }}
    {{ .param .b32 a; st.param.b32 [a+0], %r5; .param .b32 b; call.uni (b), twice, (a); ld.param.b32 {out}, [b+0]; }}
    """
    found = apply(code, [WORDS], np.uint32, outside=CALLS)
    once = np.where(WORDS > 100, WORDS, 2 * WORDS)
    np.testing.assert_array_equal(found, np.where(once > 100, once, 2 * once))


def test_divergence_reconverges_before_a_shuffle():
    """Three nested branches, some of which leave the loop early; the warp is complete again after each."""
    body = (
        PLACE
        + """
    mov.u32 %r4, 0; mov.u32 %r5, 0;
    LOOP: setp.ge.u32 %p1, %r4, %r0; @%p1 bra DONE;
    and.b32 %r6, %r4, 1; setp.eq.u32 %p2, %r6, 0; @%p2 bra EVEN;
    add.u32 %r5, %r5, 3; bra NEXT;
    EVEN: add.u32 %r5, %r5, 5; setp.gt.u32 %p3, %r5, 60; @%p3 bra DONE;
    NEXT: add.u32 %r4, %r4, 1; bra LOOP;
    DONE: shfl.sync.bfly.b32 %r7, %r5, 31, 31, -1;
    mul.wide.u32 %d8, %r0, 4; add.s64 %d9, %d0, %d8; st.global.u32 [%d9], %r7;
    """
    )
    _, (found,) = run(body, [np.zeros(32, np.uint32)])
    expected = []
    for thread in range(32):
        total = 0
        for turn in range(thread):
            total += 5 if turn % 2 == 0 else 3
            if turn % 2 == 0 and total > 60:
                break
        expected.append(total)
    np.testing.assert_array_equal(found, expected[::-1])


@pytest.mark.parametrize("place", ["global", "shared"])
@pytest.mark.parametrize(
    ("operation", "type_", "start", "function"),
    [
        ("add", "u32", 0, np.add.reduce),
        ("add", "s32", 0, np.add.reduce),
        ("min", "u32", 1 << 20, np.minimum.reduce),
        ("max", "s32", 0, np.maximum.reduce),
        ("and", "b32", 0xFFFF, np.bitwise_and.reduce),
        ("or", "b32", 0, np.bitwise_or.reduce),
        ("xor", "b32", 0, np.bitwise_xor.reduce),
    ],
)
def test_atomics(place, operation, type_, start, function):
    """Old values correspond to some order: together with the values they lead from the first to the last."""
    values = RNG.integers(0, 1000, 128).astype(np.uint32)
    target = "[%d1]" if place == "global" else "[room]"
    body = (
        PLACE
        + f"""
    .shared .align 4 .b8 room[4];
    mul.wide.u32 %d8, %r0, 4; add.s64 %d9, %d0, %d8; ld.global.u32 %r5, [%d9]; add.s64 %d10, %d2, %d8;
    setp.eq.u32 %p1, %r0, 0; mov.u32 %r6, {start}; @%p1 st.shared.u32 [room], %r6; bar.sync 0;
    atom.{place}.{operation}.{type_} %r7, {target}, %r5; red.{place}.{operation}.{type_} {target}, %r5;
    st.global.u32 [%d10], %r7; bar.sync 0;
    @%p1 ld.shared.u32 %r8, [room]; @%p1 st.global.u32 [%d3], %r8;
    """
    )
    arrays = [values, np.full(1, start, np.uint32), np.zeros(128, np.uint32), np.zeros(1, np.uint32)]
    _, (_, end, old, end_of_shared) = run(body, arrays, block=128, block_races=False)
    expected = function(np.r_[start, values, values].astype(np.uint32))
    assert (end if place == "global" else end_of_shared)[0] == expected
    assert old[0] == start


def test_compare_and_swap_and_exchange():
    body = (
        PLACE
        + """
    atom.global.cas.b32 %r5, [%d0], 7, %r0; atom.global.exch.b32 %r6, [%d0+4], %r0; atom.global.inc.u32 %r7, [%d0+8], 5;
    """
    )
    _, (found,) = run(body, [np.array([7, 1, 0], np.uint32)], block=64)
    np.testing.assert_array_equal(found, [0, 63, 64 % 6])


def test_atomic_floats_add_in_thread_order():
    values = RNG.standard_normal(200).astype(np.float32)
    body = (
        PLACE
        + """
    mul.wide.u32 %d8, %r0, 4; add.s64 %d9, %d0, %d8; ld.global.f32 %f1, [%d9];
    atom.global.gpu.acq_rel.add.f32 %f2, [ %d1 + 0 ], %f1; red.global.add.noftz.f16x2 [%d2], 0x3C004000;
    """
    )
    _, (_, total, halves) = run(body, [values, np.zeros(1, np.float32), np.zeros(1, np.uint32)], block=200)
    assert total[0] == np.add.accumulate(np.r_[np.float32(0), values])[-1]
    np.testing.assert_array_equal(halves.view(np.float16), [400, 200])


@pytest.mark.parametrize(("size", "used"), [(16, 16), (16, 12), (16, 5), (16, 0), (8, 3), (4, 4)])
def test_cp_async_zero_fill(size, used):
    data = RNG.integers(1, 256, 16 * 32, np.uint8)
    body = (
        PLACE
        + f"""
    .shared .align 16 .b8 room[512];
    mov.u32 %r4, room; mad.lo.u32 %r5, %r0, {size}, %r4; mul.wide.u32 %d8, %r0, {size};
    add.s64 %d9, %d0, %d8; add.s64 %d10, %d1, %d8; mov.u32 %r6, {used};
    cp.async.ca.shared.global [%r5], [%d9], {size}, %r6;
    cp.async.commit_group; cp.async.wait_group 0; mov.u32 %r7, 0;
    LOOP: ld.shared.u8 %r8, [%r5]; st.global.u8 [%d10], %r8; add.u32 %r5, %r5, 1; add.s64 %d10, %d10, 1;
    add.u32 %r7, %r7, 1; setp.lt.u32 %p1, %r7, {size}; @%p1 bra LOOP;
    """
    )
    counters, (_, found) = run(body, [data, np.zeros_like(data)])
    expected = data[: 32 * size].reshape(32, size).copy()
    expected[:, used:] = 0
    np.testing.assert_array_equal(found[: 32 * size].reshape(32, size), expected)
    assert counters.where("global_bytes_read", "^cp.async.ca") == 32 * used


@pytest.mark.parametrize(("stride", "extra"), [(1, 0), (2, 1), (4, 3), (8, 7), (32, 31), (33, 0), (3, 0), (0, 0)])
def test_bank_conflicts_of_words(stride, extra):
    body = (
        PLACE
        + f"""
    .shared .align 16 .b8 room[8192];
    mov.u32 %r4, room; mad.lo.u32 %r5, %r0, {4 * stride}, %r4; st.shared.u32 [%r5], 7;
    setp.lt.u32 %p1, %r0, 16; @%p1 st.shared.u32 [%r5], 7;
    """
    )
    counters, _ = run(body)
    whole, part = counters.lines("st.shared")
    assert (whole.bank_conflicts, whole.shared_wavefronts) == (extra, extra + 1)
    # With an even stride, sixteen threads conflict half as often.
    assert part.bank_conflicts == max(0, (extra + 1) // 2 - 1)


@pytest.mark.parametrize(("stride", "extra"), [(16, 0), (32, 4), (64, 12), (80, 0), (128, 28), (48, 0)])
def test_bank_conflicts_of_sixteen_bytes(stride, extra):
    """Eight threads at a time: a row pitch of 80 bytes separates 16-byte rows, 128 maps all to the same banks."""
    body = (
        PLACE
        + f"""
    .shared .align 16 .b8 room[8192]; mov.u32 %r4, room; mad.lo.u32 %r5, %r0, {stride}, %r4; mov.u32 %r6, 0;
    st.shared.v4.u32 [%r5], {{%r6, %r6, %r6, %r6}};
    ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%r10, %r11, %r12, %r13}}, [%r5];
    """
    )
    counters, _ = run(body)
    assert [line.bank_conflicts for line in counters.lines("^st.shared|^ldmatrix")] == [extra, extra]


def test_sectors_and_unique_bytes():
    body = (
        PLACE
        + """
    mul.wide.u32 %d8, %r3, 32; add.s64 %d9, %d0, %d8; ld.global.u32 %r5, [%d9]; ld.global.u32 %r6, [%d0];
    """
    )
    counters, _ = run(body, [np.zeros(8 * 256, np.uint32)], grid=4, block=64)
    assert [line.sectors_loaded for line in counters.lines("^ld.global")] == [256, 8]
    assert counters.unique_bytes_read == 4 * 256
    assert counters.total("global_bytes_read") == 2 * 4 * 256
    assert counters.load_efficiency == 2 * 4 * 256 / (32 * 264)
    (traffic,) = counters.traffic.values()
    assert (traffic.asked_read, traffic.asked_written) == (32 * 264, 0)
    assert (traffic.distinct_read, traffic.distinct_written) == (4 * 256, 0)


def test_launching_some_blocks_only():
    body = PLACE + "mul.wide.u32 %d8, %r3, 4; add.s64 %d9, %d0, %d8; st.global.u32 [%d9], %r3;"
    counters, (found,) = run(body, [np.zeros(256, np.uint32)], grid=4, block=64, blocks=[1, 3])
    assert found.tolist() == [i if i // 64 in (1, 3) else 0 for i in range(256)]
    assert counters.unique_bytes_written == 2 * 256


def test_the_main_loop_is_found():
    body = """
    mov.u32 %r3, 0; mov.f32 %f1, 0f3F800000;
    LOOP: fma.rn.f32 %f1, %f1, %f1, %f1; add.u32 %r3, %r3, 1; setp.lt.u32 %p1, %r3, 10; @%p1 bra LOOP;
    """
    counters, _ = run(body, grid=3, block=64)
    assert [line.text.split()[0] for line in counters.main_loop()] == ["fma.rn.f32", "add.u32", "setp.lt.u32", "@%p1"]
    assert counters.flops == 2 * 10 * 192
    assert counters.opcodes["fma.rn.f32"] == 1920
    assert counters.where("flops", "^fma") == 3840


@pytest.mark.parametrize("max_lanes", [32, 100, 1 << 14])
def test_results_do_not_depend_on_batches_of_blocks(max_lanes):
    body = PLACE + "mul.wide.u32 %d8, %r3, 4; add.s64 %d9, %d0, %d8; st.global.u32 [%d9], %r3;"
    counters, (found,) = run(body, [np.zeros(37 * 48, np.uint32)], grid=37, block=48, max_lanes=max_lanes)
    np.testing.assert_array_equal(found, np.arange(37 * 48))
    assert counters.executed[0] == 37 * 48


def test_three_dimensional_grids_and_blocks():
    body = """
    mov.u32 %r1, %tid.x; mov.u32 %r2, %tid.y; mov.u32 %r3, %tid.z; mov.u32 %r4, %ctaid.x; mov.u32 %r5, %ctaid.y;
    mov.u32 %r6, %ctaid.z; mov.u32 %r7, %nctaid.x; mov.u32 %r8, %nctaid.y; mov.u32 %r9, %ntid.x; mov.u32 %r10, %ntid.y;
    mad.lo.u32 %r11, %r6, %r8, %r5; mad.lo.u32 %r11, %r11, %r7, %r4; mul.lo.u32 %r11, %r11, 24;
    mad.lo.u32 %r12, %r3, %r10, %r2; mad.lo.u32 %r12, %r12, %r9, %r1; add.u32 %r11, %r11, %r12;
    mul.wide.u32 %d8, %r11, 4; add.s64 %d9, %d0, %d8; st.global.u32 [%d9], %r11;
    """
    _, (found,) = run(body, [np.zeros(30 * 24, np.uint32)], grid=(2, 3, 5), block=(4, 3, 2))
    np.testing.assert_array_equal(found, np.arange(30 * 24))


def test_modules_and_names():
    text = kernel("mov.u32 %r1, 1;")
    module = ptx.load("// a comment with { and ;\n/* another\n */" + text)
    assert module.kernels == ["test"]
    assert module.find("te") == "test"
    with pytest.raises(ptx.SyntaxNotUnderstood):
        ptx.load(".version 8.0\n.target sm_80\n.frobnicate 3;")
    with pytest.raises(ptx.SyntaxNotUnderstood):
        ptx.load(text[: text.rindex("}")])


def test_errors_name_source_lines():
    text = kernel(".loc 1 42 7\nst.global.u32 [%d1], 3;").replace("ret;", "ret;") + '\n.file 1 "/somewhere/model.py"\n'
    with pytest.raises(ptx.UninitialisedRegister) as caught:
        ptx.load(text).launch("test", 1, 32, [])
    assert caught.value.source == "model.py:42"


def test_a_warp_may_read_the_results_of_its_atomics():
    body = (
        PLACE
        + """
    .shared .align 4 .b8 room[4];
    st.shared.u32 [room], 0; bar.warp.sync -1; red.shared.add.u32 [room], %r0; bar.warp.sync -1;
    ld.shared.u32 %r5, [room]; st.global.u32 [%d0], %r5;
    """
    )
    _, (found,) = run(body, [np.zeros(1, np.uint32)])
    assert found[0] == 31 * 16
