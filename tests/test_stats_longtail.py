"""The formulas of the long tail, against cases worked by hand and properties that their authors state."""

from __future__ import annotations

import doctest
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvtec_convert.statistics import long_tail, longtail
from mvtec_convert.statistics.longtail import (
    class_weights,
    default_beta,
    effective_number,
    gini,
    imbalance_ratio,
    normalised_entropy,
)

COUNTS = st.lists(st.integers(0, 10_000), min_size=1, max_size=20)
BETA = st.floats(0, 0.99999)


def test_the_cases_in_the_docstrings():
    assert doctest.testmod(longtail).failed == 0
    assert doctest.testmod(longtail).attempted >= 6


def test_a_class_that_never_occurs_leaves_no_ratio():
    assert imbalance_ratio([5, 0]) is None
    assert imbalance_ratio([]) is None
    assert imbalance_ratio([7]) == 1


def test_gini_by_its_definition_and_at_its_ends():
    # Mean difference of all pairs (8-4, 8-2, 4-2, each twice, and three zeros): 24/9; half of it over the mean 14/3.
    assert gini([8, 4, 2]) == pytest.approx((24 / 9) / 2 / (14 / 3))
    assert gini([3, 3, 3]) == 0
    assert gini([9, 0, 0]) == pytest.approx(1 - 1 / 3)
    assert gini([0, 0]) is None


@given(COUNTS)
def test_gini_is_half_the_mean_difference_over_the_mean(counts: list[int]):
    if sum(counts):
        n, mean = len(counts), sum(counts) / len(counts)
        difference = sum(abs(a - b) for a in counts for b in counts) / n**2
        assert gini(counts) == pytest.approx(difference / 2 / mean)
    else:
        assert gini(counts) is None


def test_entropy_of_known_distributions():
    # 1/2, 1/4, 1/4: 1.5 bits, of log2(3) that three equal classes have.
    assert normalised_entropy([2, 1, 1]) == pytest.approx(1.5 / math.log2(3))
    assert normalised_entropy([4, 4, 4, 4]) == pytest.approx(1)
    assert str(normalised_entropy([4, 0])) == "0.0"  # and not -0.0, which reads as an error
    assert normalised_entropy([4]) is None
    assert normalised_entropy([0, 0]) is None


@given(COUNTS)
def test_more_of_the_same_changes_no_measure_of_unevenness(counts: list[int]):
    tenfold = [10 * count for count in counts]
    for measure in (imbalance_ratio, gini, normalised_entropy):
        assert measure(tenfold) == (None if measure(counts) is None else pytest.approx(measure(counts)))


def test_effective_numbers_by_hand():
    assert effective_number(1, 0.9) == pytest.approx(1)
    assert effective_number(2, 0.9) == pytest.approx(1.9)  # the second shows something new with probability 0.9
    assert effective_number(3, 0.9) == pytest.approx(1.9 + 0.81)
    assert effective_number(0, 0.9) == 0
    assert effective_number(1000, 0) == 1


@given(st.integers(0, 500), BETA)
def test_the_effective_number_is_the_sum_of_powers_of_beta(count: int, beta: float):
    assert effective_number(count, beta) == pytest.approx(sum(beta**k for k in range(count)), rel=1e-6)


@given(st.dictionaries(st.text(min_size=1), st.integers(0, 1000), min_size=1, max_size=12), BETA)
def test_weights_have_mean_1_and_favour_the_rare(counts: dict[str, int], beta: float):
    weights = class_weights(counts, beta)
    known = [weight for weight in weights.values() if weight is not None]
    assert set(weights) == set(counts)
    assert [name for name, weight in weights.items() if weight is None] == [
        n for n, count in counts.items() if not count
    ]
    if known:
        assert sum(known) / len(known) == pytest.approx(1)
    ordered = sorted((name for name in counts if counts[name]), key=lambda name: counts[name])
    for rarer, other in pairwise(ordered):
        assert weights[rarer] >= weights[other] * (1 - 1e-9)


def test_at_the_ends_of_beta_weights_are_equal_or_inverse_counts():
    counts = {"hole": 30, "cut": 10}
    assert class_weights(counts, 0) == {"hole": 1, "cut": 1}
    weights = class_weights(counts, 1 - 1e-9)
    assert weights["cut"] / weights["hole"] == pytest.approx(3, rel=1e-5)


def test_beta_comes_from_the_sum_of_the_counts_unless_given():
    assert default_beta([30, 10]) == 1 - 1 / 40
    assert default_beta([0]) is None
    assert long_tail({"hole": 30, "cut": 10}).beta == 1 - 1 / 40
    assert long_tail({"hole": 30, "cut": 10}, beta=0.5).effective["cut"] == pytest.approx(2, abs=0.01)


def test_the_published_carpet():
    """What docs/course.md says of it, with the numbers of images of the paper."""
    tail = long_tail({"good": 308, "color": 19, "cut": 17, "hole": 17, "metal_contamination": 17, "thread": 19})
    assert tail.ratio == pytest.approx(308 / 17)
    assert round(tail.gini, 2) == 0.61
    assert tail.most == ("good",)
    assert tail.least == ("cut", "hole", "metal_contamination")


def test_nothing_to_count_is_no_error():
    tail = long_tail({"hole": 0})
    assert (tail.ratio, tail.gini, tail.entropy, tail.beta) == (None, None, None, None)
    assert tail.weights == {"hole": None}
    assert long_tail({}).most == ()
