"""`kensa reproduce`: a grid that goes on where it stopped, and a table that invents nothing."""

import json
import shutil
from pathlib import Path

import pytest
from small_dataset import plate, save, save_dataset

from kensa import main
from training.reproduce import Table, markdown, published, reproduce_command

SMALL = ["--methods", "patchcore", "--weights", "random", "--image-size", "64"]


@pytest.fixture(scope="module")
def collection(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two categories with the names of public ones."""
    root = tmp_path_factory.mktemp("collection")
    shutil.copytree(dataset, root / "bottle")
    return save_dataset(root / "cable").parent


@pytest.fixture(scope="module")
def done(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reproduced")
    assert reproduce_command(["--data", str(collection), "--out", str(out), *SMALL]) == 0
    return out


def test_the_table_has_ours_and_theirs_for_each_category(done: Path) -> None:
    rows = json.loads((done / "table.json").read_text())["rows"]
    text = (done / "table.md").read_text()

    measured = json.loads((done / "patchcore" / "bottle.json").read_text())
    assert rows[0]["figures"]["bottle"]["image_auroc"] == pytest.approx(100 * measured["image_auroc"])
    assert rows[0]["figures"].keys() == {"bottle", "cable", "mean"}
    theirs = "anomalib, WRN50, 256 px, bank 10 % | repository open-edge-platform/anomalib"
    assert f"| patchcore | {theirs} | 100.0 / 98.4 / - | 99.0 / 98.8 / - |" in text
    assert {row["data"] for row in rows} == {"MVTec AD"}
    assert {row["method"] for row in rows} == {"patchcore"}


def test_it_goes_on_where_it_was_killed_and_keeps_what_was_done(collection: Path, done: Path, tmp_path: Path) -> None:
    out = shutil.copytree(done, tmp_path / "out")
    (out / "patchcore" / "cable.json").unlink()  # killed in the evaluation of the second
    before = {p: p.stat().st_mtime_ns for p in out.glob("patchcore/*/run.json")} | {
        out / "patchcore" / "bottle.json": (out / "patchcore" / "bottle.json").stat().st_mtime_ns
    }

    assert reproduce_command(["--data", str(collection), "--out", str(out), *SMALL]) == 0

    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert (out / "patchcore" / "cable.json").is_file()
    assert (out / "table.json").read_bytes() == (done / "table.json").read_bytes()


def test_a_cell_that_fails_is_told_and_the_others_go_on(collection: Path, done: Path, tmp_path: Path, capsys) -> None:
    data, out = shutil.copytree(collection, tmp_path / "data"), tmp_path / "out"
    shutil.copy(data / "bottle/train/good/000.png", data / "bottle/test/good/leak.png")

    assert reproduce_command(["--data", str(data), "--out", str(out), *SMALL]) == 1

    table = json.loads((out / "table.json").read_text())
    assert "a test picture must never be in the fit" in table["failures"]["patchcore/bottle"]
    assert table["rows"][0]["figures"].keys() == {"cable"}  # no mean over what is left
    assert "- patchcore/bottle: " in (out / "table.md").read_text()


def test_no_picture_is_left_out_as_unlike_the_usual_ones(dataset: Path, tmp_path: Path) -> None:
    data, out = shutil.copytree(dataset, tmp_path / "data" / "bottle"), tmp_path / "out"
    save(data / "test" / "good" / "dark.png", plate(7) // 4)

    assert reproduce_command(["--data", str(data.parent), "--out", str(out), *SMALL]) == 0

    measured = json.loads((out / "patchcore" / "bottle.json").read_text())
    assert (measured["n_good"], measured["refused"]) == (5, [])


def test_figures_of_pictures_that_the_network_did_not_see_are_none(dataset: Path, tmp_path: Path) -> None:
    data, out = shutil.copytree(dataset, tmp_path / "data" / "bottle"), tmp_path / "out"
    save(data / "test" / "good" / "large.png", plate(7).repeat(2, axis=0).repeat(2, axis=1))

    assert reproduce_command(["--data", str(data.parent), "--out", str(out), *SMALL]) == 1

    failures = json.loads((out / "table.json").read_text())["failures"]
    assert "1 of 9 test pictures could not be inspected, such as" in failures["patchcore/bottle"]
    assert not (out / "patchcore" / "bottle.json").exists()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (["--seed", "1"], "made with other options"),
        (["--methods", "nonsense"], "method 'nonsense' is not one of"),
        (["--image-size", "1"], "--image-size: expected `int` >= 32"),
        (["--categories", "nowhere"], "no such folder"),
    ],
    ids=["options", "method", "setting", "category"],
)
def test_a_mistake_is_one_line(collection: Path, done: Path, changed: list[str], named: str, capsys) -> None:
    assert main(["reproduce", "--data", str(collection), "--out", str(done), *SMALL, *changed]) == 2

    assert named in capsys.readouterr().err


def test_published_figures_are_percent_and_each_has_its_source() -> None:
    rows = published()

    values = [value for row in rows for cell in row.figures.values() for value in cell.values()]
    assert {row.method for row in rows} == {"patchcore", "stfpm", "fastflow", "efficientad", "ast"}
    assert {row.data for row in rows} == {"MVTec AD", "MVTec LOCO", "VisA", "MVTec 3D-AD"}
    assert min(values) > 10
    assert max(values) == 100
    assert all(row.source and row.figures for row in rows)


def test_each_source_is_there_once_for_a_data_set_and_a_method() -> None:
    keys = [(row.data, row.method, row.configuration) for row in published()]

    assert len(keys) == len(set(keys))


def test_the_table_for_people_leaves_the_unknown_empty() -> None:
    stfpm = next(row for row in published() if row.configuration == "paper" and row.method == "stfpm")

    assert "| - / 98.8 / - | - |" in markdown(Table(("bottle", "unknown_category"), (stfpm,), {}))
