"""Metrics against scikit-learn, against the definitions written out slowly, and against MVTec's toy."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_curve, roc_auc_score

from training.metrics import (
    Interval,
    PixelCurves,
    binomial_interval,
    bootstrap_interval,
    f1_max,
    image_auroc,
    score_edges,
)

ROUNDING = 1e-9  # the same sums in another order

# Five values make ties the rule; inf is a refused image.
tied_scores = arrays(np.float64, st.integers(1, 12), elements=st.sampled_from([-1.0, 0.0, 0.5, 7.0, np.inf]))


def curves_of(maps, masks, edges):
    curves = PixelCurves(edges)
    for anomaly_map, mask in zip(maps, masks, strict=True):
        curves.add(anomaly_map, mask)
    return curves


def slow_aupro(maps, masks, limit):
    """The step list of MVTec's definition on all pixels at once: label, weigh, argsort, cumulate, interpolate."""
    within_one_image = np.zeros((3, 3, 3))
    within_one_image[1] = 1  # 8 neighbours in the image, none in the images before and after
    labels, n_components = ndimage.label(masks, structure=within_one_image)
    area = np.bincount(labels.ravel())
    pro_step = np.where(masks, 1 / (n_components * area[labels]), 0).ravel()
    fpr_step = (~masks / (~masks).sum()).ravel()
    descending = np.argsort(-maps, axis=None, kind="stable")
    scores = maps.ravel()[descending]
    last_of_tie = np.append(scores[1:] != scores[:-1], True)
    fpr = np.concatenate([[0], np.cumsum(fpr_step[descending])[last_of_tie], [1]])
    pro = np.concatenate([[0], np.cumsum(pro_step[descending])[last_of_tie], [1]])
    below = fpr <= limit
    x, y = np.append(fpr[below], limit), np.append(pro[below], np.interp(limit, fpr, pro))
    return np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) / limit


def blobs(seed, n, size):
    """n maps of smooth noise; every second image has a large and a small defect rectangle that score higher."""
    generator = np.random.default_rng(seed)
    maps = ndimage.gaussian_filter(generator.standard_normal((n, size, size)), (0, 2, 2)).astype(np.float32)
    masks = np.zeros(maps.shape, bool)
    masks[::2, size // 8 : size // 4, size // 8 : size // 2] = True
    masks[::2, size // 2 : size // 2 + 4, size // 2 : size // 2 + 4] = True
    return maps + 0.2 * masks.astype(np.float32), masks


@pytest.fixture
def toy():
    maps = np.zeros((2, 4, 4), np.float32)
    maps[0] = np.arange(16).reshape(4, 4) / 100
    maps[1, [0, 0, 1, 3, 2, 1], [0, 1, 0, 3, 2, 3]] = [0.9, 0.8, 0.05, 0.14, 0.10, 0.12]
    masks = np.zeros(maps.shape, bool)
    masks[1, :2, :2] = True
    masks[1, 3, 3] = True
    return maps, masks


# --- image scores


@settings(deadline=None)
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


@settings(deadline=None)
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


@settings(deadline=None)
@given(good=tied_scores, defect=tied_scores)
def test_f1_max_is_at_least_that_of_rejecting_everything(good, defect):
    reject_all = 2 * defect.size / (2 * defect.size + good.size)

    assert reject_all - ROUNDING <= f1_max(good, defect) <= 1.0


@pytest.mark.parametrize("metric", [image_auroc, f1_max, lambda good, defect: bootstrap_interval(good, defect, 0).low])
@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (0, 0)], ids=["no good", "no defect", "nothing"])
def test_an_empty_side_has_no_metric(metric, sizes):
    assert np.isnan(metric(np.zeros(sizes[0]), np.zeros(sizes[1])))


@pytest.mark.parametrize("metric", [image_auroc, f1_max, lambda good, defect: bootstrap_interval(good, defect, 0)])
@pytest.mark.parametrize(
    ("good", "defect", "message"),
    [([np.nan, 0.0], [1.0], "1 good and 0 defect"), ([0.0], [np.nan, np.nan], "0 good and 2 defect")],
    ids=["good", "defect"],
)
def test_a_nan_score_is_refused(metric, good, defect, message):
    with pytest.raises(ValueError, match=message):
        metric(np.array(good), np.array(defect))


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


