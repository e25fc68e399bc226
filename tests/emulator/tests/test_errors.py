"""Seeded bugs: each must raise exactly its error, and its correct twin must pass.

A case is a body with one placeholder `…` for the bug or its correct twin.
"""

import numpy as np
import pytest
from emulator import ptx
from seeded import OUT, ROOM, TID, Case, execute
from snippets import kernel, run

COPY = "mul.wide.u32 %d8, %r0, 16; add.s64 %d9, %d0, %d8; mad.lo.u32 %r12, %r0, 16, %r10;\n"


CASES = [
    Case(
        "store past the end",
        ptx.GlobalOutOfBounds,
        TID + OUT + "… st.global.u32 [%d9], %r0;",
        "",
        "setp.ge.u32 %p1, %r0, 60; @%p1 ret;",
        [np.zeros(60, np.uint32)],
    ),
    Case("load before the start", ptx.GlobalOutOfBounds, "ld.global.u32 %r1, [%d0…];", "+-4", "+4"),
    Case("null pointer", ptx.GlobalOutOfBounds, "… ld.global.u32 %r1, [%d1];", "mov.u64 %d1, 0;", "mov.u64 %d1, %d0;"),
    Case(
        "vector across the end",
        ptx.GlobalOutOfBounds,
        "ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%d0+…];",
        "32",
        "16",
        [np.zeros(10, np.uint32)],
    ),
    Case(
        "misaligned global vector", ptx.MisalignedAccess, "ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%d0+…];", "8", "16"
    ),
    Case("misaligned shared store", ptx.MisalignedAccess, TID + ROOM + "st.shared.u32 [%r11+…], %r0;", "2", "4"),
    Case(
        "misaligned cp.async source",
        ptx.MisalignedAccess,
        TID + ROOM + COPY + "setp.gt.u32 %p1, %r0, 7; @%p1 ret; cp.async.cg.shared.global [%r12], [%d9+…], 16;",
        "8",
        "16",
    ),
    Case("shared store past the end", ptx.SharedOutOfBounds, TID + ROOM + "st.shared.u32 [%r11+…], %r0;", "260", "256"),
    Case(
        "too little dynamic shared memory",
        ptx.SharedOutOfBounds,
        TID + "mov.u32 %r10, more; add.u32 %r10, %r10, %r2; st.shared.u32 [%r10+…], %r0;",
        "4",
        "0",
        options={"shared_bytes": 256, "outside": ".extern .shared .align 16 .b8 more[];"},
    ),
    Case(
        "local array past the end",
        ptx.LocalOutOfBounds,
        ".local .align 4 .b8 stack[16];\nmov.u64 %d5, stack; mov.u32 %r1, 3; st.local.u32 [%d5+…], %r1;",
        "16",
        "12",
    ),
    Case(
        "unwritten local read",
        ptx.UninitialisedLocal,
        ".local .align 4 .b8 stack[16];\nmov.u64 %d5, stack; mov.u32 %r1, 3; st.local.u32 [%d5+4], %r1;"
        "ld.local.u32 %r2, [%d5+…];",
        "0",
        "4",
    ),
    Case(
        "unwritten shared read",
        ptx.UninitialisedShared,
        TID + ROOM + "… bar.sync 0; ld.shared.u32 %r3, [%r11];",
        "setp.lt.u32 %p1, %r0, 63; @%p1 st.shared.u32 [%r11], %r0;",
        "st.shared.u32 [%r11], %r0;",
    ),
    Case(
        "register written on one side only",
        ptx.UninitialisedRegister,
        TID + OUT + "… setp.lt.u32 %p1, %r0, 10; @%p1 bra A; mov.u32 %r30, 1; A: st.global.u32 [%d9], %r30;",
        "",
        "mov.u32 %r30, 0;",
    ),
    Case(
        "predicated write, plain read",
        ptx.UninitialisedRegister,
        TID + OUT + "setp.lt.u32 %p1, %r0, 10; … @%p1 mov.u32 %r30, 4; st.global.u32 [%d9], %r30;",
        "",
        "mov.u32 %r30, 0;",
    ),
    Case(
        "write to an input",
        ptx.ReadOnlyWrite,
        TID + OUT + "… [%d9], %r0;",
        "st.global.u32",
        "prefetch.global.L2 [%d9]; //",
        read_only=True,
    ),
    Case(
        "no barrier before the neighbour's value",
        ptx.SharedRace,
        TID + ROOM + "st.shared.u32 [%r11], %r0; … xor.b32 %r3, %r11, 128; ld.shared.u32 %r4, [%r3];",
        "bar.warp.sync -1;",
        "bar.sync 0;",
    ),
    Case(
        "no barrier before overwriting",
        ptx.SharedRace,
        TID + ROOM + "st.shared.u32 [%r11], %r0; bar.sync 0; xor.b32 %r3, %r11, 128; ld.shared.u32 %r4, [%r3];"
        "… st.shared.u32 [%r11], %r4;",
        "",
        "bar.sync 0;",
    ),
    Case(
        "two warps write one word differently",
        ptx.SharedRace,
        TID + ROOM + "st.shared.u32 [%r10], …;",
        "%r0",
        "7",
    ),
    Case(
        "two warps write one word, differently unless both are NaN",
        ptx.SharedRace,
        TID + ROOM + "or.b32 %r3, %r0, …; st.shared.u32 [%r10], %r3;",
        "0x7f800000",
        "0x7fc00000",
    ),
    Case(
        "every warp reads, one writes at once",
        ptx.SharedRace,
        TID + ROOM + "st.shared.u32 [%r11], %r0; bar.sync 0; ld.shared.u32 %r4, [%r10]; setp.eq.u32 %p1, %r0, 63; …"
        "@%p1 st.shared.u32 [%r10], %r4;",
        "",
        "bar.sync 0;",
    ),
    Case(
        "atomic and plain store",
        ptx.SharedRace,
        TID
        + ROOM
        + "st.shared.u32 [%r11], 0; bar.sync 0; atom.shared.add.u32 %r3, [%r10], 1; … setp.eq.u32 %p1, %r0, 63;"
        "@%p1 st.shared.u32 [%r10], 5;",
        "",
        "bar.sync 0;",
    ),
    Case(
        "two blocks store to one word",
        ptx.GlobalRace,
        TID + OUT + "mul.wide.u32 %d7, %r1, …; add.s64 %d9, %d9, %d7; st.global.u32 [%d9], %r0;",
        "128",
        "256",
        grid=2,
    ),
    Case(
        "one block reads another's",
        ptx.GlobalRace,
        TID
        + OUT
        + "mul.wide.u32 %d7, %r1, 256; add.s64 %d9, %d9, %d7; st.global.u32 [%d9], %r0; ld.global.u32 %r5, [%d…];",
        "0",
        "9",
        grid=2,
    ),
    Case(
        "plain store where others add",
        ptx.GlobalRace,
        TID + "… [%d0], 1;",
        "setp.eq.u32 %p1, %r1, 1; red.global.add.u32 [%d0], 1; @%p1 st.global.u32",
        "red.global.add.u32",
        grid=2,
    ),
    Case(
        "cp.async read before the wait",
        ptx.CopyInFlight,
        TID + ROOM + COPY + "setp.gt.u32 %p1, %r0, 15; @%p1 ret; cp.async.ca.shared.global [%r12], [%d9], 16;"
        "cp.async.commit_group; … ld.shared.u32 %r3, [%r12];",
        "cp.async.wait_group 1;",
        "cp.async.wait_group 0;",
    ),
    Case(
        "cp.async waited for without a commit",
        ptx.CopyInFlight,
        TID + ROOM + COPY + "setp.gt.u32 %p1, %r0, 15; @%p1 ret; cp.async.ca.shared.global [%r12], [%d9], 16;"
        "… cp.async.wait_group 0; ld.shared.u32 %r3, [%r12];",
        "",
        "cp.async.commit_group;",
    ),
    Case(
        "cp.async destination overwritten in flight",
        ptx.CopyInFlight,
        TID + ROOM + COPY + "setp.gt.u32 %p1, %r0, 15; @%p1 ret; cp.async.ca.shared.global [%r12], [%d9], 16;"
        "… st.shared.u32 [%r12], %r0;",
        "cp.async.commit_group;",
        "cp.async.wait_all;",
    ),
    Case(
        "cp.async source overwritten in flight",
        ptx.CopyInFlight,
        TID + ROOM + COPY + "setp.gt.u32 %p1, %r0, 15; @%p1 ret; cp.async.ca.shared.global [%r12], [%d9], 16;"
        "… mov.u32 %r5, 77; st.global.u32 [%d9], %r5; cp.async.wait_all;",
        "",
        "cp.async.wait_all;",
    ),
    Case(
        "cp.async seen by another warp without a barrier",
        ptx.SharedRace,
        TID + ROOM + "and.b32 %r3, %r0, 31; mul.wide.u32 %d8, %r3, 4; add.s64 %d9, %d0, %d8;"
        "cp.async.ca.shared.global [%r11], [%d9], 4; cp.async.wait_all; …"
        "xor.b32 %r3, %r11, 128; ld.shared.u32 %r4, [%r3];",
        "",
        "bar.sync 0;",
    ),
    Case(
        "shuffle in a branch",
        ptx.DivergentCollective,
        TID + "setp.lt.u32 %p1, %r0, …; @!%p1 bra A; shfl.sync.bfly.b32 %r3, %r0, 1, 31, -1; A: bar.sync 0;",
        "24",
        "32",
    ),
    Case(
        "shuffle by a thread that the mask leaves out",
        ptx.DivergentCollective,
        TID + "shfl.sync.bfly.b32 %r3, %r0, 1, 31, …;",
        "0xFFFF",
        "0xFFFFFFFF",
    ),
    Case(
        "shuffle from a thread that has left",
        ptx.DivergentCollective,
        TID + "and.b32 %r3, %r0, 31; setp.eq.u32 %p1, %r3, 5; @%p1 ret; shfl.sync.idx.b32 %r3, %r0, …, 31, 0xFFFFFFDF;",
        "5",
        "6",
    ),
    Case(
        "vote in a branch",
        ptx.DivergentCollective,
        TID + "setp.lt.u32 %p1, %r0, 24; @!%p1 bra A; … vote.sync.ballot.b32 %r3, %p1, %r4; A: bar.sync 0;",
        "mov.u32 %r4, -1;",
        "activemask.b32 %r4;",
    ),
    Case(
        "barrier in a branch",
        ptx.DivergentCollective,
        TID + "setp.lt.u32 %p1, %r0, …; @%p1 bra A; bar.sync 0; A: mov.u32 %r3, 1;",
        "24",
        "0",
    ),
    Case(
        "ldmatrix by half a warp",
        ptx.DivergentCollective,
        TID + ROOM + "st.shared.u32 [%r11], %r0; bar.sync 0; setp.lt.u32 %p1, %r0, …; mad.lo.u32 %r12, %r0, 16, %r10;"
        "@%p1 ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r3}, [%r12];",
        "16",
        "32",
    ),
    Case(
        "mma by half a warp",
        ptx.DivergentCollective,
        TID + "mov.b32 %r3, 0; setp.lt.u32 %p1, %r0, …; @%p1 mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%r4, %r5, %r6, %r7}, {%r3, %r3, %r3, %r3}, {%r3, %r3}, {%r3, %r3, %r3, %r3};",
        "40",
        "32",
    ),
    Case(
        "warps wait at different barriers",
        ptx.BarrierDeadlock,
        TID + "setp.lt.u32 %p1, %r0, 32; @%p1 bra A; bar.sync …; bra B; A: bar.sync 0; B: mov.u32 %r3, 1;",
        "1",
        "0",
    ),
    Case(
        "endless loop",
        ptx.BudgetExceeded,
        "mov.u32 %r3, 0; A: add.u32 %r3, %r3, …; setp.lt.u32 %p1, %r3, 100; @%p1 bra A;",
        "0",
        "1",
        options={"budget": 5000},
    ),
    Case("trap", ptx.DeviceTrap, TID + "setp.eq.u32 %p1, %r0, …; @%p1 trap;", "63", "64"),
    Case("unknown opcode", ptx.UnsupportedInstruction, "…", "frobnicate.b32 %r1, 3;", "mov.b32 %r1, 3;"),
    Case("unknown modifier", ptx.UnsupportedInstruction, "mov.u32 %r2, 1; add…u32 %r1, %r2, 3;", ".frob.", "."),
    Case(
        "unknown rounding",
        ptx.UnsupportedInstruction,
        "mov.f32 %f2, 0f3F800000; fma…f32 %f1, %f2, %f2, %f2;",
        ".",
        ".rn.",
    ),
    Case("barrier of some warps", ptx.UnsupportedInstruction, "bar.sync 0, …;", "32", "64"),
    Case("undeclared register", ptx.UnsupportedInstruction, "mov.b32 %r1, …;", "%r99", "3"),
    Case("register too narrow", ptx.UnsupportedInstruction, "mov.u32 …, 3;", "%h1", "%r1"),
    Case("unknown branch target", ptx.SyntaxNotUnderstood, "bra …; A: mov.u32 %r1, 2;", "NOWHERE", "A"),
    Case("unknown special register", ptx.UnsupportedInstruction, "mov.u32 %r1, %…;", "envreg3", "tid.y"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_seeded_bug(case):
    with pytest.raises(ptx.PtxError) as caught:
        execute(case, case.bug)
    assert type(caught.value) is case.error, caught.value
    assert caught.value.line is not None
    assert caught.value.text


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_correct_twin(case):
    execute(case, case.right)


def test_coordinates_of_block_and_thread():
    body = """
    mov.u32 %r0, %tid.x; mov.u32 %r1, %tid.y; mov.u32 %r2, %ctaid.y;
    mad.lo.u32 %r3, %r1, 16, %r0; mad.lo.u32 %r3, %r2, 64, %r3;
    mul.wide.u32 %d8, %r3, 4; add.s64 %d9, %d0, %d8;
    st.global.u32 [%d9], %r3;
    """
    with pytest.raises(ptx.GlobalOutOfBounds) as caught:
        run(body, [np.zeros(100, np.uint32)], grid=(1, 2), block=(16, 4))
    error = caught.value
    assert (error.block, error.thread) == ((0, 1, 0), (4, 2, 0))
    assert error.text == "st.global.u32 [%d9], %r3"
    assert "byte 400 of allocation 0 of 400 bytes" in str(error)
    text = kernel("ld.param.u64 %d0, [p0];\n" + body, ["u64"])
    assert text.splitlines()[error.line - 1].startswith("    st.global.u32")


def test_unwritten_global_reads():
    memory = ptx.Memory()
    source, target = memory.empty(64, np.uint32), memory.zeros(64, np.uint32)
    body = TID + OUT + "… ld.global.u32 %r5, [%d9]; add.s64 %d9, %d1, %d8; st.global.u32 [%d9], %r5;"
    with pytest.raises(ptx.UninitialisedGlobal):
        run(body.replace("…", ""), [source, target], block=64, memory=memory)
    run(body.replace("…", "st.global.u32 [%d9], %r0;"), [source, target], block=64, memory=memory)
    np.testing.assert_array_equal(target.array, np.arange(64))


def test_wrong_launches():
    module = ptx.load(kernel("mov.u32 %r1, 1;", ["u32", "f32"]))
    module.launch("test", 1, 32, [1, 2.5])
    for args in ([1], [1, 2.0, 3], [1.5, 2.0]):
        with pytest.raises(ptx.WrongLaunch):
            module.launch("test", 1, 32, args)
    for grid, block in ((0, 32), (1, 2048), ((1, 1, 1, 1), 32)):
        with pytest.raises(ptx.WrongLaunch):
            module.launch("test", grid, block, [1, 2.0])
    with pytest.raises(ptx.WrongLaunch):
        module.launch("nothing", 1, 32, [1, 2.0])
    with pytest.raises(ptx.WrongLaunch):
        module.launch("test", 1, 32, [1, 2.0], shared_bytes=163 * 1024 + 1)
    required = ptx.load(kernel("mov.u32 %r1, 1;").replace("test()", "test()\n.reqntid 64"))
    required.launch("test", 1, 64, [])
    with pytest.raises(ptx.WrongLaunch):
        required.launch("test", 1, 32, [])
