"""The registered ops ``torch.ops.digan_fast.*``: one module per op with schema, fake and autograd.

Each module has a function of the same name.  Importing this package registers every kernel, so :func:`backends` and
:func:`kernel_table` are imported from here.
"""

from digan_fast.dispatch import backends, kernel_table
from digan_fast.ops import bias_act, conv3x3, coord_linear, coord_mlp, fmm_weights, linear_act, render, upfirdn2d

__all__ = [
    "backends",
    "bias_act",
    "conv3x3",
    "coord_linear",
    "coord_mlp",
    "fmm_weights",
    "kernel_table",
    "linear_act",
    "render",
    "upfirdn2d",
]