# --- pixels


@pytest.mark.parametrize(("limit", "expected"), [(0.3, 0.657407), (0.05, 0.272685), (1.0, 0.8125)])
def test_the_toy_has_its_known_aupro(toy, limit, expected):
    curves = curves_of(*toy, score_edges(toy[0]))

    assert curves.aupro(limit) == pytest.approx(expected, abs=1e-6)  # the six digits that are known


def test_the_toy_has_its_known_pixel_auroc_and_components(toy):
    curves = curves_of(*toy, score_edges(toy[0]))

    assert curves.pixel_auroc() == pytest.approx(0.733333, abs=1e-6)  # the six digits that are known
    assert curves.n_components == 2


@settings(deadline=None)
@given(
    maps=arrays(np.float32, (3, 4, 5), elements=st.sampled_from(np.float32([-2.5, 0.0, 0.1, 0.2, 0.3, 1e6]))),
    masks=arrays(np.bool_, (3, 4, 5)),
    limit=st.sampled_from([0.01, 0.05, 0.3, 0.5, 1.0]),
)
def test_aupro_is_exact_for_few_distinct_values(maps, masks, limit):
    masks[0, 0, :2] = [True, False]  # at least one pixel of each kind

    curves = curves_of(maps, masks, score_edges(maps))

    assert curves.aupro(limit) == pytest.approx(slow_aupro(maps, masks, limit), abs=ROUNDING)
    assert curves.pixel_auroc() == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=ROUNDING)


@pytest.mark.parametrize(
    "scale",
    [lambda maps: maps, lambda maps: np.exp(20 * maps), lambda maps: np.maximum(maps, 0)],
    ids=["light tail", "heavy tail", "half of it zero"],
)
@pytest.mark.parametrize(("n", "size"), [(12, 128), (6, 512)], ids=["all values sampled", "every second sampled"])
def test_quantile_edges_cost_no_digit_that_is_reported(scale, n, size):
    maps, masks = blobs(1, n, size)
    maps = scale(maps)

    edges = score_edges(maps)
    curves = curves_of(maps, masks, edges)

    assert edges.size <= 65536 < np.unique(maps).size
    # Guaranteed: a defect pixel's rank is known to half its bin, so to about 1 / 65536 / 2 = 8e-6 of the false positive
    # rate. In practice the errors of single pixels cancel. Worst of 100 sets like these, of up to 21 million pixels:
    # 3e-7 (pixel AUROC), and 1.7e-6 (AU-PRO: divided by 0.3, and a region of 16 pixels cancels less).
    assert curves.pixel_auroc() == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-6)
    assert curves.aupro() == pytest.approx(slow_aupro(maps, masks, 0.3), abs=5e-6)


def test_a_value_that_fills_many_bins_is_not_tied_with_its_neighbours():
    zeros = np.zeros((100, 100), np.float32)
    anomaly_map = np.concatenate([zeros, np.linspace(0.001, 1, 10_000, dtype=np.float32).reshape(100, 100)])
    mask = anomaly_map > 0

    curves = curves_of([anomaly_map], [mask], score_edges([anomaly_map], limit=16))

    assert curves.pixel_auroc() == 1.0


def test_edges_are_the_distinct_values_when_they_are_few():
    maps = [np.float32([[3, 1], [1, 2]]), np.float32([[2, -5]])]

    np.testing.assert_array_equal(score_edges(iter(maps)), np.float32([-5, 1, 2, 3]))


@pytest.mark.parametrize("limit", [2, 100, 65536])
def test_edges_increase_and_keep_to_their_limit(limit):
    edges = score_edges(blobs(2, 4, 256)[0], limit)

    assert edges.dtype == np.float32
    assert 2 <= edges.size <= limit
    assert (np.diff(edges) > 0).all()


def test_finding_edges_takes_no_more_memory_for_more_maps():
    generator = np.random.default_rng(0)

    tracemalloc.start()
    score_edges(generator.standard_normal((256, 256), np.float32) for _ in range(200))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < 20e6  # the sample and its copy while it is sorted; the maps are 52 MB


