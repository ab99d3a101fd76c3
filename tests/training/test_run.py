"""The RUN folder is whole or not there, and what was changed in it is refused."""

import io
import json
import shutil
from pathlib import Path

import pytest
from small_dataset import small_recipe

from training.fit import fit
from training.graph import TorchRuntime
from training.progress import Lines
from training.run import RunError, open_run, refuse_existing, unfinished


@pytest.fixture
def copied(run_folder: Path, tmp_path: Path) -> Path:
    """A RUN that may be spoiled."""
    return shutil.copytree(run_folder, tmp_path / "copied")


def test_an_opened_run_gives_the_scores_it_was_calibrated_with(run_folder: Path) -> None:
    run = open_run(run_folder)

    scores = sorted(TorchRuntime(run.deployed).infer(image)[0] for image in run.calibration_images)

    assert scores == list(run.record.calibration.raw_scores)


def test_a_run_says_where_it_comes_from(run_folder: Path) -> None:
    record = open_run(run_folder).record

    assert (record.method, record.backbone, record.seed) == ("patchcore", "resnet18", 0)
    assert record.weights == "random, seed 0"
    assert record.weights_licence == "unknown"
    assert {"python", "torch", "timm", "numpy", "opencv", "kensa"} == set(record.versions)
    assert [f.role for f in record.files] == ["train"] * 6 + ["calibration"] * 6


def change_a_byte(run: Path) -> None:
    content = bytearray((run / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (run / "model.safetensors").write_bytes(content)


def remove_the_model(run: Path) -> None:
    (run / "model.safetensors").unlink()


def remove_the_record(run: Path) -> None:
    (run / "run.json").unlink()


def cut_the_record(run: Path) -> None:
    (run / "run.json").write_bytes((run / "run.json").read_bytes()[:100])


def edit(run: Path, **changes: object) -> None:
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | changes))


def newer_version(run: Path) -> None:
    edit(run, schema="2.0")


def other_method(run: Path) -> None:
    edit(run, method="forgotten")


def other_backbone(run: Path) -> None:
    edit(run, backbone="resnet50")


def no_content(run: Path) -> None:
    edit(run, content={})


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (change_a_byte, "model.safetensors: sha256"),
        (remove_the_model, "model.safetensors: missing"),
        (remove_the_record, r"no readable run\.json"),
        (cut_the_record, "run.json"),
        (newer_version, "schema major version '2'"),
        (other_method, "method 'forgotten' is not one of the methods here"),
        (other_backbone, "does not fit this version"),
        (no_content, "lists no model"),
    ],
)
def test_a_run_that_is_not_whole_is_refused(copied: Path, spoil, named: str) -> None:
    spoil(copied)

    with pytest.raises(RunError, match=named):
        open_run(copied)


def test_a_left_over_of_a_cut_off_fit_is_never_a_run(copied: Path) -> None:
    left_over = copied.rename(copied.parent / ".unfinished-run-1")

    with pytest.raises(RunError, match="cut off"):
        open_run(left_over)


def interrupt(folder: Path) -> None:
    (folder / "model.safetensors").write_text("half")
    raise KeyboardInterrupt


def write_to_a_full_disk(folder: Path) -> None:
    (folder / "model.safetensors").write_text("half")
    with Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"x")


@pytest.mark.parametrize(
    ("act", "error", "named"),
    [(interrupt, KeyboardInterrupt, "^$"), (write_to_a_full_disk, RunError, "No space left on device")],
    ids=["interrupted", "disk-full"],
)
def test_a_run_that_is_cut_off_leaves_nothing(tmp_path: Path, act, error: type[BaseException], named: str) -> None:
    with pytest.raises(error, match=named), unfinished(tmp_path / "run", overwrite=False) as folder:
        act(folder)

    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_fit_left_goes_with_the_next_one_of_the_same_name(tmp_path: Path) -> None:
    [(tmp_path / name).mkdir() for name in (".unfinished-run-123", ".unfinished-run-2-123", ".unfinished-other-123")]

    with unfinished(tmp_path / "run", overwrite=False):
        pass

    assert sorted(p.name for p in tmp_path.iterdir()) == [".unfinished-other-123", ".unfinished-run-2-123", "run"]


@pytest.mark.parametrize(("present", "overwrite"), [("run.json", False), ("photograph.png", True)])
def test_what_stands_at_out_is_not_lost_by_mistake(tmp_path: Path, present: str, overwrite: bool) -> None:
    (tmp_path / present).touch()

    with pytest.raises(RunError, match=r"choose another --out"):
        refuse_existing(tmp_path, overwrite)


def test_overwrite_replaces_the_run_as_a_whole(dataset: Path, copied: Path) -> None:
    (copied / "old").touch()

    fit(small_recipe(dataset, copied, seed=1), Lines(io.StringIO()), overwrite=True)

    assert open_run(copied).record.seed == 1
    assert not (copied / "old").exists()
    assert [p.name for p in copied.parent.iterdir()] == ["copied"]
