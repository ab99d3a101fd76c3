"""`kensa evaluate`: the figures, what is left out of them and said, and the same code for a RUN and a bundle."""

import json
import shutil
import time
import tracemalloc
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bright_spots import Brightest, Quiet, bright_model
from small_bundle import edit_manifest, write_bundle
from small_dataset import plate, save, save_dataset, scratched

from kensa import main
from training.data import unseen_parts
from training.evaluate import evaluate, evaluate_command
from training.evaluation import write_json
from training.figures import size_of
from training.findings import remarks, table


class Broken(Brightest):
    def infer(self, image):
        return float("nan"), super().infer(image)[1]


def test_a_perfect_model_gets_perfect_image_figures_and_exact_limits(dataset: Path) -> None:
    found = evaluate(bright_model(Brightest()), unseen_parts(dataset), Quiet())

    assert (found.image_auroc, found.f1_max, found.n_good, found.n_defect) == (1.0, 1.0, 4, 4)
    assert (found.false_rejects.count, found.false_rejects.n) == (0, 4)
    assert found.false_rejects.high == pytest.approx(1 - 0.025**0.25)  # Clopper-Pearson, 0 of 4
    assert found.per_defect["scratch"].rejected == 4
    assert found.pixel_auroc > 0.9
    assert found.aupro > 0.5


def test_a_picture_outside_the_contract_is_rejected_listed_and_not_in_the_pixel_figures(tmp_path: Path) -> None:
    save_dataset(tmp_path)
    save(tmp_path / "test" / "good" / "huge.png", plate(0, 400, 300))

    found = evaluate(bright_model(Brightest()), unseen_parts(tmp_path), Quiet())

    assert len(found.refused) == 1
    assert "huge.png: image is 400x300 px" in found.refused[0]
    assert found.false_rejects.count == 1
    assert found.image_auroc == pytest.approx(4 / 5)  # above every defect
    assert np.isfinite(found.aupro)


def test_a_score_that_is_no_number_is_a_reject(dataset: Path) -> None:
    found = evaluate(bright_model(Broken()), unseen_parts(dataset), Quiet())

    assert (found.false_rejects.count, found.escapes.count) == (4, 0)
    assert found.image_auroc == 0.5
    assert np.isnan(found.pixel_auroc)


def test_defects_nobody_has_drawn_are_counted_and_left_out_of_the_pixel_figures(tmp_path: Path) -> None:
    save_dataset(tmp_path)
    (tmp_path / "ground_truth" / "scratch" / "000_mask.png").unlink()
    save(tmp_path / "ground_truth" / "scratch" / "001_mask.png", np.zeros((80, 96, 3), np.uint8))

    found = evaluate(bright_model(Brightest()), unseen_parts(tmp_path), Quiet())

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

    assert main(["evaluate", str(tmp_path / "bundle"), "--data", str(dataset), "--runtime", runtime]) == 2

    assert named in capsys.readouterr().err


def test_the_artefact_that_a_device_runs_is_judged_and_named_with_what_it_computes_in(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, figures, report = tmp_path / "bundle", tmp_path / "figures.json", tmp_path / "report.html"
    write_bundle(bundle, openvino_too=True)
    edit_manifest(bundle, lambda manifest: manifest["artifacts"][1].update(name="openvino-int8", precision="int8"))
    words = [str(bundle), "--data", str(dataset), "--json", str(figures), "--report", str(report)]

    assert evaluate_command([*words, "--artifact", "openvino-int8", "--against", str(bundle)]) == 0

    origin = json.loads(figures.read_text())["origin"]
    assert (origin["artifact"], origin["runtime"], origin["precision"]) == ("openvino-int8", "openvino", "int8, f32")
    assert "openvino-int8 run by openvino (int8, f32)" in report.read_text()
    told = capsys.readouterr().out
    assert told.startswith(f"{bundle}: openvino-int8, computed in int8, f32\n")
    assert f"{bundle} (onnx-f32, computed in f32)" in told


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--artifact", "onnx-int8"], "no artefact onnx-int8; the bundle has: onnx-f32, openvino-f32"),
        (["--artifact", "onnx-f32", "--runtime", "openvino"], "no artefact onnx-f32 for runtime openvino; the bundle has"),
    ],
    ids=["unknown", "of another runtime"],
)
def test_an_artefact_that_a_bundle_does_not_have_is_refused_with_what_it_has(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], named: str
) -> None:
    write_bundle(tmp_path / "bundle", openvino_too=True)

    assert main(["evaluate", str(tmp_path / "bundle"), "--data", str(dataset), *options]) == 2

    assert named in capsys.readouterr().err


