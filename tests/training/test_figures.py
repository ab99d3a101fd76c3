"""The figures of an evaluation that a line is set by: what each sensitivity finds, and what it costs in good parts."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bright_spots import Brightest, Quiet, bright_model
from small_bundle import write_bundle
from small_dataset import plate, save, save_dataset

from agent.bundle import MANIFEST, seal
from agent.calibration import rate_at
from training.data import unseen_parts
from training.evaluate import evaluate, evaluate_command
from training.evaluation import Evaluation
from training.findings import remarks, table
from training.metrics import binomial_interval

GOOD, DEFECT = (90, 100, 150, 158), (140, 152, 165, 170)  # grey levels; the threshold is 160, a typical good part 130


@pytest.fixture
def levels(tmp_path: Path) -> Path:
    """A test set whose parts score their one grey level."""
    for kind, values in (("good", GOOD), ("dent", DEFECT)):
        for value in values:
            save(tmp_path / "test" / kind / f"{value}.png", np.full((80, 96, 3), value, np.uint8))
    return tmp_path


def evaluated(data: Path, **options) -> Evaluation:
    return evaluate(bright_model(Brightest()), unseen_parts(data), Quiet(), **options)


def test_each_sensitivity_comes_with_what_it_finds_and_what_it_costs(levels: Path) -> None:
    points = evaluated(levels).working_points

    assert [p.sensitivity for p in points] == [-0.2, -0.1, 0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert [p.found.count for p in points] == [1, 2, 2, 2, 2, 3, 3, 3]  # at or above 166, 163, 160, 157, 154, 151, 148, 145
    assert [p.false_rejects.count for p in points] == [0, 0, 0, 1, 1, 1, 2, 2]
    assert {(p.found.n, p.false_rejects.n) for p in points} == {(4, 4)}


def test_the_rates_of_a_sensitivity_have_exact_limits_and_the_promise_of_the_parts_held_out(levels: Path) -> None:
    strictest = evaluated(levels).working_points[-1]

    limits = binomial_interval(3, 4)
    assert (strictest.found.low, strictest.found.high) == (limits.low, limits.high)
    assert strictest.promised == rate_at(61, 15)  # 146 to 160 of 100 to 160; the threshold is a rounding above 145


def test_without_a_sensitivity_the_line_does_as_the_verdicts_say(levels: Path) -> None:
    found = evaluated(levels)

    written_nothing = next(p for p in found.working_points if p.sensitivity == 0)
    assert (written_nothing.found.count, written_nothing.false_rejects.count) == (
        found.confusion.defects_rejected,
        found.confusion.good_rejected,
    )
    assert written_nothing.promised == found.promise.false_reject_rate


def test_only_what_the_bundle_allows_is_told(levels: Path) -> None:
    points = evaluated(levels, sensitivity_limits=(-0.05, 0.25)).working_points

    assert [p.sensitivity for p in points] == [-0.05, 0, 0.1, 0.2, 0.25]


def test_the_command_asks_the_bundle_what_it_allows(dataset: Path, tmp_path: Path) -> None:
    bundle, file = tmp_path / "bundle", tmp_path / "figures.json"
    manifest = write_bundle(bundle)
    (bundle / MANIFEST).unlink()
    seal(bundle, msgspec.structs.replace(manifest, sensitivity_limits=(0.0, 0.1)))

    assert evaluate_command([str(bundle), "--data", str(dataset), "--json", str(file)]) == 0

    assert [p["sensitivity"] for p in json.loads(file.read_text())["working_points"]] == [0.0, 0.1]


def test_the_table_says_what_to_write_what_it_costs_and_that_these_parts_chose_it(levels: Path) -> None:
    told = table(evaluated(levels))

    assert "what `sensitivity:` in line.yaml gives" in told
    assert "0.5 3 of 4 = 75.0 % (19.4 to 99.4) 2 of 4 = 50.0 % (6.8 to 93.2) 35.3 %" in " ".join(told.split())
    assert "prove it on other parts" in told


def test_a_good_part_that_nobody_could_look_at_leaves_no_threshold_for_few_false_rejects(tmp_path: Path) -> None:
    save_dataset(tmp_path)
    save(tmp_path / "test" / "good" / "screenshot.png", plate(0, 400, 300))

    found = evaluated(tmp_path)

    assert "Good parts among them are more than 1 % and 5 % of all: no threshold keeps to that." in remarks(found)
    assert "false rejects: 0 of 4" not in table(found)  # no defect is above a score without an end
