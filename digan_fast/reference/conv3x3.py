"""Convolutions with 3×3 kernels, and the two gradients of each: what autograd computes, as functions of their own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight


def conv3x3(x: Tensor, weight: Tensor, stride: int, padding: int, gain: float) -> Tensor:
    """x [N, I, H, W] and weight [O, I, 3, 3], a correlation with zeros around x, times ``gain``."""
    height, width = output_size(x.shape[2:], stride, padding)
    # The gain multiplies the smaller of weight and result; autograd keeps the product with the weight.
    if len(x) * height * width < weight.shape[1:].numel():
        return torch.conv2d(x, weight, stride=stride, padding=padding) * gain
    return torch.conv2d(x, weight * gain, stride=stride, padding=padding)


def input_gradient(grad: Tensor, weight: Tensor, size: Sequence[int], stride: int, padding: int, gain: float) -> Tensor:
    """grad [N, O, H', W'] to [N, I, *size]."""
    shape = (len(grad), weight.shape[1], *size)
    return conv2d_input(shape, weight * gain, grad, stride=stride, padding=padding)


def weight_gradient(grad: Tensor, x: Tensor, stride: int, padding: int, gain: float) -> Tensor:
    """grad [N, O, H', W'] and x [N, I, H, W] to [O, I, 3, 3]."""
    shape = (grad.shape[1], x.shape[1], 3, 3)
    return conv2d_weight(x, shape, grad, stride=stride, padding=padding) * gain


def output_size(size: Sequence[int], stride: int, padding: int) -> tuple[int, int]:
    height, width = ((side + 2 * padding - 3) // stride + 1 for side in size)
    return height, width
