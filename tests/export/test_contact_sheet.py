from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.inspection import Prediction
from agent.preprocess import InputContract
from export.contact_sheet import Inspected, contact_sheet, heat_map

CONTRACT = InputContract(64, 64, 1, 999, 1, 999, 0.1, 10.0)


def inspected(score: float, passed: bool, is_defect: bool) -> Inspected:
    anomaly_map = np.zeros((8, 8), np.float32)
    anomaly_map[1, 6] = 4.0
    return Inspected(np.full((80, 100, 3), 90, np.uint8), Prediction(4.0, score, 0.1, anomaly_map), "part 1", passed, is_defect)


@pytest.mark.parametrize(
    ("passed", "is_defect", "expected"),
    [
        (True, False, "pass"),
        (True, True, "pass: ESCAPE"),
        (False, True, "reject"),
        (False, False, "reject: FALSE REJECT"),
    ],
)
def test_a_wrong_verdict_is_called_by_its_name(passed: bool, is_defect: bool, expected: str) -> None:
    assert inspected(1.0, passed, is_defect).judged == expected


def test_heat_lies_over_the_strange_place_only() -> None:
    heat = heat_map(inspected(2.0, False, True), CONTRACT).astype(int)

    changed = np.abs(heat - 90).max(axis=2) > 20
    rows, columns = np.nonzero(changed)
    assert changed.any()
    assert rows.max() < 40
    assert columns.min() > 50


def test_a_typical_good_part_stays_clear() -> None:
    heat = heat_map(inspected(0.0, True, False), CONTRACT).astype(int)

    assert np.abs(heat - 90).max() <= 2


def test_the_sheet_has_a_row_for_each_three_parts(tmp_path: Path) -> None:
    contact_sheet([inspected(1.0, False, True)] * 4, CONTRACT, tmp_path / "sheet.png")

    height, width = cv2.imread(str(tmp_path / "sheet.png")).shape[:2]
    assert width == 3 * (2 * 320 + 6)
    assert height == 2 * (240 + 28 + 6)
