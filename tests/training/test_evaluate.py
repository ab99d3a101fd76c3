"""`kensa evaluate`: the figures, what is left out of them and said, and the same code for a RUN and a bundle."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_bundle import write_bundle
from small_dataset import plate, save, save_dataset

from agent.calibration import calibrate
from agent.model import Model
from agent.preprocess import InputContract
from training.data import unseen_parts
from training.evaluate import evaluate, evaluate_command, write_json

CONTRACT = InputContract(64, 64, 60, 200, 60, 200, 0.5, 2.0)


class Quiet:
    def tell(self, figures):
        del figures

    def track(self, items, stage):
        del stage
        return iter(items)


class Brightest:
    """A runtime that finds bright spots and needs no model."""

    executed_precision = "f32"

    def infer(self, image):
        anomaly_map = image[::8, ::8].max(axis=2).astype(np.float32)
        return float(anomaly_map.max()), anomaly_map


class Broken(Brightest):
    def infer(self, image):
        return float("nan"), super().infer(image)[1]


def model(runtime) -> Model:
    return Model(CONTRACT, runtime, calibrate(np.linspace(100, 160, 61)))


def test_a_perfect_model_gets_perfect_image_figures_and_exact_limits(dataset: Path) -> None:
    found = evaluate(model(Brightest()), unseen_parts(dataset), Quiet())

    assert (found.image_auroc, found.f1_max, found.n_good, found.n_defect) == (1.0, 1.0, 4, 4)
    assert (found.false_rejects.count, found.false_rejects.n) == (0, 4)
    assert found.false_rejects.high == pytest.approx(1 - 0.025**0.25)  # Clopper-Pearson, 0 of 4
    assert found.per_defect["scratch"].rejected == 4
    assert found.pixel_auroc > 0.9
    assert found.aupro > 0.5


def test_a_picture_outside_the_contract_is_rejected_listed_and_not_in_the_pixel_figures(tmp_path: Path) -> None:
    save_dataset(tmp_path)
    save(tmp_path / "test" / "good" / "huge.png", plate(0, 400, 300))

    found = evaluate(model(Brightest()), unseen_parts(tmp_path), Quiet())

    assert len(found.refused) == 1
    assert "huge.png: image is 400x300 px" in found.refused[0]
    assert found.false_rejects.count == 1
    assert found.image_auroc == pytest.approx(4 / 5)  # above every defect
    assert np.isfinite(found.aupro)


def test_a_score_that_is_no_number_is_a_reject(dataset: Path) -> None:
    found = evaluate(model(Broken()), unseen_parts(dataset), Quiet())

    assert (found.false_rejects.count, found.escapes.count) == (4, 0)
    assert found.image_auroc == 0.5
    assert np.isnan(found.pixel_auroc)


def test_defects_nobody_has_drawn_are_counted_and_left_out_of_the_pixel_figures(tmp_path: Path) -> None:
    save_dataset(tmp_path)
    (tmp_path / "ground_truth" / "scratch" / "000_mask.png").unlink()
    save(tmp_path / "ground_truth" / "scratch" / "001_mask.png", np.zeros((80, 96, 3), np.uint8))

    found = evaluate(model(Brightest()), unseen_parts(tmp_path), Quiet())

    assert len(found.without_mask) == 2
    assert found.n_defect == 4


def test_the_command_tells_and_writes_the_same_figures(dataset: Path, run_folder: Path, tmp_path: Path, capsys) -> None:
    file = tmp_path / "figures.json"

    assert evaluate_command([str(run_folder), "--data", str(dataset), "--json", str(file)]) == 0

    figures = json.loads(file.read_text())
    assert figures.keys() >= {"image_auroc", "pixel_auroc", "aupro", "f1_max", "n_good", "n_defect", "per_defect"}
    assert figures["image_auroc"] > 0.9
    assert f"image AUROC   {100 * figures['image_auroc']:6.2f}" in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["figures.json"]


@pytest.mark.parametrize("options", [[], ["--runtime", "onnxruntime"]], ids=["first", "named"])
def test_a_bundle_is_evaluated_by_its_own_runtime(dataset: Path, tmp_path: Path, capsys, options: list[str]) -> None:
    write_bundle(tmp_path / "bundle")

    assert evaluate_command([str(tmp_path / "bundle"), "--data", str(dataset), *options]) == 0

    assert "defects passed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("runtime", "named"), [("torch", "a bundle is not run by torch"), ("openvino", "no artefact for runtime openvino")]
)
def test_a_bundle_without_the_runtime_is_refused(dataset: Path, tmp_path: Path, capsys, runtime: str, named: str) -> None:
    write_bundle(tmp_path / "bundle")

    assert evaluate_command([str(tmp_path / "bundle"), "--data", str(dataset), "--runtime", runtime]) == 2

    assert named in capsys.readouterr().err


def test_a_test_set_with_a_part_of_the_fit_is_refused(run_folder: Path, dataset: Path, tmp_path: Path, capsys) -> None:
    save_dataset(tmp_path / "data")
    shutil.copy(dataset / "train" / "good" / "005.png", tmp_path / "data" / "test" / "good" / "seen.png")

    assert evaluate_command([str(run_folder), "--data", str(tmp_path / "data")]) == 2

    assert "1 test photograph(s) were in the fit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "options", "named"),
    [
        ("nowhere", [], "no readable run.json"),
        ("run", ["--runtime", "openvino"], "a RUN is run by torch only"),
        ("run", ["--json", "/nowhere/figures.json"], "/nowhere/figures.json: cannot be written"),
    ],
)
def test_a_mistake_is_one_message(dataset: Path, run_folder: Path, capsys, model: str, options: list[str], named: str) -> None:
    assert evaluate_command([str(run_folder.with_name(model)), "--data", str(dataset), *options]) == 2

    assert named in capsys.readouterr().err


def test_what_is_no_number_becomes_null_in_json(dataset: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "figures.json", evaluate(model(Broken()), unseen_parts(dataset), Quiet()))

    assert json.loads((tmp_path / "figures.json").read_text())["aupro"] is None
