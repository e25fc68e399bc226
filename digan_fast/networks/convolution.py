"""The discriminators' convolution."""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digan_fast import functional, transforms
from digan_fast.networks.layers import RESAMPLE_FILTER, resample_filter
from digan_fast.reference.activations import ACTIVATIONS


class Conv(nn.Module):
    """An equalised convolution, FIR-downsampled if ``down`` is 2; randn weights scaled by 1/√(I·k²) when run.

    Unless ``trainable``, its parameters are buffers, as published.
    """

    resample_filter: Tensor
    weight: Tensor
    bias: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        activation: str = "lrelu",
        bias: bool = True,
        down: int = 1,
        conv_clamp: float | None = None,
        filter_taps: Sequence[int] = RESAMPLE_FILTER,
        trainable: bool = True,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.down = down
        self.conv_clamp = conv_clamp
        self.padding = kernel_size // 2
        weight = torch.randn(out_channels, in_channels, kernel_size, kernel_size)
        offset = torch.zeros(out_channels) if bias else None
        if trainable:
            self.weight = nn.Parameter(weight)
            self.bias = None if offset is None else nn.Parameter(offset)
        else:
            self.register_buffer("weight", weight)
            self.register_buffer("bias", offset)
        self.weight_gain = 1 / math.sqrt(in_channels * kernel_size**2)
        self.register_buffer("resample_filter", resample_filter(filter_taps))

    def _convolve(self, x: Tensor, stride: int = 1, padding: int = 0, gain: float = 1.0) -> Tensor:
        weight, gain = self.weight.to(x.dtype), self.weight_gain * gain
        if weight.shape[-1] == 3:
            return functional.conv3x3(x, weight, stride=stride, padding=padding, gain=gain)
        return F.conv2d(x, weight * gain, stride=stride, padding=padding)

    def _convolve_filtered(self, x: Tensor, pad: Sequence[int], gain: float) -> Tensor:
        """FIR filter, then stride 2.  The filtered x is computed again for the weight's gradient instead of kept."""
        filtered = functional.upfirdn2d(x, self.resample_filter, padding=pad)
        if not (torch.is_grad_enabled() and x.requires_grad) or torch.compiler.is_compiling() or transforms.active():
            return self._convolve(filtered, stride=2, gain=gain)
        # x is kept as the output of its activation anyway. The graph keeps both hooks and what they refer to.
        again = functools.partial(functional.upfirdn2d, x.detach(), self.resample_filter, padding=pad)
        dropped = weakref.ref(filtered)
        with torch.autograd.graph.saved_tensors_hooks(
            lambda saved: again if saved is dropped() else saved, lambda saved: saved() if saved is again else saved
        ):
            return self._convolve(filtered, stride=2, gain=gain)

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        bare = self.bias is None and self.activation == "linear" and self.conv_clamp is None
        inner = gain if bare else 1.0
        if self.down == 1:
            x = self._convolve(x, padding=self.padding, gain=inner)
        else:
            taps = len(self.resample_filter)
            before, after = self.padding + (taps - 1) // 2, self.padding + (taps - 2) // 2
            pad = (before, after, before, after)
            if self.padding == 0:
                x = functional.upfirdn2d(x, self.resample_filter, down=2, padding=pad)
                x = self._convolve(x, gain=inner)
            else:
                x = self._convolve_filtered(x, pad, inner)
        if bare:
            return x
        return functional.bias_act(
            x,
            None if self.bias is None else self.bias.to(x.dtype),
            activation=self.activation,
            gain=ACTIVATIONS[self.activation].gain * gain,
            clamp=None if self.conv_clamp is None else self.conv_clamp * gain,
        )
