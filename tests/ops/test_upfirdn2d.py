from __future__ import annotations

import pytest
import torch
from checks import check_compiled, check_derivatives, check_schema, check_stride_zero_gradient, check_views, normal
from torch import Tensor

from digan_fast import functional

CASES = [
    (1, 1, (0, 0, 0, 0)),
    (2, 1, (2, 1, 2, 1)),
    (1, 2, (1, 1, 1, 1)),
    (2, 3, (3, -1, 0, 2)),
    (3, 2, (-1, 4, 5, -2)),
]


def formula(x: Tensor, filter: Tensor, up: int, down: int, padding: tuple[int, ...], flip: bool) -> Tensor:
    """Sums over the filter's taps of a zero-inserted, padded or cropped picture."""
    batch, channels, height, width = x.shape
    wide = x.new_zeros(batch, channels, height * up, width * up)
    wide[:, :, ::up, ::up] = x
    left, right, top, bottom = padding
    big = 10
    canvas = x.new_zeros(batch, channels, height * up + 2 * big, width * up + 2 * big)
    canvas[:, :, big : big + height * up, big : big + width * up] = wide
    canvas = canvas[:, :, big - top : big + height * up + bottom, big - left : big + width * up + right]
    taps = filter if flip else filter.flip((0, 1))
    rows, columns = canvas.shape[2] - taps.shape[0] + 1, canvas.shape[3] - taps.shape[1] + 1
    out = sum(
        taps[j, i] * canvas[:, :, j : j + rows, i : i + columns]
        for j in range(taps.shape[0])
        for i in range(taps.shape[1])
    )
    assert isinstance(out, Tensor)
    return out[:, :, ::down, ::down]


def filter_of(rows: int = 4, columns: int = 4) -> Tensor:
    return torch.arange(1.0, rows * columns + 1, dtype=torch.float64).view(rows, columns) / 50


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize(("up", "down", "padding"), CASES)
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size", [(4, 3), (1, 2)])
def test_is_its_formula(up: int, down: int, padding: tuple[int, ...], flip: bool, size: tuple[int, int]) -> None:
    x, filter = torch.randn(2, 3, 7, 5, dtype=torch.float64), filter_of(*size)
    found = functional.upfirdn2d(x, filter, up, down, padding, flip, gain=1.5)
    torch.testing.assert_close(found, formula(x, filter, up, down, padding, flip) * 1.5)


@pytest.mark.parametrize(("up", "down", "padding"), CASES)
def test_derivatives(up: int, down: int, padding: tuple[int, ...]) -> None:
    check_derivatives(
        lambda x: functional.upfirdn2d(x, filter_of(), up, down, padding, gain=2.0), (normal(1, 2, 5, 6),)
    )


def test_schema_and_compilation() -> None:
    x, filter = normal(2, 3, 6, 6, dtype=torch.float32), filter_of().float()
    check_schema(torch.ops.digan_fast.upfirdn2d.default, (x, filter, 2, 1, [2, 1, 2, 1], False, 4.0))
    check_compiled(lambda t: functional.upfirdn2d(t, filter, down=2, padding=(1, 1, 1, 1)), (x,))


def test_views_and_stride_zero_gradients() -> None:
    def function(x: Tensor) -> Tensor:
        return functional.upfirdn2d(x, filter_of(), 2, 1, (2, 1, 2, 1))

    check_views(function, (normal(2, 3, 5, 4),))
    check_stride_zero_gradient(function, (normal(2, 3, 5, 4),))


def test_channels_last_and_empty_batch() -> None:
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    expected = functional.upfirdn2d(x, filter_of(), down=2, padding=(1, 1, 1, 1))
    last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(functional.upfirdn2d(last, filter_of(), down=2, padding=(1, 1, 1, 1)), expected)
    assert functional.upfirdn2d(x[:0], filter_of(), down=2, padding=(1, 1, 1, 1)).shape == (0, 3, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"up": 0}, "up, down: 0, 1"),
        ({"padding": (1, 1)}, r"padding: \(1, 1\)"),
        ({"padding": (-4, 0, 0, 0)}, "smaller than the filter"),
    ],
)
def test_errors_name_the_argument(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        functional.upfirdn2d(torch.zeros(1, 1, 5, 5), filter_of().float(), **arguments)  # type: ignore[arg-type]