def test_a_test_set_with_a_part_of_the_fit_is_refused(run_folder: Path, dataset: Path, tmp_path: Path, capsys) -> None:
    save_dataset(tmp_path / "data")
    shutil.copy(dataset / "train" / "good" / "005.png", tmp_path / "data" / "test" / "good" / "seen.png")

    assert main(["evaluate", str(run_folder), "--data", str(tmp_path / "data")]) == 2

    assert "1 test photograph(s) were in the fit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "options", "named"),
    [
        ("nowhere", [], "no readable run.json"),
        ("run", ["--runtime", "openvino"], "a RUN is run by torch only"),
        ("run", ["--artifact", "openvino-f32"], "a RUN has no artefacts such as openvino-f32"),
        ("run", ["--json", f"{__file__}/figures.json"], "figures.json: cannot be written"),
    ],
)
def test_a_mistake_is_one_message(dataset: Path, run_folder: Path, capsys, model: str, options: list[str], named: str) -> None:
    assert main(["evaluate", str(run_folder.with_name(model)), "--data", str(dataset), *options]) == 2

    assert named in capsys.readouterr().err


def test_figures_are_told_even_where_their_file_cannot_be_written(dataset: Path, run_folder: Path, capsys) -> None:
    main(["evaluate", str(run_folder), "--data", str(dataset), "--json", f"{__file__}/figures.json"])

    assert "image AUROC" in capsys.readouterr().out


