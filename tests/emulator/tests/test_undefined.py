"""Registers that some threads leave undefined: harmless while nothing depends on them, an error once something does.

Each case has one placeholder `…` for the bug or its correct twin.
"""

import numpy as np
import pytest
from emulator import ptx
from seeded import OUT, ROOM, TID, Case, execute
from snippets import run

# %r30 is written by ten threads; %r32 is computed from it in pairs.
PARTIAL = (
    "setp.lt.u32 %p1, %r0, 10; @%p1 mov.u32 %r30, 4; shfl.sync.bfly.b32 %r31, %r30, 1, 31, -1;"
    "add.u32 %r32, %r30, %r31;\n"
)

CASES = [
    *(
        Case(
            f"undefined value reaches {what}",
            ptx.UninitialisedRegister,
            TID + OUT + PARTIAL + f"setp.lt.u32 %p2, %r0, …; {use}",
            "11",
            "10",
        )
        for what, use in {
            "a store": "@%p2 st.global.u32 [%d9], %r32;",
            "a store by a conversion": "cvt.rn.f32.u32 %f1, %r32; mov.b32 %r33, %f1; @%p2 st.global.u32 [%d9], %r33;",
            "a store by another shuffle": "shfl.sync.bfly.b32 %r33, %r32, 1, 31, -1; @%p2 st.global.u32 [%d9], %r33;",
            "a store as half of a vector": "mov.b64 %d10, {%r0, %r32}; @%p2 st.global.u64 [%d0], %d10;",
            "an address": "mad.wide.u32 %d10, %r32, 0, %d9; @%p2 ld.global.u32 %r33, [%d10];",
            "a predicate": "@%p2 setp.eq.u32 %p3, %r32, 0;",
            "an atomic": "@%p2 red.global.add.u32 [%d0], %r32;",
            "shared memory": ROOM + "@%p2 st.shared.u32 [%r11], %r32;",
        }.items()
    ),
    Case(
        "undefined value of a neighbour",
        ptx.UninitialisedRegister,
        TID + OUT + PARTIAL + "shfl.sync.idx.b32 %r33, %r30, …, 31, -1; st.global.u32 [%d9], %r33;",
        "10",
        "9",
        block=32,
    ),
    Case(
        "undefined operand of a product",
        ptx.UninitialisedRegister,
        TID + PARTIAL + "mov.b32 %r33, 0; mov.f32 %f4, 0f00000000; mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
        "{%f0, %f1, %f2, %f3}, {…, %r33}, {%r33}, {%f4, %f4, %f4, %f4};",
        "%r32",
        "%r0",
        block=32,
    ),
    Case(
        "undefined value kept for the next round",
        ptx.UninitialisedRegister,
        TID + OUT + "mov.u32 %r20, 0; mov.u32 %r31, 0; AGAIN: setp.lt.u32 %p1, %r0, 10; @%p1 mov.u32 %r30, 4;"
        "… add.u32 %r31, %r31, %r30; add.u32 %r20, %r20, 1; setp.lt.u32 %p2, %r20, 3; @%p2 bra AGAIN;"
        "st.global.u32 [%d9], %r31;",
        "",
        "@!%p1 mov.u32 %r30, 5;",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_undefined_values_are_errors_where_they_matter(case):
    with pytest.raises(case.error):
        execute(case, case.bug)
    execute(case, case.right)


def test_a_reduction_whose_idle_lanes_are_undefined_is_right():
    """As compilers emit it: lanes beyond the partial sums load and store nothing but take part in the shuffles."""
    body = """
    setp.lt.u32 %p1, %r0, 4; @%p1 ld.global.u32 %r30, [%d9];
    shfl.sync.bfly.b32 %r31, %r30, 2, 31, -1; add.u32 %r32, %r30, %r31;
    shfl.sync.bfly.b32 %r33, %r32, 1, 31, -1; add.u32 %r34, %r32, %r33;
    setp.eq.u32 %p2, %r0, 0; @%p2 st.global.u32 [%d1], %r34;
    """
    values = np.array([1, 20, 300, 4000], np.uint32)
    _, (_, total) = run(TID + OUT + body, [values, np.zeros(1, np.uint32)])
    assert total[0] == 4321
