"""Calls that launch every kernel at least once; their results are not checked."""

from __future__ import annotations

import torch
from cases import DTYPES, calls
from mlps import MLPS, gradient_arguments, mlp, siren
from mlps import PRECISIONS as OF_MLPS
from ops import OP_CASES, kernel, supports
from renderings import PRECISIONS, RENDERINGS, arguments, op


def launch_everything() -> None:
    for case in RENDERINGS.values():
        for precision in PRECISIONS:
            op._cuda(*arguments(case.levels(), case.size, case.window, precision))
    for precision in OF_MLPS:
        networks = [mlp(name, precision) for name in MLPS]
        networks += [siren(1, 9, width, 1, precision) for width in (64, 128, 256, 512)]
        for args in networks:
            if supports("coord_mlp", *args):
                kernel("coord_mlp")(*args)
                kernel("coord_mlp_backward")(*gradient_arguments(args))
    for how in ("highest", "high"):
        torch.set_float32_matmul_precision(how)
        for case in OP_CASES:
            for dtype in DTYPES.values() if how == "highest" else (torch.float32,):
                for name, args in calls(case, dtype):
                    kernel(name)(*args)
