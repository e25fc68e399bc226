"""The inception score of class logits."""

from __future__ import annotations

import torch
from torch import Tensor


def inception_score(logits: Tensor, splits: int = 10) -> tuple[float, float]:
    """Mean and population deviation over splits of exp(E KL(p(y|x) ‖ p(y))), from logits [N, C], in float64.

    Salimans, Goodfellow, Zaremba, Cheung, Radford, Chen, "Improved techniques for training GANs", NeurIPS 2016.  Rows
    are divided into ``splits`` consecutive parts, whose sizes differ by one at most.

    Raises ValueError for values that are not finite, or fewer rows than splits.
    """
    if logits.ndim != 2 or splits < 1 or len(logits) < splits:
        raise ValueError(
            f"logits: shape {tuple(logits.shape)}, expected [N, C] with at least {splits} rows, one per split"
        )
    if not bool(logits.isfinite().all()):
        (bad,) = (~logits.isfinite()).any(1).nonzero()[:1].tolist()[0]
        raise ValueError(f"logits: row {bad} is not finite")
    log_p = logits.to("cpu", torch.float64).log_softmax(1)
    scores = torch.stack([_score(part) for part in log_p.tensor_split(splits)])
    return float(scores.mean()), float(scores.std(correction=0))


def _score(log_p: Tensor) -> Tensor:
    marginal = torch.logsumexp(log_p, 0) - torch.tensor(float(len(log_p)), dtype=torch.float64).log()
    return (log_p.exp() * (log_p - marginal)).sum(1).mean().exp()
