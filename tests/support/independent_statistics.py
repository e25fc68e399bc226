"""The statistics once more, from their definitions in 50 digits with mpmath, which torch brings.

``python -m independent_statistics`` in this folder writes the golden file.  Shares nothing with ``digan_fast.metrics``:
sums run over rows and pairs of rows one by one, and the root of a covariance comes from mpmath's eigenvectors.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, Final

import mpmath
import numpy
import scipy.linalg

GOLDEN: Final = Path(__file__).parents[1] / "reference_data" / "statistics.json"
# Rows of both sets, and features: more rows than features, and fewer, whose covariances lack full rank.
CASES: Final = {"full rank": (40, 33, 10), "few rows": (7, 9, 12)}
LARGE: Final = (300, 280, 96)
SPLITS: Final = (1, 4)
mpmath.mp.dps = 50
Rows = list[list[Any]]


def sets(count: int, other: int, features: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """float32 features with means and scales that differ: NumPy never changes what a RandomState draws."""
    draw = numpy.random.RandomState(count)
    scales = numpy.logspace(-1, 2, features)
    mixed = draw.standard_normal((features, features)) / features**0.5
    first = draw.standard_normal((count, features)) * scales + 50
    second = draw.standard_normal((other, features)) @ mixed * scales + 50.5
    return first.astype(numpy.float32), second.astype(numpy.float32)


def pictures() -> tuple[numpy.ndarray, numpy.ndarray]:
    """float32 [1, 1, 13, 12] in [−1, 1]."""
    draw = numpy.random.RandomState(3)
    picture = draw.uniform(-0.9, 0.9, (1, 1, 13, 12))
    return picture.astype(numpy.float32), (picture + draw.uniform(-0.1, 0.1, picture.shape)).astype(numpy.float32)


def exact(values: numpy.ndarray) -> Rows:
    return [[mpmath.mpf(float(value)) for value in row] for row in values]


def moments(rows: Rows, less: int) -> tuple[Any, Any]:
    """The mean, and the covariance over n − ``less``."""
    count, features = len(rows), len(rows[0])
    mean = [mpmath.fsum(row[i] for row in rows) / count for i in range(features)]
    covariance = mpmath.matrix(features)
    for i, j in itertools.product(range(features), repeat=2):
        products = ((row[i] - mean[i]) * (row[j] - mean[j]) for row in rows)
        covariance[i, j] = mpmath.fsum(products) / (count - less)
    return mean, covariance


def root_trace(matrix: Any) -> Any:
    return mpmath.fsum(mpmath.sqrt(max(value, 0)) for value in mpmath.eigsy(matrix, eigvals_only=True))


def frechet(first: Rows, second: Rows, less: int) -> Any:
    (mean, covariance), (other, expected) = moments(first, less), moments(second, less)
    values, vectors = mpmath.eigsy(covariance)
    root = vectors * mpmath.diag([mpmath.sqrt(max(value, 0)) for value in values]) * vectors.T
    apart = mpmath.fsum((a - b) ** 2 for a, b in zip(mean, other, strict=True))
    traces = mpmath.fsum(covariance[i, i] + expected[i, i] for i in range(len(mean)))
    return apart + traces - 2 * root_trace(root * expected * root)


def kernel(first: Rows, second: Rows, degree: int, coef0: int, unbiased: bool) -> Any:
    def mean(pairs: Any) -> Any:
        found = [(mpmath.fdot(x, y) / len(x) + coef0) ** degree for x, y in pairs]
        return mpmath.fsum(found) / len(found)

    def within(rows: Rows) -> Any:
        return mean(itertools.permutations(rows, 2) if unbiased else itertools.product(rows, rows))

    return within(first) + within(second) - 2 * mean(itertools.product(first, second))


def inception_score(logits: Rows, splits: int) -> list[Any]:
    """Mean and population deviation."""
    bounds = [sum(len(part) for part in numpy.array_split(range(len(logits)), splits)[:i]) for i in range(splits + 1)]
    scores = []
    for begin, end in itertools.pairwise(bounds):
        p = [[mpmath.exp(value) for value in row] for row in logits[begin:end]]
        p = [[value / mpmath.fsum(row) for value in row] for row in p]
        q = [mpmath.fsum(column) / len(p) for column in zip(*p, strict=True)]
        terms = (x * mpmath.log(x / y) for row in p for x, y in zip(row, q, strict=True))
        scores.append(mpmath.exp(mpmath.fsum(terms) / len(p)))
    mean = mpmath.fsum(scores) / splits
    return [mean, mpmath.sqrt(mpmath.fsum((score - mean) ** 2 for score in scores) / splits)]


def psnr(x: Rows, y: Rows) -> Any:
    squares = [(a - b) ** 2 for first, second in zip(x, y, strict=True) for a, b in zip(first, second, strict=True)]
    return 10 * mpmath.log10(4 * len(squares) / mpmath.fsum(squares))


def ssim(x: Rows, y: Rows) -> Any:
    """Windows of 11×11 pixels, σ = 1.5, colours mapped to [0, 1]."""
    line = [mpmath.exp(-mpmath.mpf(offset * offset) / mpmath.mpf("4.5")) for offset in range(-5, 6)]
    weights = [[a * b / mpmath.fsum(line) ** 2 for b in line] for a in line]
    c1, c2 = mpmath.mpf("0.01") ** 2, mpmath.mpf("0.03") ** 2
    found = []
    for top, left in itertools.product(range(len(x) - 10), range(len(x[0]) - 10)):
        places = list(itertools.product(range(11), repeat=2))
        a, b = ([(rows[top + i][left + j] + 1) / 2 for i, j in places] for rows in (x, y))
        w = [weights[i][j] for i, j in places]
        mean_a, mean_b = mpmath.fdot(w, a), mpmath.fdot(w, b)
        variance_a = mpmath.fdot(w, [(value - mean_a) ** 2 for value in a])
        variance_b = mpmath.fdot(w, [(value - mean_b) ** 2 for value in b])
        products = [(first - mean_a) * (second - mean_b) for first, second in zip(a, b, strict=True)]
        above = (2 * mean_a * mean_b + c1) * (2 * mpmath.fdot(w, products) + c2)
        found.append(above / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)))
    return mpmath.fsum(found) / len(found)


def scipy_frechet(first: numpy.ndarray, second: numpy.ndarray) -> float:
    """float64, for more features than mpmath takes: NumPy's covariances and SciPy's root of their product."""
    a, b = (numpy.cov(rows.astype(numpy.float64).T) for rows in (first, second))
    common = numpy.trace(scipy.linalg.sqrtm(a @ b)).real
    apart = first.astype(numpy.float64).mean(0) - second.astype(numpy.float64).mean(0)
    return float(apart @ apart + numpy.trace(a) + numpy.trace(b) - 2 * common)


def golden() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, counts in CASES.items():
        first, second = map(exact, sets(*counts))
        mean, covariance = moments(first, 1)
        found[name] = {
            "mean": mean,
            "covariance": [list(covariance[i, :]) for i in range(len(mean))],
            "frechet, n-1": frechet(first, second, 1),
            "frechet, n": frechet(first, second, 0),
            "kernel, degree 3, coef0 1, unbiased": kernel(first, second, 3, 1, True),
            "kernel, degree 3, coef0 1, biased": kernel(first, second, 3, 1, False),
            "kernel, degree 2, coef0 0, biased": kernel(first, second, 2, 0, False),
        }
    logits = exact(sets(*CASES["full rank"])[0] / 20)
    found["inception score"] = {str(splits): inception_score(logits, splits) for splits in SPLITS}
    x, y = (exact(picture[0, 0]) for picture in pictures())
    found["pictures"] = {"psnr": psnr(x, y), "ssim": ssim(x, y)}
    found["scipy"] = {"frechet, n-1": scipy_frechet(*sets(*LARGE))}
    return found


def main() -> None:
    GOLDEN.write_text(json.dumps(golden(), indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
