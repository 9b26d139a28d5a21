"""How unevenly things are shared out among classes: measures of a long tail, from counts alone.

A count is how often a class occurs, in images, regions or pixels; zeros count as classes too. Everything here is a pure
function, and undefined values are None.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LongTail:
    """What counts say of the classes they are of.

    Attributes:
        counts: by class, in the order given.
        ratio: see `imbalance_ratio`.
        gini: see `gini`.
        entropy: see `normalised_entropy`.
        beta: with which the effective numbers are computed; None where there is nothing to count.
        effective: by class; see `effective_number`.
        weights: by class; see `class_weights`.
    """

    counts: Mapping[str, int]
    ratio: float | None
    gini: float | None
    entropy: float | None
    beta: float | None
    effective: Mapping[str, float | None]
    weights: Mapping[str, float | None]

    @property
    def most(self) -> tuple[str, ...]:
        """The classes with the largest count."""
        return self._with(max(self.counts.values(), default=0))

    @property
    def least(self) -> tuple[str, ...]:
        """The classes with the smallest count."""
        return self._with(min(self.counts.values(), default=0))

    def _with(self, count: int) -> tuple[str, ...]:
        return tuple(name for name, number in self.counts.items() if number == count)


def long_tail(counts: Mapping[str, int], beta: float | None = None) -> LongTail:
    """All measures of one set of classes.

    Args:
        counts: by class.
        beta: of the effective number, in [0, 1); None takes `default_beta`.
    """
    numbers = list(counts.values())
    if beta is None:
        beta = default_beta(numbers)
    return LongTail(
        counts=dict(counts),
        ratio=imbalance_ratio(numbers),
        gini=gini(numbers),
        entropy=normalised_entropy(numbers),
        beta=beta,
        effective={name: None if beta is None else effective_number(n, beta) for name, n in counts.items()},
        weights=dict.fromkeys(counts) if beta is None else class_weights(counts, beta),
    )


def imbalance_ratio(counts: Iterable[int]) -> float | None:
    """The largest count over the smallest, from 1 up; None where a class never occurs, or there is none.

    Source: the "imbalance factor" of Cui et al., CVPR 2019 (arxiv.org/abs/1901.05555), section 5.1.

    >>> imbalance_ratio([8, 4, 2])
    4.0
    """
    numbers = list(counts)
    return max(numbers) / min(numbers) if numbers and min(numbers) > 0 else None


def gini(counts: Iterable[int]) -> float | None:
    """The Gini coefficient: 0 where all counts are equal, 1 - 1/n where one of n classes has everything.

    Half the mean difference of two counts over the mean count; None where nothing was counted.
    Source: Yang et al., A Survey on Long-Tailed Visual Recognition, IJCV 2022 (arxiv.org/abs/2205.13775), who compare
    four measures of a long tail and propose this one.

    >>> gini([1, 3])
    0.25
    """
    ordered = sorted(counts)
    n, total = len(ordered), sum(ordered)
    if total == 0:
        return None
    return sum((2 * rank - n - 1) * count for rank, count in enumerate(ordered, start=1)) / (n * total)


def normalised_entropy(counts: Iterable[int]) -> float | None:
    """Shannon's entropy over that of equal classes: 1 where all counts are equal, 0 where one class has everything.

    None for fewer than two classes, or where nothing was counted.
    Source: Shannon, A Mathematical Theory of Communication, 1948; as "evenness" in Pielou, J. Theoret. Biol. 13 (1966).

    >>> normalised_entropy([5, 5, 0, 0])
    0.5
    """
    numbers = list(counts)
    total = sum(numbers)
    if len(numbers) < 2 or total == 0:
        return None
    shares = (count / total for count in numbers if count)
    return sum(share * -math.log(share) for share in shares) / math.log(len(numbers)) + 0.0  # of one class, no -0.0


def default_beta(counts: Iterable[int]) -> float | None:
    """1 - 1/N, with N the sum of all counts; None where it is 0.

    Cui et al. have β = (N - 1)/N, with N the number of different samples there could be; the number of those seen is
    the only estimate that a dataset itself gives, and it serves images and pixels alike.

    >>> default_beta([60, 40])
    0.99
    """
    total = sum(counts)
    return 1 - 1 / total if total else None


def effective_number(count: int, beta: float) -> float:
    """How many different samples `count` samples are worth: (1 - β^n) / (1 - β).

    The n-th image of a class shows less that is new than the first. β = 0 makes all classes equal, β near 1 counts.
    Source: Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019, equation 2.

    >>> effective_number(3, 0.5)
    1.75
    """
    return float((1 - beta**count) / (1 - beta))


def class_weights(counts: Mapping[str, int], beta: float) -> dict[str, float | None]:
    """Weights for a loss: the inverse effective numbers, with mean 1; None for a class that never occurs.

    Source: Cui et al., CVPR 2019, section 4, which lets them sum to the number of classes.

    >>> class_weights({"hole": 2, "cut": 1, "thread": 0}, beta=0.5)["hole"]  # 1.5 and 1: 2/3 of 2 over 2/3 + 1
    0.8
    """
    inverse = {name: 1 / effective_number(count, beta) for name, count in counts.items() if count}
    total = sum(inverse.values())
    return {name: inverse[name] * len(inverse) / total if name in inverse else None for name in counts}
