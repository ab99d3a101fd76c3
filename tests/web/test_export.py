"""What people judged on the page becomes the next training: `kensa fit` takes the export as it is."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from kensa_process import python
from kept_parts import fill
from served import Served
from small_bundle import photograph

GOOD, DEFECTS, NOT_JUDGED = 24, 4, 2


@pytest.fixture(scope="module")
def export(page: Served) -> zipfile.ZipFile:
    """Of a record in which an operator has judged all but two."""
    random = np.random.default_rng(3)
    fill(page, [photograph(random, defect=k >= GOOD) for k in range(GOOD + DEFECTS + NOT_JUDGED)])
    operator = page.visitor("operator")
    judged = [(k + 1, "false", "") for k in range(GOOD)] + [(GOOD + k + 1, "true", "dent") for k in range(DEFECTS)]
    for number, judgment, defect in judged:
        review = {"id": number, "judgment": judgment, "defect": defect, "note": "", "reviewed": ""}
        assert operator.ask("POST", "/api/review", review).status == 200
    return zipfile.ZipFile(io.BytesIO(page.visitor("engineer").ask("GET", "/api/export").body))


def test_good_parts_and_each_kind_of_defect_have_their_folder_and_what_nobody_judged_is_left_out(export: zipfile.ZipFile) -> None:
    folders = [str(Path(name).parent) for name in export.namelist()]

    assert folders.count("train/good") == GOOD
    assert folders.count("test/dent") == DEFECTS
    assert len(folders) == GOOD + DEFECTS + 1  # and judged.csv


def test_kensa_fit_takes_the_export_as_it_is(export: zipfile.ZipFile, tmp_path: Path) -> None:
    export.extractall(tmp_path / "data")

    fit = ("fit", "--method", "patchcore", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"))
    finished = python("-m", "kensa", *fit, "--image-size", "64", "--set", "bank=50", timeout_s=55)

    assert finished.returncode == 0, finished.stderr[-2000:]
    assert "good parts rejected" in finished.stdout + finished.stderr


@pytest.mark.parametrize(
    ("review", "says"),
    [
        ({"id": 1, "judgment": "perhaps", "defect": "", "note": ""}, "say whether"),
        ({"id": 1, "judgment": "true", "defect": "../../etc", "note": ""}, "one word"),
        ({"id": 1, "judgment": "true", "defect": "good", "note": ""}, "no kind of defect"),
        ({"id": 1, "judgment": "false", "defect": "dent", "note": ""}, "has no kind"),
        ({"id": 10**9, "judgment": "true", "defect": "", "note": ""}, "not kept any more"),
        ({"id": 1, "judgment": "true", "defect": "", "note": "x" * 201}, "at most 200"),
    ],
    ids=["no judgment", "path", "good", "good with a defect", "gone", "long note"],
)
def test_a_review_that_makes_no_sense_is_refused_with_the_reason(
    page: Served, export: zipfile.ZipFile, review: dict[str, object], says: str
) -> None:
    answer = page.visitor("operator").ask("POST", "/api/review", {"reviewed": "", **review})

    assert answer.status == 400
    assert says in answer.json["error"]
