"""What the gate of lower precision lets through, on made-up answers whose figures are known."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from agent.calibration import calibrate
from agent.preprocess import InputContract, inspected, inspected_cells
from agent.roi import roi_of
from export.gate import Cost, Judged, aupro, gate
from export.parity import Answer
from training.damage import KINDS, damage

CONTRACT = InputContract(32, 32, 1, 999, 1, 999, 0.1, 10.0)
CHEAP = Cost(low_macs=0.9, time_ratio=0.5)
N_GOOD, N = 40, 80


def scores() -> np.ndarray:
    """40 good parts from 1 to 1.4, 40 damaged ones from 1.2 to 3."""
    return np.concatenate([np.linspace(1.0, 1.4, N_GOOD), np.linspace(1.2, 3.0, N - N_GOOD)])


def masks() -> list[np.ndarray | None]:
    damaged = np.zeros((32, 32), bool)
    damaged[8:16, 8:16] = True
    return [None] * N_GOOD + [damaged] * (N - N_GOOD)


def judged(raws: np.ndarray, hot: int = 1) -> Judged:
    """Its maps are highest in the cell (hot, 1); 1 is where the damage is."""
    base = np.linspace(0.0, 0.5, 16, dtype=np.float32).reshape(4, 4)
    maps = [base.copy() for _ in raws]
    for anomaly_map, raw in zip(maps, raws, strict=True):
        anomaly_map[hot, 1] = raw
    return Judged([Answer(float(r), m) for r, m in zip(raws, maps, strict=True)], calibrate(raws[:N_GOOD]))


def test_an_equal_artefact_passes_with_perfect_figures() -> None:
    record = gate(judged(scores()), judged(scores()), masks(), CONTRACT, CHEAP)

    assert record.failures == ()
    assert (record.spearman, record.worst_shift, record.flips, record.aupro_change) == (pytest.approx(1.0), 0.0, 0, 0.0)


def test_scores_on_another_scale_are_judged_by_their_own_threshold() -> None:
    record = gate(judged(scores()), judged(scores() + 0.05), masks(), CONTRACT, CHEAP)

    assert record.flips == 0
    assert record.worst_shift == pytest.approx(0.05 / 2.0)
    assert record.failures == ()


def one_moved(by: float) -> Judged:
    raws = scores()
    raws[-1] += by
    return judged(raws)


def shuffled() -> Judged:
    return judged(scores() + 0.09 * np.sin(7.0 * np.arange(N)))  # within the shift allowed, but in another order


def good_ones_higher() -> Judged:
    raws = scores()
    raws[N_GOOD - 1] = 1.49  # one good part raises the threshold above four damaged ones
    return judged(raws)


def broken() -> Judged:
    raws = scores()
    answers = [*judged(raws).answers[:-1], Answer(float("nan"), judged(raws).answers[-1].anomaly_map)]
    return replace(judged(raws), answers=answers)


@pytest.mark.parametrize(
    ("found", "cost", "says"),
    [
        (one_moved(0.2), CHEAP, "one score moves by 10.0 %"),
        (shuffled(), CHEAP, "rank correlation"),
        (good_ones_higher(), CHEAP, "decisions change, at most 1 allowed"),
        (judged(scores(), hot=3), CHEAP, "AU-PRO changes"),
        (broken(), CHEAP, "not finite"),
        (judged(scores()), Cost(0.49, 0.5), "49 % of the work"),
        (judged(scores()), Cost(0.9, 0.95), "takes 0.95 x the time"),
    ],
    ids=["one image far off", "other order", "decisions", "map elsewhere", "nan", "too little of it", "too slow"],
)
def test_what_loses_something_or_gains_nothing_fails(found: Judged, cost: Cost, says: str) -> None:
    record = gate(judged(scores()), found, masks(), CONTRACT, cost)

    assert any(says in failure for failure in record.failures), record.failures


@pytest.mark.parametrize(
    ("fit", "region"),
    [("stretch", np.s_[:240]), ("pad", np.s_[:160]), ("crop", np.s_[:, 420:600])],
    ids=["stretch", "pad", "crop"],
)
def test_a_map_is_judged_where_the_region_lies_in_the_prepared_picture(fit: str, region: tuple[slice, ...]) -> None:
    drawn = np.zeros((480, 1280), np.uint8)
    drawn[region] = 255
    contract = InputContract(256, 256, 1, 9999, 1, 9999, 0.01, 100.0, fit=fit, roi=roi_of(drawn))
    inside, cells = inspected(contract), inspected_cells(contract, 32, 32)
    good = np.random.default_rng(0).integers(100, 150, (256, 256, 3)).astype(np.uint8)
    damaged = [damage(good, KINDS[k % len(KINDS)], (0, k), inside).mask for k in range(20)]
    shown = [np.where(cells, cv2.resize(mask.astype(np.float32), (32, 32), interpolation=cv2.INTER_AREA), 0) for mask in damaged]
    table = calibrate(np.arange(20.0))

    perfect = aupro(Judged([Answer(1.0, seen) for seen in shown], table), damaged, contract)
    hidden = aupro(Judged([Answer(1.0, np.where(cells, -seen, -1)) for seen in shown], table), damaged, contract)

    assert perfect > 0.99
    assert hidden < perfect - 0.05  # ten times what the gate allows


def test_half_the_size_is_gain_enough_for_float16_weights() -> None:
    record = gate(judged(scores()), judged(scores()), masks(), CONTRACT, Cost(0.0, 1.1, gains=False))

    assert record.failures == ()
