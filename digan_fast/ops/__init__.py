"""The registered ops ``torch.ops.digan_fast.*``: one file per op with schema, fake and autograd.

Importing it registers every kernel, so :func:`backends` and :func:`kernel_table` are asked for here.
"""

from digan_fast.dispatch import backends, kernel_table
from digan_fast.ops.bias_act import bias_act
from digan_fast.ops.coord_linear import coord_linear
from digan_fast.ops.coord_mlp import coord_mlp
from digan_fast.ops.fmm_weights import fmm_weights
from digan_fast.ops.linear_act import linear_act
from digan_fast.ops.render import render
from digan_fast.ops.upfirdn2d import upfirdn2d

__all__ = [
    "backends",
    "bias_act",
    "coord_linear",
    "coord_mlp",
    "fmm_weights",
    "kernel_table",
    "linear_act",
    "render",
    "upfirdn2d",
]
