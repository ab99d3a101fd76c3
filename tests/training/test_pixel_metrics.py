"""Pixel metrics against scikit-learn, against the definitions written out slowly, and against MVTec's toy."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from training.pixel_metrics import PixelCurves, score_edges

ROUNDING = 1e-9  # the same sums in another order


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


@pytest.mark.parametrize(("limit", "expected"), [(0.3, 0.657407), (0.05, 0.272685), (1.0, 0.8125)])
def test_the_toy_has_its_known_aupro(toy, limit, expected):
    curves = curves_of(*toy, score_edges(toy[0]))

    assert curves.aupro(limit) == pytest.approx(expected, abs=1e-6)  # the six digits that are known


def test_the_toy_has_its_known_pixel_auroc_and_components(toy):
    curves = curves_of(*toy, score_edges(toy[0]))

    assert curves.pixel_auroc() == pytest.approx(0.733333, abs=1e-6)  # the six digits that are known
    assert curves.n_regions == 2


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


@settings(max_examples=20)
@given(order=st.permutations(range(6)))
def test_images_may_come_in_any_order(order):
    maps, masks = blobs(3, 6, 32)

    forward = curves_of(maps, masks, score_edges(maps))
    shuffled = curves_of(maps[order], masks[order], score_edges(maps[order]))

    assert shuffled.aupro() == pytest.approx(forward.aupro(), abs=ROUNDING)
    assert shuffled.pixel_auroc() == forward.pixel_auroc()
    assert shuffled.n_regions == forward.n_regions == 6


def test_diagonal_neighbours_are_one_component_and_images_never_share_one():
    maps, masks = np.zeros((2, 3, 3), np.float32), np.array([np.eye(3, dtype=bool)] * 2)

    assert curves_of(maps, masks, score_edges(maps)).n_regions == 2


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


# --- precision


@given(
    maps=arrays(np.float32, (3, 4, 5), elements=st.sampled_from(np.float32([-2.5, 0.0, 0.1, 0.2, 0.3, 1e6]))),
    masks=arrays(np.bool_, (3, 4, 5)),
)
def test_pixel_precision_is_exact_for_few_distinct_values(maps, masks):
    masks[0, 0, :2] = [True, False]  # at least one pixel of each kind
    precision, recall, _ = precision_recall_curve(masks.ravel(), maps.ravel())

    curves = curves_of(maps, masks, score_edges(maps))

    assert curves.pixel_average_precision() == pytest.approx(average_precision_score(masks.ravel(), maps.ravel()), abs=ROUNDING)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    assert curves.pixel_f1_max() == pytest.approx(f1.max(), abs=ROUNDING)


def test_quantile_edges_cost_no_reported_digit_of_precision():
    maps, masks = blobs(1, 6, 512)

    curves = curves_of(maps, masks, score_edges(maps))

    # 1.6 million pixels in 65536 bins; precision changes by less than a bin, 24 pixels, of the 12 000 defect pixels
    assert curves.pixel_average_precision() == pytest.approx(average_precision_score(masks.ravel(), maps.ravel()), abs=1e-4)


@pytest.mark.parametrize("steeper", [np.exp, lambda maps: maps**3, lambda maps: 1e4 * maps - 7], ids=["exp", "cube", "linear"])
def test_only_the_order_of_the_pixels_counts(steeper):
    maps, masks = blobs(4, 4, 32)
    maps = maps.round(2)  # values so far apart that none of these makes two equal in float32

    plain = curves_of(maps, masks, score_edges(maps))
    other = curves_of(steeper(maps), masks, score_edges(steeper(maps)))

    assert other.aupro() == plain.aupro()
    assert other.pixel_auroc() == plain.pixel_auroc()
    assert other.pixel_average_precision() == plain.pixel_average_precision()


# --- saturated overlap of MVTec LOCO


def slow_auspro(maps, images, limit):
    """Each threshold on its own: the pixels found in each region, cut at its saturation area; FPR over pixels in none."""
    free = np.ones(np.shape(maps), bool)
    for good, regions in zip(free, images, strict=True):
        for mask, _ in regions:
            good &= ~mask
    drawn = [(m[mask], area) for m, regions in zip(maps, images, strict=True) for mask, area in regions]
    fpr, spro = [0.0], [0.0]
    for t in np.unique(maps)[::-1]:
        fpr.append((free & (maps >= t)).sum() / free.sum())
        spro.append(np.mean([min((values >= t).sum() / area, 1) for values, area in drawn]))
    fpr, spro = np.array(fpr), np.array(spro)
    below = fpr <= limit
    x, y = np.append(fpr[below], limit), np.append(spro[below], np.interp(limit, fpr, spro))
    return np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) / limit


def regions_of(masks, share):
    return [[(mask, max(1, int(share * mask.sum()))) for mask in image if mask.any()] for image in masks]


def saturated(maps, images):
    curves = PixelCurves(score_edges(maps))
    for anomaly_map, regions in zip(maps, images, strict=True):
        curves.add_regions(anomaly_map, regions)
    return curves


@given(
    maps=arrays(np.float32, (2, 4, 5), elements=st.sampled_from(np.float32([0.0, 0.1, 0.2, 0.3, 0.4, 1e6]))),
    masks=arrays(np.bool_, (2, 2, 4, 5)),
    share=st.sampled_from([0.05, 0.3, 0.5, 1.0]),
    limit=st.sampled_from([0.01, 0.05, 0.1, 0.3, 1.0]),
)
def test_auspro_is_that_of_the_definition_with_regions_that_may_overlap_and_fall_apart(maps, masks, share, limit):
    masks[:, :, 0, 0], masks[0, 0, 0, 1] = False, True  # at least one pixel of each kind
    images = regions_of(masks, share)

    curves = saturated(maps, images)

    assert curves.aupro(limit) == pytest.approx(slow_auspro(maps, images, limit), abs=ROUNDING)


@pytest.mark.parametrize("limit", [0.01, 0.05, 0.1, 0.3, 1.0])
def test_wholly_saturated_components_have_the_plain_aupro(limit):
    maps, masks = blobs(5, 6, 48)
    labels = [ndimage.label(mask, np.ones((3, 3)))[0] for mask in masks]
    components = [[lab == k for k in range(1, lab.max() + 1)] for lab in labels]

    curves = saturated(maps, regions_of(components, 1.0))

    assert curves.aupro(limit) == pytest.approx(curves_of(maps, masks, score_edges(maps)).aupro(limit), abs=ROUNDING)
    assert curves.n_regions == 6


def test_a_region_in_two_pieces_is_one():
    maps, masks = np.zeros((1, 4, 4), np.float32), np.zeros((1, 1, 4, 4), bool)
    masks[0, 0, [0, 3], [0, 3]] = True

    assert saturated(maps, regions_of(masks, 1.0)).n_regions == 1


def test_half_a_region_suffices_when_its_saturation_area_is_half():
    anomaly_map = np.zeros((10, 10), np.float32)
    anomaly_map[0, :5] = 1.0
    row = np.zeros((10, 10), bool)
    row[0] = True

    half, whole = (saturated([anomaly_map], [[(row, area)]]).aupro(1.0) for area in (5, 10))

    assert half == pytest.approx(1.0, abs=ROUNDING)
    assert whole == pytest.approx(0.75, abs=ROUNDING)  # from (0, 1/2) to (1, 1)


@pytest.mark.parametrize(
    ("mask", "area"),
    [(np.zeros((2, 2), bool), 1), (np.ones((2, 2), bool), 5), (np.ones((2, 2), bool), 0)],
    ids=["empty", "more than all", "nothing"],
)
def test_a_region_that_cannot_saturate_is_refused(mask, area):
    with pytest.raises(ValueError, match="saturation area from 1 to the region's"):
        PixelCurves(np.float32([0.0])).add_regions(np.zeros((2, 2), np.float32), [(mask, area)])


def test_a_region_of_another_size_is_refused():
    with pytest.raises(ValueError, match="enlarge the map"):
        PixelCurves(np.float32([0.0])).add_regions(np.zeros((4, 4), np.float32), [(np.ones((8, 6), bool), 1)])


# --- drawing, and memory


def test_the_drawn_curve_is_bounded_and_has_the_area_of_the_whole():
    maps, masks = blobs(6, 6, 256)
    curves = curves_of(maps, masks, score_edges(maps))

    points = np.array(curves.pro_points(limit=0.3, points=200))

    assert 100 < len(points) <= 200
    assert points[0].tolist() == [0.0, 0.0]
    assert points[-1, 0] == 0.3
    # a chord of the curve's length / 200 = 0.0065 misses less than its square per 0.3
    assert np.trapezoid(points[:, 1], points[:, 0]) / 0.3 == pytest.approx(curves.aupro(), abs=5e-3)


def test_without_a_region_there_is_nothing_to_draw():
    assert curves_of(np.zeros((1, 2, 2), np.float32), np.zeros((1, 2, 2), bool), np.float32([0.0])).pro_points() == ()


def test_the_good_level_is_not_exceeded_by_its_share_of_the_good_pixels():
    maps, masks = blobs(7, 4, 64)
    curves = curves_of(maps, masks, score_edges(maps))

    level = curves.good_level(0.99)

    # 16384 distinct values, each an edge; the level is the edge above
    assert (maps[~masks] < level).mean() == pytest.approx(0.99, abs=1e-4)
    assert (maps[~masks] < level).mean() >= 0.99


def test_without_a_good_pixel_there_is_no_good_level():
    assert np.isnan(curves_of(np.zeros((1, 2, 2), np.float32), np.ones((1, 2, 2), bool), np.float32([0.0])).good_level(0.5))


@pytest.mark.parametrize("n_images", [5, 60])
def test_counting_takes_no_more_memory_for_more_images(n_images):
    generator = np.random.default_rng(0)
    curves = PixelCurves(score_edges([generator.standard_normal((256, 256), np.float32)]))
    mask = np.zeros((256, 256), bool)
    mask[:20, :20] = True

    tracemalloc.start()
    for _ in range(n_images):
        curves.add(generator.standard_normal((256, 256), np.float32), mask)
        curves.add_regions(generator.standard_normal((256, 256), np.float32), [(mask, 100)])
    kept_bytes, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < 8e6  # one image and a few arrays of 65537 numbers; 60 images twice are 31 MB
    assert kept_bytes < 2e6  # the three counts: 1.6 MB