def test_a_report_may_be_the_first_file_of_its_folder(dataset: Path, run_folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "reports" / "november" / "cap.html"

    assert evaluate_command([str(run_folder), "--data", str(dataset), "--report", str(report)]) == 0

    assert report.read_text().startswith("<!DOCTYPE html>")


def test_figures_that_do_not_exist_are_not_in_the_table(tmp_path: Path) -> None:
    shutil.rmtree(save_dataset(tmp_path) / "ground_truth")

    told = table(evaluate(bright_model(Brightest()), unseen_parts(tmp_path), Quiet()))

    assert "nan" not in told
    assert "4 defects have no mask" in told


def test_a_perfect_order_of_few_parts_comes_with_what_it_cannot_exclude(dataset: Path) -> None:
    found = evaluate(bright_model(Brightest()), unseen_parts(dataset), Quiet())

    told = " ".join(remarks(found))

    assert (found.image_auroc, found.n_good, found.n_defect) == (1.0, 4, 4)
    assert "an image AUROC of 47.3 % could not be excluded" in told  # 0.05 ** (1 / 4): four pairs without a common part


def test_scores_that_tell_no_defect_by_more_than_chance_come_with_what_to_try(dataset: Path) -> None:
    apart = evaluate(bright_model(Brightest()), unseen_parts(dataset), Quiet())
    by_chance = msgspec.structs.replace(apart, image_auroc=0.52, image_auroc_low=0.29)

    assert "fit with a larger --image-size" in " ".join(remarks(by_chance))
    assert "fit with a larger --image-size" not in " ".join(remarks(apart))


def test_what_is_no_number_becomes_null_in_json(dataset: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "figures.json", evaluate(bright_model(Broken()), unseen_parts(dataset), Quiet()))

    assert json.loads((tmp_path / "figures.json").read_text())["aupro"] is None


def test_the_confusion_adds_up_to_the_parts(dataset: Path) -> None:
    found = evaluate(bright_model(Brightest()), unseen_parts(dataset), Quiet())

    assert (found.confusion.good_passed + found.confusion.good_rejected, found.n_good) == (4, 4)
    assert (found.confusion.defects_passed, found.confusion.defects_rejected) == (found.escapes.count, 4)
    assert [(p.defect, p.rejected) for p in found.parts] == [(None, False)] * 4 + [("scratch", True)] * 4


def test_recall_is_told_for_fixed_false_reject_rates_and_with_exact_limits(dataset: Path) -> None:
    found = evaluate(bright_model(Brightest()), unseen_parts(dataset), Quiet())

    assert [r.false_reject_rate for r in found.recall_at] == [0.01, 0.05]
    assert {r.false_rejects for r in found.recall_at} == {0}  # of 4 good parts
    assert {(r.found.count, r.found.n) for r in found.recall_at} == {(4, 4)}
    assert found.recall_at[0].found.low == pytest.approx(0.025**0.25)  # Clopper-Pearson, 4 of 4
    assert found.per_defect["scratch"].rejected_low == pytest.approx(0.025**0.25)


def test_each_defect_counts_in_the_size_of_its_own_mask(tmp_path: Path) -> None:
    save_dataset(tmp_path)
    dot = np.zeros((80, 96, 3), np.uint8)
    dot[3, 4] = 255  # 1 of 7680 px, 0.013 %
    save(tmp_path / "ground_truth" / "scratch" / "000_mask.png", dot)
    save(tmp_path / "ground_truth" / "scratch" / "001_mask.png", np.full((80, 96, 3), 255, np.uint8))
    (tmp_path / "ground_truth" / "scratch" / "002_mask.png").unlink()

    found = evaluate(bright_model(Brightest()), unseen_parts(tmp_path), Quiet())

    # the fourth keeps the scratch as drawn, some 2 to 5 % of the plate; the third has no mask and no size
    assert {size: (rate.count, rate.n) for size, rate in found.per_size.items()} == {
        "0.01 to 0.1 %": (1, 1),
        "1 to 10 %": (1, 1),
        "10 % and more": (1, 1),
    }
    assert list(found.per_size) == ["0.01 to 0.1 %", "1 to 10 %", "10 % and more"]


@pytest.mark.parametrize(
    ("share", "size"),
    [(1e-7, "below 0.01 %"), (1e-4, "0.01 to 0.1 %"), (1e-3, "0.1 to 1 %"), (0.01, "1 to 10 %"), (0.1, "10 % and more")],
)
def test_a_size_begins_at_its_decade(share: float, size: str) -> None:
    assert size_of(share) == size
    assert size_of(1.0) == "10 % and more"


def test_logical_and_structural_anomalies_are_judged_apart(tmp_path: Path) -> None:
    save_dataset(tmp_path)
    (tmp_path / "test" / "scratch").rename(tmp_path / "test" / "logical_anomalies")
    for k in range(4):
        save(tmp_path / "test" / "structural_anomalies" / f"{k}.png", plate(3000 + k) // 2)  # darker than any good part

    found = evaluate(bright_model(Brightest()), unseen_parts(tmp_path), Quiet())

    assert found.loco.image_auroc == {"logical_anomalies": 1.0, "structural_anomalies": 0.0, "mean": 0.5}


def save_loco(root: Path, saturation: float) -> None:
    """The scratches as MVTec LOCO's logical anomalies, one region each."""
    save_dataset(root)
    (root / "test" / "scratch").rename(root / "test" / "logical_anomalies")
    for mask in (root / "ground_truth" / "scratch").iterdir():
        region = root / "ground_truth" / "logical_anomalies" / mask.stem.removesuffix("_mask") / "000.png"
        region.parent.mkdir(parents=True)
        mask.rename(region)
    (root / "ground_truth" / "scratch").rmdir()
    defect = {"defect_name": "scratch", "pixel_value": 255, "saturation_threshold": saturation, "relative_saturation": True}
    (root / "defects_config.json").write_text(json.dumps([defect]))


def test_regions_that_saturate_wholly_have_the_plain_overlap(tmp_path: Path) -> None:
    save_loco(tmp_path, saturation=1.0)

    found = evaluate(bright_model(Brightest()), unseen_parts(tmp_path), Quiet())

    assert list(found.loco.auspro) == ["0.01", "0.05", "0.1", "0.3", "1"]
    assert found.loco.auspro["0.3"] == {"logical_anomalies": pytest.approx(found.aupro)}


def test_regions_that_saturate_early_are_found_earlier(tmp_path: Path) -> None:
    save_loco(tmp_path, saturation=0.2)

    found = evaluate(bright_model(Brightest()), unseen_parts(tmp_path), Quiet())

    assert found.loco.auspro["0.3"]["logical_anomalies"] > found.aupro
    assert "AU-sPRO @ 0.05 of logical_anomalies" in table(found)


def test_other_defects_have_no_figures_of_loco(dataset: Path) -> None:
    assert evaluate(bright_model(Brightest()), unseen_parts(dataset), Quiet()).loco is None


def test_the_time_of_an_inspection_is_part_of_the_time_of_the_evaluation(dataset: Path) -> None:
    photographs = unseen_parts(dataset)

    start = time.perf_counter()
    found = evaluate(bright_model(Brightest()), photographs, Quiet())
    elapsed_ms = 1000 * (time.perf_counter() - start)

    assert found.latency.images == 8
    assert 0 < found.latency.median_ms <= found.latency.p95_ms
    assert found.latency.median_ms * 4 < elapsed_ms  # at least half of the pictures took the median or longer


def test_memory_does_not_grow_with_the_number_of_maps(tmp_path: Path) -> None:
    class Fine(Brightest):
        def infer(self, image):
            return float(image.max()), np.repeat(np.repeat(image.max(axis=2).astype(np.float32), 8, axis=0), 8, axis=1)

    save_dataset(tmp_path, n_test=40)
    photographs = unseen_parts(tmp_path)

    tracemalloc.start()
    evaluate(bright_model(Fine()), photographs, Quiet())
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < 40e6  # 80 maps of 1 MB; the bootstrap's 1000 resamples of 80 parts take a few MB


def test_more_false_rejects_than_promised_are_said_first(tmp_path: Path) -> None:
    save_dataset(tmp_path, n_test=12)
    for k in range(12):
        save(tmp_path / "test" / "good" / f"{k:03}.png", scratched(plate(1000 + k)))

    found = evaluate(bright_model(Brightest()), unseen_parts(tmp_path), Quiet())

    assert remarks(found)[0].startswith("More good parts are rejected than the threshold promised")
    assert remarks(found)[0] in table(found)


def test_defects_that_nobody_could_look_at_are_said_before_all_else(tmp_path: Path) -> None:
    save_dataset(tmp_path)
    shutil.rmtree(tmp_path / "ground_truth")
    for k in range(3):
        save(tmp_path / "test" / "scratch" / f"{k:03}.png", plate(k, 400, 300))  # of a telephone

    found = evaluate(bright_model(Brightest()), unseen_parts(tmp_path), Quiet())

    assert remarks(found)[0] == (
        "3 of 8 pictures could not be inspected, they count as rejected, above every score; "
        "3 defects among them count as found, though nobody looked."
    )


def test_a_test_set_of_another_camera_gives_no_figures(run_folder: Path, tmp_path: Path, capsys) -> None:
    save_dataset(tmp_path)
    for file in (tmp_path / "test").glob("*/*.png"):
        save(file, plate(0, 400, 300))
    shutil.rmtree(tmp_path / "ground_truth")

    assert main(["evaluate", str(run_folder), "--data", str(tmp_path)]) == 2

    told = capsys.readouterr()
    assert "none of 8 test pictures could be inspected, such as" in told.err
    assert "image is 400x300 px, expected" in told.err
    assert told.out == ""


def the_run(run_folder: Path, folder: Path) -> Path:
    del folder
    return run_folder


def a_bundle(run_folder: Path, folder: Path) -> Path:
    """For photographs that look as those of the RUN."""
    write_bundle(folder)
    edit_manifest(folder, lambda content: content.update(usual=json.loads((run_folder / "run.json").read_text())["usual"]))
    return folder


@pytest.mark.parametrize("model_in", [the_run, a_bundle])
def test_a_photograph_that_the_device_takes_for_a_fault_is_rejected_with_the_reason(
    run_folder: Path, tmp_path: Path, capsys, model_in
) -> None:
    data, file = save_dataset(tmp_path / "data"), tmp_path / "figures.json"
    save(data / "test" / "good" / "dark.png", plate(7) // 4)
    save(data / "test" / "scratch" / "000.png", plate(8) // 4)

    assert evaluate_command([str(model_in(run_folder, tmp_path / "m")), "--data", str(data), "--json", str(file)]) == 0

    refused, parts = (json.loads(file.read_text())[key] for key in ("refused", "parts"))
    assert [reason.partition(": mean")[0] for reason in refused] == [
        f"{data}/test/good/dark.png: too dark",
        f"{data}/test/scratch/000.png: too dark",
    ]
    assert [p["rejected"] for p in parts if p["fault"]] == [True, True]
    assert json.loads(file.read_text())["latency"]["images"] == 7
    assert "note: 2 of 9 pictures could not be inspected, they count as rejected, above every score" in capsys.readouterr().out


def test_few_good_parts_come_with_what_they_cannot_exclude(dataset: Path) -> None:
    found = evaluate(bright_model(Brightest()), unseen_parts(dataset), Quiet())

    assert any("Only 4 good parts" in remark and "52.7 %" in remark for remark in remarks(found))  # 1 - 0.05 ** (1 / 4)


def test_the_figures_for_machines_say_where_they_come_from(dataset: Path, run_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    record = json.loads((run_folder / "run.json").read_text())

    evaluate_command([str(run_folder), "--data", str(dataset), "--json", str(file)])

    origin = json.loads(file.read_text())["origin"]
    assert (origin["runtime"], origin["precision"]) == ("torch", "f32")
    assert origin["provenance"]["data_sha256"] == record["data_sha256"]
    assert origin["provenance"]["weights_sha256"] == record["weights_sha256"]
    assert origin["provenance"]["model_sha256"] == record["content"]["model.safetensors"]
    assert len(origin["test_sha256"]) == 64
