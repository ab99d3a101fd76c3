"""Image metrics against scikit-learn, against scipy, and against the definitions written out slowly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from training.metrics import (
    Found,
    Interval,
    auroc_of_counts,
    average_precision,
    binomial_interval,
    bootstrap_difference,
    bootstrap_interval,
    f1_max,
    found_at,
    image_auroc,
    roc_points,
)

ROUNDING = 1e-9  # the same sums in another order

# Five values make ties the rule; inf is a refused image.
tied_scores = arrays(np.float64, st.integers(1, 12), elements=st.sampled_from([-1.0, 0.0, 0.5, 7.0, np.inf]))


# --- image scores


@given(good=tied_scores, defect=tied_scores)
def test_image_auroc_is_the_share_of_pairs_in_the_right_order_with_half_for_ties(good, defect):
    higher = defect[:, None] > good
    equal = defect[:, None] == good

    assert image_auroc(good, defect) == pytest.approx((higher + equal / 2).mean(), abs=ROUNDING)


@pytest.mark.parametrize("decimals", [0, 1, 12], ids=["nearly all tied", "some tied", "none tied"])
def test_image_auroc_agrees_with_scikit_learn(decimals):
    generator = np.random.default_rng(7)
    good, defect = generator.normal(0, 1, 150).round(decimals), generator.normal(1, 2, 90).round(decimals)

    auroc = image_auroc(good, defect)

    assert auroc == pytest.approx(roc_auc_score(np.repeat([0, 1], [150, 90]), np.append(good, defect)), abs=ROUNDING)


def test_image_auroc_ranks_raw_scores_that_a_sigmoid_would_tie():
    assert image_auroc(np.array([1000.0, 1001.0]), np.array([1002.0])) == 1.0


@given(good=tied_scores, defect=tied_scores)
def test_swapping_the_sides_mirrors_the_auroc(good, defect):
    assert image_auroc(good, defect) + image_auroc(defect, good) == pytest.approx(1.0, abs=ROUNDING)


@pytest.mark.parametrize("decimals", [0, 1, 12], ids=["nearly all tied", "some tied", "none tied"])
@pytest.mark.parametrize("shift", [-2.0, 0.0, 1.0, 9.0], ids=["inverted", "no skill", "overlapping", "separate"])
def test_f1_max_agrees_with_scikit_learns_precision_recall_curve(decimals, shift):
    generator = np.random.default_rng(8)
    good, defect = generator.normal(0, 1, 150).round(decimals), generator.normal(shift, 1, 90).round(decimals)
    precision, recall, _ = precision_recall_curve(np.repeat([0, 1], [150, 90]), np.append(good, defect))

    f1 = f1_max(good, defect)

    assert f1 == pytest.approx((2 * precision * recall / np.maximum(precision + recall, 1e-12)).max(), abs=ROUNDING)


@given(good=tied_scores, defect=tied_scores)
def test_f1_max_is_at_least_that_of_rejecting_everything(good, defect):
    reject_all = 2 * defect.size / (2 * defect.size + good.size)

    assert reject_all - ROUNDING <= f1_max(good, defect) <= 1.0


@pytest.mark.parametrize(
    "metric", [image_auroc, f1_max, average_precision, lambda good, defect: bootstrap_interval(good, defect, 0).low]
)
@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (0, 0)], ids=["no good", "no defect", "nothing"])
def test_an_empty_side_has_no_metric(metric, sizes):
    assert np.isnan(metric(np.zeros(sizes[0]), np.zeros(sizes[1])))


@pytest.mark.parametrize(
    "metric",
    [
        image_auroc,
        f1_max,
        average_precision,
        roc_points,
        lambda good, defect: bootstrap_interval(good, defect, 0),
        lambda good, defect: bootstrap_difference((good, defect), (good, defect), 0),
        lambda good, defect: found_at(good, defect, 0.05),
    ],
    ids=["auroc", "f1", "ap", "roc", "interval", "difference", "found"],
)
@pytest.mark.parametrize(
    ("good", "defect", "message"),
    [([np.nan, 0.0], [1.0], "1 good and 0 defect"), ([0.0], [np.nan, np.nan], "0 good and 2 defect")],
    ids=["good", "defect"],
)
def test_a_nan_score_is_refused(metric, good, defect, message):
    with pytest.raises(ValueError, match=message):
        metric(np.array(good), np.array(defect))


# --- precision and recall


@pytest.mark.parametrize("decimals", [0, 1, 12], ids=["nearly all tied", "some tied", "none tied"])
@pytest.mark.parametrize("shift", [-2.0, 0.0, 1.0, 9.0], ids=["inverted", "no skill", "overlapping", "separate"])
def test_average_precision_agrees_with_scikit_learn(decimals, shift):
    generator = np.random.default_rng(9)
    good, defect = generator.normal(0, 1, 150).round(decimals), generator.normal(shift, 1, 90).round(decimals)

    found = average_precision(good, defect)

    expected = average_precision_score(np.repeat([0, 1], [150, 90]), np.append(good, defect))
    assert found == pytest.approx(expected, abs=ROUNDING)


@given(good=tied_scores, defect=tied_scores)
@pytest.mark.parametrize("metric", [image_auroc, f1_max, average_precision])
def test_only_the_order_of_the_scores_counts(metric, good, defect):
    def steeper(scores):
        return np.exp(np.minimum(scores, 8.0))

    assert metric(steeper(good), steeper(defect)) == metric(good, defect)


@given(good=tied_scores, defect=tied_scores, rate=st.floats(0.0, 0.999))
def test_a_fixed_false_reject_rate_is_never_exceeded_and_one_more_reject_would_be_too_many(good, defect, rate):
    found = found_at(good, defect, rate)

    assert found.false_rejects <= rate * good.size + ROUNDING
    assert (good >= found.highest_passing).sum() > rate * good.size - ROUNDING
    assert found.found == (defect > found.highest_passing).sum()


@given(good=tied_scores, defect=tied_scores, rates=st.tuples(st.floats(0.0, 0.999), st.floats(0.0, 0.999)))
def test_more_false_rejects_never_find_fewer_defects(good, defect, rates):
    assert found_at(good, defect, min(rates)).found <= found_at(good, defect, max(rates)).found


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.3])
def test_without_ties_the_recall_is_that_of_scikit_learns_roc_curve(rate):
    generator = np.random.default_rng(10)
    good, defect = generator.normal(0, 1, 200), generator.normal(1, 1, 80)
    fpr, recall, _ = roc_curve(np.repeat([0, 1], [200, 80]), np.append(good, defect), drop_intermediate=False)

    found = found_at(good, defect, rate)

    assert found.found / 80 == recall[fpr <= rate + ROUNDING].max()


def test_a_defect_that_ties_with_the_last_good_part_to_pass_is_not_found():
    good = np.array([0.0, 1.0, 2.0, 2.0])

    assert found_at(good, np.array([2.0, 2.5]), 0.25) == Found(highest_passing=2.0, false_rejects=0, found=1)


def test_a_rate_that_rounding_makes_smaller_is_still_allowed():
    assert found_at(np.arange(100.0), np.array([70.5]), 0.29) == Found(highest_passing=70.0, false_rejects=29, found=1)


@pytest.mark.parametrize(("n", "rate"), [(0, 0.1), (3, -0.1), (3, 1.0), (3, np.nan)])
def test_a_rate_that_no_threshold_has_is_refused(n, rate):
    with pytest.raises(ValueError, match="good scores and 0 <= rate < 1"):
        found_at(np.zeros(n), np.zeros(3), rate)


def test_the_roc_of_few_parts_has_all_its_points():
    points = roc_points(np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.5, 2.5]))

    assert points == ((0.0, 0.0), (0.25, 0.0), (0.25, 0.5), (0.5, 0.5), (0.5, 1.0), (0.75, 1.0), (1.0, 1.0))


def test_the_drawn_roc_is_bounded_and_has_the_area_of_the_whole():
    generator = np.random.default_rng(11)
    good, defect = generator.normal(0, 1, 3000), generator.normal(1, 1, 3000)

    points = np.array(roc_points(good, defect, limit=200))

    assert 150 < len(points) <= 200
    assert (np.diff(points, axis=0) >= 0).all()
    # steps are at most 0.01 wide and high
    assert np.trapezoid(points[:, 1], points[:, 0]) == pytest.approx(image_auroc(good, defect), abs=0.005)


def test_an_empty_side_has_no_roc():
    assert roc_points(np.zeros(0), np.zeros(3)) == ()


# --- intervals


@pytest.mark.parametrize("seed", range(5))
def test_the_bootstrap_interval_contains_the_point_estimate(seed):
    generator = np.random.default_rng(seed)
    good, defect = generator.normal(0, 1, 60), generator.normal(1, 1, 40)

    interval = bootstrap_interval(good, defect, seed)

    assert interval.low < image_auroc(good, defect) < interval.high


def test_the_bootstrap_interval_shrinks_with_the_root_of_the_number_of_images():
    generator = np.random.default_rng(3)
    good, defect = generator.normal(0, 1, 1600), generator.normal(1, 1, 1600)

    few, many = bootstrap_interval(good[:100], defect[:100], 0), bootstrap_interval(good, defect, 0)

    # 16 times the images, a quarter of the width; 35 % for the chance of the first hundred and of 1000 resamples
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(4.0, rel=0.35)


def test_the_bootstrap_interval_has_delongs_width():
    generator = np.random.default_rng(4)
    good, defect = generator.normal(0, 1, 300), generator.normal(1, 1, 200)
    higher = defect[:, None] > good
    delong = np.sqrt(higher.mean(0).var(ddof=1) / good.size + higher.mean(1).var(ddof=1) / defect.size)

    interval = bootstrap_interval(good, defect, 0, resamples=4000)

    # a 2.5 % quantile of 4000 resamples scatters by about 2 % of the width
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * delong, rel=0.08)


def test_the_bootstrap_interval_depends_on_nothing_but_its_arguments():
    good, defect = np.arange(20.0), np.arange(10.0, 30.0)

    assert bootstrap_interval(good, defect, 5) == bootstrap_interval(good, defect, 5)
    assert bootstrap_interval(good, defect, 5) != bootstrap_interval(good, defect, 6)


def test_separate_scores_leave_the_bootstrap_nothing_to_vary():
    assert bootstrap_interval(np.zeros(9), np.full(9, np.inf), 0) == Interval(1.0, 1.0)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(0, 50, 0.0, 1 - 0.025 ** (1 / 50)), (50, 50, 0.025 ** (1 / 50), 1.0), (0, 0, 0.0, 1.0)],
    ids=["no escape", "all escape", "nothing seen"],
)
def test_the_ends_of_the_binomial_interval_have_their_closed_form(k, n, low, high):
    interval = binomial_interval(k, n)

    assert (interval.low, interval.high) == pytest.approx((low, high), abs=ROUNDING)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(("k", "n"), [(0, 7), (1, 10), (3, 400), (399, 400), (7, 7)])
def test_the_binomial_interval_is_that_of_the_exact_test(k, n, confidence):
    expected = binomtest(k, n).proportion_ci(confidence, method="exact")

    interval = binomial_interval(k, n, confidence)

    # binomtest finds its ends by root finding
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-6)


@pytest.mark.parametrize(("k", "n"), [(-1, 5), (6, 5)])
def test_more_cases_than_trials_are_refused(k, n):
    with pytest.raises(ValueError, match=f"k = {k}, n = {n}"):
        binomial_interval(k, n)


@pytest.mark.parametrize("correlation", [0.0, 0.9], ids=["models that err apart", "models that err on the same parts"])
def test_the_paired_difference_has_delongs_width(correlation):
    generator = np.random.default_rng(12)
    mixing = np.linalg.cholesky([[1.0, correlation], [correlation, 1.0]])
    good, defect = generator.normal(0, 1, (300, 2)) @ mixing.T, generator.normal(1, 1, (200, 2)) @ mixing.T
    higher = defect[:, None, :] > good  # (defect, good, model)
    apart = higher[..., 0].astype(float) - higher[..., 1]
    delong = np.sqrt(apart.mean(0).var(ddof=1) / len(good) + apart.mean(1).var(ddof=1) / len(defect))

    interval = bootstrap_difference((good[:, 0], defect[:, 0]), (good[:, 1], defect[:, 1]), 0, resamples=4000)

    assert interval.low < apart.mean() < interval.high
    # a 2.5 % quantile of 4000 resamples scatters by about 2 % of the width
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * delong, rel=0.08)


@settings(max_examples=20)
@given(good=tied_scores, defect=tied_scores)
def test_a_model_does_not_differ_from_itself_in_another_unit(good, defect):
    ours, theirs = (good, defect), (np.arctan(good), np.arctan(defect))

    assert bootstrap_difference(ours, theirs, 0, resamples=50) == Interval(0.0, 0.0)


def test_several_courses_of_two_models_are_compared_by_their_means() -> None:
    generator = np.random.default_rng(13)
    good, defect = generator.normal(0, 1, (2, 3, 40)), generator.normal(1, 1, (2, 3, 60))  # (model, course, part)
    same = np.stack([good[0, 0]] * 3), np.stack([defect[0, 0]] * 3)

    interval = bootstrap_difference((good[0], defect[0]), (good[1], defect[1]), 0)
    alone = bootstrap_difference((good[0, 0], defect[0, 0]), (good[1, 0], defect[1, 0]), 0)

    ours, theirs = (np.mean([image_auroc(good[m, k], defect[m, k]) for k in range(3)]) for m in range(2))
    assert interval.low < ours - theirs < interval.high
    assert interval.high - interval.low < alone.high - alone.low  # three independent courses tell more than one
    itself = bootstrap_difference(same, (good[0, 0], defect[0, 0]), 0)
    assert (itself.low, itself.high) == pytest.approx((0.0, 0.0), abs=1e-15)  # a mean of three equal numbers


@pytest.mark.parametrize("sizes", [(3, 4), (4, 5), (0, 4)])
def test_scores_of_other_parts_cannot_be_paired(sizes):
    with pytest.raises(ValueError, match="same good and defect parts"):
        bootstrap_difference((np.zeros(3), np.zeros(5)), (np.zeros(sizes[0]), np.zeros(sizes[1])), 0)


def test_the_pixels_of_thousands_of_large_photographs_are_not_too_many_to_count() -> None:
    good, defect = np.array([12, 12]) * 10**9, np.array([3, 6]) * 10**8  # their pairs are more than an int64 counts

    found = auroc_of_counts(good, defect)

    assert found == pytest.approx(auroc_of_counts(good // 10**8, defect // 10**8), abs=1e-12)  # exact but for the last digits
