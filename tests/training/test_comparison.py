"""Which of two models is better: on the same parts, and no more than they can tell."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from bright_spots import Brightest, Quiet, bright_model
from small_bundle import edit_manifest, write_bundle
from small_dataset import save

from agent.watch import look_of, usual_of
from kensa import main
from training.comparison import comparison
from training.data import unseen_parts
from training.evaluate import evaluate, evaluate_command
from training.evaluation import Evaluation


class Darkest(Brightest):
    """Sees every third defect only."""

    def infer(self, image):
        anomaly_map = super().infer(image)[1]
        return float(anomaly_map.max() if anomaly_map.max() % 3 == 0 else anomaly_map.min() / 2), anomaly_map


@pytest.fixture(scope="module")
def levels(tmp_path_factory) -> Path:
    """30 good parts of grey levels below the threshold of 160, 30 defects above it."""
    root = tmp_path_factory.mktemp("levels")
    for k in range(30):
        save(root / "test" / "good" / f"{k}.png", np.full((80, 96, 3), 100 + k, np.uint8))
        save(root / "test" / "dent" / f"{k}.png", np.full((80, 96, 3), 165 + k, np.uint8))
    return root


@pytest.fixture(scope="module")
def sides(levels: Path) -> tuple[Evaluation, Evaluation]:
    better, worse = (evaluate(bright_model(runtime), unseen_parts(levels), Quiet()) for runtime in (Brightest(), Darkest()))
    return better, worse


def test_the_better_one_is_named_whichever_comes_first(sides: tuple[Evaluation, Evaluation]) -> None:
    better, worse = sides

    assert comparison(better, worse, "runs/old").endswith("this one tells defects from good parts better")
    assert comparison(worse, better, "runs/old").endswith("the other one tells defects from good parts better")


def test_what_only_one_of_both_finds_is_counted(sides: tuple[Evaluation, Evaluation]) -> None:
    told = comparison(*sides, "runs/old")

    assert told.startswith("against runs/old, on the same parts:")
    assert "defects found 30 and 10 of 30 (20 by this one alone, 0 by the other alone)" in told
    assert "good parts rejected 0 and 0 of 30 (0 by this one alone, 0 by the other alone)" in told


def test_a_difference_that_may_be_chance_is_none(sides: tuple[Evaluation, Evaluation]) -> None:
    better, _ = sides
    missed = [msgspec.structs.replace(p, raw=0.0, rejected=False) if p.path.endswith("dent/7.png") else p for p in better.parts]
    other = msgspec.structs.replace(better, parts=tuple(missed), image_auroc=29 / 30)

    told = comparison(better, other, "runs/old")

    assert "+3.3 points (+0.0 to " in told
    assert told.endswith("these parts do not show which one is better: test with more")


def test_pictures_that_one_of_both_did_not_inspect_are_counted_and_leave_no_verdict(levels: Path) -> None:
    bright = usual_of([look_of(np.full((80, 96, 3), 250, np.uint8))])  # below half of that, which 25 good parts are, is too dark
    photographs, model = unseen_parts(levels), bright_model(Brightest())

    told = comparison(evaluate(model, photographs, Quiet()), evaluate(model, photographs, Quiet(), usual=bright), "runs/old")

    assert f"0 and 25 of 60 could not be inspected and count as rejected, such as {levels}/test/good/0.png: too dark" in told
    assert told.endswith("pictures that were not inspected decide too: test both with pictures that both accept")


def test_another_model_that_can_inspect_nothing_is_an_error(dataset: Path, run_folder: Path, tmp_path: Path, capsys) -> None:
    write_bundle(tmp_path / "bundle")
    edit_manifest(tmp_path / "bundle", lambda content: content["input"].update(min_width=100))

    assert main(["evaluate", str(run_folder), "--data", str(dataset), "--against", str(tmp_path / "bundle")]) == 2

    assert f"{tmp_path / 'bundle'}: none of 8 test pictures could be inspected, such as" in capsys.readouterr().err


def test_the_command_judges_another_model_on_the_same_parts(dataset: Path, run_folder: Path, tmp_path: Path, capsys) -> None:
    write_bundle(tmp_path / "bundle")

    assert evaluate_command([str(run_folder), "--data", str(dataset), "--against", str(tmp_path / "bundle")]) == 0

    told = capsys.readouterr().out
    assert f"against {tmp_path / 'bundle'} (onnx-f32, computed in f32), on the same parts:" in told
    assert "test with more" in told


def test_another_model_that_is_not_there_is_said_before_anything_is_judged(dataset: Path, run_folder: Path, capsys) -> None:
    assert main(["evaluate", str(run_folder), "--data", str(dataset), "--against", "nowhere"]) == 2

    told = capsys.readouterr()
    assert "nowhere: no readable run.json" in told.err
    assert told.out == ""
