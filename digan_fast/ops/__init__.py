"""The registered ops ``torch.ops.digan_fast.*``: one file per op with schema, fake and autograd."""

from digan_fast.ops.bias_act import bias_act
from digan_fast.ops.coord_linear import coord_linear
from digan_fast.ops.fmm_weights import fmm_weights
from digan_fast.ops.linear_act import linear_act
from digan_fast.ops.upfirdn2d import upfirdn2d

__all__ = ["bias_act", "coord_linear", "fmm_weights", "linear_act", "upfirdn2d"]
