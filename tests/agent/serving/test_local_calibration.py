"""Tables made on the device: used where they hold, refused where they are damaged, and `kensa calibrate`, which makes them."""

import json
import shutil
import sys
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from line_file import write_line
from small_bundle import edit_manifest, photograph, raw_score, write_photographs

from agent.bundle import BundleError, open_bundle, sha256
from agent.commands.calibrate import calibrate_command
from agent.commands.line import reporting
from agent.config import load_line
from agent.drivers import section
from agent.model import Here, open_model
from agent.preprocess import read_image
from agent.serving.local_calibration import FOLDER, calibrated_here
from agent.station import Station
from agent.watch import look_of, usual_of, what_is_wrong

FLOAT32_SUM = 1e-5  # of a mean of 192 bytes in float32 against float64


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Good parts under a lamp that is brighter than at export."""
    write_photographs(tmp_path / "good", 70, seed=3)
    return tmp_path / "good"


def calibrated(bundle: Path, photographs: Path, state: Path, *more: str) -> int:
    return reporting(calibrate_command, [str(bundle), "--images", str(photographs), "--state", str(state), *more])


def test_a_table_of_this_device_holds_in_place_of_the_bundles(small_bundle: Path, photographs: Path, tmp_path: Path) -> None:
    bundle = open_bundle(small_bundle)
    artifact = bundle.artifact_for(["onnxruntime"])

    assert calibrated(small_bundle, photographs, tmp_path / "state") == 0

    runtime = section("agent.runtimes", {"type": "onnxruntime", "threads": 1})
    with open_model(bundle, artifact, runtime, Here(tmp_path / "state")) as model:
        table = model.calibration
    assert len(table.raw_scores) == 70
    assert table != artifact.calibration
    random = np.random.default_rng(3)
    assert table.raw_scores[-1] == pytest.approx(max(raw_score(photograph(random)) for _ in range(70)), abs=FLOAT32_SUM)


def test_each_artefact_gets_a_table_and_one_runtime_alone_can_be_asked_for(
    small_bundle: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrated(small_bundle, photographs, tmp_path / "both") == 0
    assert calibrated(small_bundle, photographs, tmp_path / "one", "--runtime", "{type: openvino, device: CPU}") == 0

    assert len(list((tmp_path / "both" / FOLDER).iterdir())) == 2
    assert len(list((tmp_path / "one" / FOLDER).iterdir())) == 1
    told = capsys.readouterr().out
    assert "openvino-f32 on cpu, in f32" in told
    assert told.endswith("takes this up when its model is next opened: at a start, by another recipe, after a failure\n")


def test_an_artefact_that_computes_something_else_here_does_not_cost_the_others_theirs(
    own_bundle: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scale = open_bundle(own_bundle).manifest.artifacts[0].calibration.scale
    golden_raw = [raw + 0.26 * scale for raw in open_bundle(own_bundle).manifest.artifacts[0].golden_raw]
    edit_manifest(own_bundle, lambda manifest: manifest["artifacts"][0].update(golden_raw=golden_raw))

    status = calibrated(own_bundle, photographs, tmp_path / "state")

    told = capsys.readouterr()
    assert (status, len(list((tmp_path / "state" / FOLDER).iterdir()))) == (2, 1)
    assert "openvino-f32 on cpu" in told.out
    assert "onnx-f32 gives raw score" in told.err
    assert "openvino-f32" not in told.err


@pytest.mark.parametrize(
    ("more", "status", "tables"),
    [((), 0, 1), (("--runtime", "{type: openvino}"), 1, 0)],
    ids=["a line where others have theirs", "a failure where it was asked for"],
)
def test_a_runtime_that_is_not_installed_as_on_arm_is(
    small_bundle: Path,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    status: int,
    tables: int,
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)

    assert calibrated(small_bundle, photographs, tmp_path / "state", *more) == status

    told = capsys.readouterr()
    assert len(list((tmp_path / "state").glob(f"{FOLDER}/*"))) == tables
    assert "openvino-f32 does not run here: " in told.out + told.err
    assert "package openvino is not installed" in told.out + told.err


def test_photographs_that_a_station_would_take_for_faults_make_no_table_and_all_are_named(
    own_bundle: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(5)
    usual = usual_of([look_of(photograph(random)) for _ in range(20)])
    edit_manifest(own_bundle, lambda manifest: manifest.update(usual=msgspec.to_builtins(usual)))
    assert what_is_wrong(read_image(own_bundle / "reference" / "golden_1.png"), usual)  # damaged on purpose: not asked
    assert calibrated(own_bundle, photographs, tmp_path / "state") == 0
    cv2.imwrite(str(photographs / "night.png"), np.zeros((64, 64, 3), np.uint8))
    cv2.imwrite(str(photographs / "flash.png"), np.full((64, 64, 3), 255, np.uint8))
    cv2.imwrite(str(photographs / "other.png"), np.zeros((400, 300, 3), np.uint8))
    (photographs / "torn.png").write_bytes(b"torn")

    assert calibrated(own_bundle, photographs, tmp_path / "none") == 2

    told = capsys.readouterr().err
    assert "4 of 74 photographs are of a kind that a station takes for faults and never judges: flash.png (too bright" in told
    assert "night.png (too dark: mean 0 of 255" in told
    assert "other.png (image is 300x400 px" in told
    assert "torn.png (not an image" in told
    assert not (tmp_path / "none" / FOLDER).exists()


@pytest.mark.parametrize(
    ("runtime", "why"),
    [
        ("{type: tensorflow}", "tensorflow"),
        ("{type: [", "not valid YAML"),
        ("{type: onnxruntime, provider: cuda}", "with provider cuda"),
    ],
    ids=["unknown", "not YAML", "not here"],
)
def test_a_runtime_that_does_not_run_here_makes_no_table(
    small_bundle: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], runtime: str, why: str
) -> None:
    assert calibrated(small_bundle, photographs, tmp_path / "state", "--runtime", runtime) != 0

    assert why in capsys.readouterr().err
    assert not (tmp_path / "state" / FOLDER).exists()


def test_photographs_that_are_copies_of_one_another_make_no_table(
    small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photographs(tmp_path / "good", 1)
    for k in range(20):
        (tmp_path / "good" / f"copy{k}.png").write_bytes((tmp_path / "good" / "0000.png").read_bytes())

    assert calibrated(small_bundle, tmp_path / "good", tmp_path / "state") == 2
    assert "copies of one another" in capsys.readouterr().err


def test_a_part_that_lies_there_twice_vouches_once(
    small_bundle: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for k in range(3):
        (photographs / f"copy{k}.png").write_bytes((photographs / f"{k:04d}.png").read_bytes())

    assert calibrated(small_bundle, photographs, tmp_path / "state") == 0

    told = capsys.readouterr().out
    assert "3 left out, equal to another photograph" in told
    assert "from 70 good parts" in told


def test_defects_in_sub_folders_never_decide_a_threshold(
    small_bundle: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photographs(photographs / "test" / "scratch", 5, defects=frozenset(range(5)), seed=4)

    assert calibrated(small_bundle, photographs, tmp_path / "state") == 0
    assert "from 70 good parts" in capsys.readouterr().out
    assert calibrated(small_bundle, photographs / "test", tmp_path / "state") == 2
    assert "sub-folders are not looked into" in capsys.readouterr().err


def test_parts_with_defects_that_the_bundle_would_reject_make_no_table_unless_someone_stands_by_them(
    small_bundle: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photographs(tmp_path / "defects", 15, frozenset({3, 9, 11, 12, 14}), seed=5)
    assert calibrated(small_bundle, photographs, tmp_path / "state", "--runtime", "{type: onnxruntime}") == 0
    (before,) = (tmp_path / "state" / FOLDER).iterdir()
    content = before.read_bytes()

    refused = calibrated(small_bundle, tmp_path / "defects", tmp_path / "state", "--runtime", "{type: onnxruntime}")

    told = capsys.readouterr().err
    assert refused == 2
    claimed = open_bundle(small_bundle).artifact_for(["onnxruntime"]).calibration.false_reject_rate
    assert f"onnx-f32 would reject 5 of 15 by the bundle's own threshold, which claims at most {100 * claimed:.1f} % of" in told
    assert all(f"{name:04d}.png" in told for name in (3, 9, 11, 12, 14))
    assert before.read_bytes() == content
    assert (
        calibrated(small_bundle, tmp_path / "defects", tmp_path / "state", "--runtime", "{type: onnxruntime}", "--even-so") == 0
    )
    assert before.read_bytes() != content


def test_photographs_that_the_model_learned_from_make_no_table(
    small_bundle: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learned, held_out, *_ = sorted(photographs.iterdir())
    roles = {sha256(learned): "train", sha256(held_out): "calibration"}
    bundle = shutil.copytree(small_bundle, tmp_path / "bundle")
    edit_manifest(bundle, lambda manifest: manifest.update(photographs=roles))

    assert calibrated(bundle, photographs, tmp_path / "state") == 2

    assert f"1 of 70 photographs are of those that the model learned from, which say nothing of others: {learned.name};" in (
        capsys.readouterr().err
    )


def test_a_missing_folder_is_named(small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrated(small_bundle, tmp_path / "nowhere", tmp_path / "state") == 2
    assert "nowhere: no such folder" in capsys.readouterr().err


def test_an_empty_folder_is_named(small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good").mkdir()

    assert calibrated(small_bundle, tmp_path / "good", tmp_path / "state") == 2
    assert "expected photographs of good parts, found none" in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage",
    [lambda text: text.replace('"threshold": 0.', '"threshold": 1.'), lambda text: text[:-40], lambda text: "{}"],
    ids=["another threshold", "cut off", "emptied"],
)
def test_a_damaged_table_is_refused_and_named(small_bundle: Path, photographs: Path, tmp_path: Path, damage) -> None:
    calibrated(small_bundle, photographs, tmp_path, "--runtime", "{type: onnxruntime}")
    (file,) = (tmp_path / FOLDER).iterdir()
    file.write_text(damage(file.read_text()))
    bundle = open_bundle(small_bundle)

    with pytest.raises(BundleError, match=rf"{file.name}: .*run kensa calibrate again"):
        calibrated_here(bundle, bundle.artifact_for(["onnxruntime"]), "cpu", tmp_path)


def test_a_table_copied_from_another_place_is_refused(small_bundle: Path, photographs: Path, tmp_path: Path) -> None:
    calibrated(small_bundle, photographs, tmp_path, "--runtime", "{type: onnxruntime}")
    (file,) = (tmp_path / FOLDER).iterdir()
    bundle = open_bundle(small_bundle)
    other = bundle.artifact_for(["openvino"])
    calibrated(small_bundle, photographs, tmp_path, "--runtime", "{type: openvino}")
    (of_other,) = set((tmp_path / FOLDER).iterdir()) - {file}
    of_other.write_bytes(file.read_bytes())

    with pytest.raises(BundleError, match="does not match its hash"):
        calibrated_here(bundle, other, "cpu", tmp_path)


def test_a_sensitivity_moves_the_working_point_and_no_further_than_the_bundle_allows(small_bundle: Path) -> None:
    bundle = open_bundle(small_bundle)
    artifact = bundle.artifact_for(["onnxruntime"])
    runtime = section("agent.runtimes", {"type": "onnxruntime", "threads": 1})

    with open_model(bundle, artifact, runtime, Here(sensitivity=0.3)) as model:
        moved = model.calibration

    table = artifact.calibration
    assert moved.threshold == pytest.approx(table.threshold - 0.3 * table.scale)
    assert moved.score(moved.threshold) == 1.0
    assert moved.false_reject_rate > table.false_reject_rate
    with (
        pytest.raises(BundleError, match=r"sensitivity 0\.6, this bundle allows -0\.2 to 0\.5"),
        open_model(bundle, artifact, runtime, Here(sensitivity=0.6)),
    ):
        pass


def test_a_line_with_a_sensitivity_judges_by_the_moved_threshold_and_its_events_say_so(state: Path, small_bundle: Path) -> None:
    file = write_line(state, small_bundle)
    file.write_text(f"{file.read_text()}sensitivity: 0.3\n")
    table = open_bundle(small_bundle).manifest.artifacts[0].calibration

    with Station(load_line(file)) as station:
        policy = station.judging["top"].policy
        assert policy.threshold == pytest.approx(table.threshold - 0.3 * table.scale)
        assert station.readings.judge.threshold == policy.threshold


def test_the_file_of_a_table_says_where_and_from_what_it_was_made(small_bundle: Path, photographs: Path, tmp_path: Path) -> None:
    calibrated(small_bundle, photographs, tmp_path, "--runtime", "{type: onnxruntime}")

    (file,) = (tmp_path / FOLDER).iterdir()
    table = json.loads(file.read_text())["table"]
    assert (table["executed_on"], table["executed_precision"]) == ("cpu", "f32")
    assert len(table["images_sha256"]) == 64
    assert table["golden_raw"] == pytest.approx(open_bundle(small_bundle).manifest.artifacts[0].golden_raw, abs=FLOAT32_SUM)
