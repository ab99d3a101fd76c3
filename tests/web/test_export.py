"""What people judged on the page becomes the next training: `kensa fit` takes the export as it is."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from kensa_process import python
from record_filler import kept
from served import Served
from small_bundle import photograph

from agent.observation.picture import lossless
from agent.record.album import Album, open_index, place
from agent.record.record import FOLDER
from agent.record.table import Worth
from agent.sections import KeepImages

UTC = "2026-11-21T09:30:00.000000Z"
GOOD, DEFECTS, NOT_JUDGED = 24, 4, 2


@pytest.fixture(scope="module")
def export(page: Served) -> zipfile.ZipFile:
    """Of a record in which an operator has judged all but two."""
    folder, random = page.state / FOLDER, np.random.default_rng(3)
    with open_index(folder) as index:
        album = Album(folder, index, KeepImages(mb=100, leave_free_mb=0))
        for k in range(GOOD + DEFECTS + NOT_JUDGED):
            image = lossless(photograph(random, defect=k >= GOOD))
            number = album.next_number()
            file = place(number, Worth.REJECT, UTC, f"boot/{number}", "top")
            album.add(kept(number, Worth.REJECT, album.cost(image, b""), file), image, b"")
    operator = page.visitor("operator")
    judged = [(k + 1, "false", "") for k in range(GOOD)] + [(GOOD + k + 1, "true", "dent") for k in range(DEFECTS)]
    for number, judgment, defect in judged:
        review = {"id": number, "judgment": judgment, "defect": defect, "note": ""}
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
    answer = page.visitor("operator").ask("POST", "/api/review", review)

    assert answer.status == 400
    assert says in answer.json["error"]
