import fcntl
import io
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from agent.bundle import BundleError, open_bundle
from agent.drivers import section
from agent.model import open_model
from export.artifact import reference_of
from export.export_command import describe, export_command, licence_warning
from export.pack import export
from export.parity import ParityError
from kensa import main
from training.graph import Deployed
from training.progress import Lines
from training.run import Run, RunError


def test_a_bundle_has_two_artefacts_each_with_its_own_threshold_and_parity(bundle_folder: Path) -> None:
    manifest = open_bundle(bundle_folder).manifest

    assert [(a.runtime, a.precision) for a in manifest.artifacts] == [("onnxruntime", "f32"), ("openvino", "f32")]
    assert all(a.parity.score_deviation <= 1e-3 and a.parity.map_deviation <= 1e-3 for a in manifest.artifacts)
    assert all(a.parity.executed_precision == "f32" for a in manifest.artifacts)
    assert all(len(a.calibration.raw_scores) == 6 for a in manifest.artifacts)  # half of the 12 good parts


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_golden_images_give_the_recorded_scores_and_damage_scores_higher(bundle_folder: Path, runtime: str) -> None:
    bundle = open_bundle(bundle_folder)
    artifact = bundle.artifact_for([runtime])

    with open_model(bundle, artifact, section("agent.runtimes", {"type": runtime})):  # opening it is the self-test
        raw = dict(zip(bundle.manifest.golden, artifact.golden_raw, strict=True))

    damaged = [score for name, score in raw.items() if "damaged" in name]
    good = [score for name, score in raw.items() if "good" in name]
    assert len(damaged) == 2
    assert min(damaged) > max(good)


def test_the_manifest_says_how_to_make_the_model_again(bundle_folder: Path, run: Run) -> None:
    provenance = open_bundle(bundle_folder).manifest.provenance

    assert provenance.method == "patchcore"
    assert provenance.weights_sha256 == run.record.weights_sha256
    assert provenance.n_train == 6
    assert {"torch", "timm", "opencv", "onnx", "onnxscript", "onnxruntime", "openvino"} <= provenance.versions.keys()


def test_a_run_exported_again_is_the_same_bundle_to_the_last_byte(bundle_folder: Path, run: Run, tmp_path: Path) -> None:
    first = open_bundle(bundle_folder).manifest

    again = export(run, tmp_path / "again", first.name)

    assert again.files == first.files
    assert again.bundle_id == first.bundle_id


def test_a_name_that_no_device_would_take_is_refused_before_anything_is_made(run: Run, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="a name of 201 characters, expected at most 200"):
        export(run, tmp_path / "bundle", "x" * 201)

    assert list(tmp_path.iterdir()) == []


def test_what_an_export_that_was_killed_has_left_is_in_nobodys_way(run: Run, tmp_path: Path) -> None:
    left = tmp_path / f".unfinished-bundle-{os.getpid()}"  # in a container each process has the number of the one before
    (left / "artifacts").mkdir(parents=True)

    export(run, tmp_path / "bundle", "plate")

    assert open_bundle(tmp_path / "bundle").manifest.name == "plate"
    assert not left.exists()


def test_what_a_killed_export_left_goes_with_the_next_one_of_the_same_name_and_one_at_work_stays(
    run: Run, tmp_path: Path
) -> None:
    killed, at_work, *others = [
        tmp_path / f".unfinished-{name}" for name in ("bundle-999998", "bundle-999999", "bundle-2-123", "other-123")
    ]
    [(folder / "artifacts").mkdir(parents=True) for folder in (killed, at_work, *others)]
    descriptor = os.open(at_work, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)

    export(run, tmp_path / "bundle", "plate")

    os.close(descriptor)
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "bundle", at_work, *others])


def test_a_bundle_names_the_photographs_of_the_fit_and_is_not_tested_with_them(
    bundle_folder: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run.record.data, tmp_path / "data")
    shutil.copy(tmp_path / "data" / run.record.files[0].path, tmp_path / "data" / "test" / "good" / "seen.png")

    named = open_bundle(bundle_folder).manifest.photographs
    status = main(["evaluate", str(bundle_folder), "--data", str(tmp_path / "data")])

    assert named == {file.sha256: file.role for file in run.record.files}
    assert status == 2
    assert "seen.png is one of the fit (train)" in capsys.readouterr().err


class ExportedOtherwise(Deployed):
    """Its graph scores every picture higher than it does itself, by a hundredth of the way from a good part to the threshold."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.deployed.method, run.record.mean, run.record.std)
        self._more = 0.01 * run.record.calibration.scale

    def forward(self, images: torch.Tensor, depth: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        score, anomaly_map = super().forward(images, depth)
        return score + self._more * torch.compiler.is_exporting(), anomaly_map


def test_no_bundle_where_an_artefact_deviates_from_the_model(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="deviates from the trained model"):
        export(Run(run.folder, run.record, ExportedOtherwise(run)), tmp_path / "bundle", "plate")

    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_not_overwritten(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()

    with pytest.raises(BundleError, match="exists already"):
        export_command([str(run_folder), "--out", str(tmp_path / "bundle")])


def _limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))  # the model has 11 MB: a disk that is full


def test_a_full_disk_is_named_and_leaves_nothing(run_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kensa", "export", str(run_folder), "--out", str(tmp_path / "bundle")]

    finished = subprocess.run(command, capture_output=True, text=True, preexec_fn=_limit_file_size, env=os.environ)

    assert finished.returncode == 2
    assert "cannot be written" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no readable run\.json"):
        export_command([str(tmp_path), "--out", str(tmp_path / "bundle")])


def test_the_bundle_is_described_for_people(bundle_folder: Path) -> None:
    text = describe(open_bundle(bundle_folder).manifest)

    assert "openvino-f32" in text
    assert "good parts rejected (95 % confidence)" in text


@pytest.mark.parametrize(
    ("licence", "says"),
    [
        ("CC-BY-NC-4.0", "not for production"),
        ("non-commercial", "not for production"),
        ("unknown", "not stated"),
        ("Apache-2.0", ""),
        ("BSD-3-Clause", ""),
    ],
)
def test_a_backbone_that_may_not_earn_money_is_warned_of(licence: str, says: str) -> None:
    warning = licence_warning(licence)

    assert says in warning
    assert bool(warning) == bool(says)


def test_asking_the_model_about_many_images_is_shown_while_it_lasts(run: Run) -> None:
    seen = io.StringIO()

    reference = reference_of(run, Lines(seen))

    assert seen.getvalue().startswith(f"torch: {len(reference.images)} in ")