def test_good_images_count_in_the_false_positive_rate(toy):
    maps, masks = toy
    edges = score_edges(maps)

    without = curves_of(maps[1:], masks[1:], edges)
    together = curves_of(maps, masks, edges)

    assert without.aupro() == pytest.approx(slow_aupro(maps[1:], masks[1:], 0.3), abs=ROUNDING)
    assert together.aupro() == pytest.approx(slow_aupro(maps, masks, 0.3), abs=ROUNDING)
    assert together.aupro() < without.aupro()


@settings(deadline=None, max_examples=20)
@given(order=st.permutations(range(6)))
def test_images_may_come_in_any_order(order):
    maps, masks = blobs(3, 6, 32)

    forward = curves_of(maps, masks, score_edges(maps))
    shuffled = curves_of(maps[order], masks[order], score_edges(maps[order]))

    assert shuffled.aupro() == pytest.approx(forward.aupro(), abs=ROUNDING)
    assert shuffled.pixel_auroc() == forward.pixel_auroc()
    assert shuffled.n_components == forward.n_components == 6


def test_diagonal_neighbours_are_one_component_and_images_never_share_one():
    maps, masks = np.zeros((2, 3, 3), np.float32), np.array([np.eye(3, dtype=bool)] * 2)

    assert curves_of(maps, masks, score_edges(maps)).n_components == 2


def test_a_small_region_weighs_as_much_as_a_large_one():
    anomaly_map = np.zeros((10, 10), np.float32)
    mask = np.zeros((10, 10), bool)
    mask[:5, :8] = mask[9, 9] = True
    anomaly_map[:5, :8] = 1.0

    curves = curves_of([anomaly_map], [mask], score_edges([anomaly_map]))

    assert curves.aupro(1.0) == pytest.approx(0.75, abs=ROUNDING)  # from (0, 1/2), the large region found, to (1, 1)


@pytest.mark.parametrize("filled", [False, True], ids=["no defect pixel", "no good pixel"])
def test_a_test_set_of_one_kind_has_no_pixel_metric(filled):
    maps = np.arange(16, dtype=np.float32).reshape(1, 4, 4)

    curves = curves_of(maps, np.full((1, 4, 4), filled), score_edges(maps))

    assert np.isnan([curves.pixel_auroc(), curves.aupro()]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_is_refused(value):
    anomaly_map = np.float32([[0.0, value]])

    with pytest.raises(ValueError, match="1 of 2 values NaN or inf"):
        score_edges([anomaly_map])
    with pytest.raises(ValueError, match="1 of 2 values NaN or inf"):
        PixelCurves(np.float32([0.0])).add(anomaly_map, np.zeros((1, 2), bool))


@pytest.mark.parametrize(
    ("anomaly_map", "mask", "message"),
    [
        (np.zeros((4, 4), np.float32), np.zeros((8, 6), bool), r"\(4, 4\), mask \(8, 6\): enlarge the map"),
        (np.zeros((4, 4), np.float32), np.zeros((4, 4), np.uint8), "bool mask, got uint8"),
        (np.zeros((4, 4)), np.zeros((4, 4), bool), "float32 anomaly map, got .* float64"),
        (np.zeros((1, 4, 4), np.float32), np.zeros((1, 4, 4), bool), r"\(H, W\).*got \(1, 4, 4\)"),
    ],
    ids=["map smaller than mask", "mask of 0 and 255", "float64", "batch"],
)
def test_a_map_and_mask_that_do_not_fit_are_refused(anomaly_map, mask, message):
    with pytest.raises(ValueError, match=message):
        PixelCurves(np.float32([0.0])).add(anomaly_map, mask)


@pytest.mark.parametrize("limit", [0.0, -0.1, 1.1, np.nan])
def test_a_false_positive_limit_outside_zero_to_one_is_refused(toy, limit):
    curves = curves_of(*toy, score_edges(toy[0]))

    with pytest.raises(ValueError, match="limit <= 1"):
        curves.aupro(limit)


def test_no_map_has_no_edges():
    with pytest.raises(ValueError, match="got none"):
        score_edges([])
