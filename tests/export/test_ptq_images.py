import hashlib
from pathlib import Path

import msgspec
import pytest

from export.ptq_images import VIEWS, ptq_images
from training.data import DataError
from training.run import Run


def test_views_are_of_training_parts_only_and_the_same_each_time(run: Run) -> None:
    first, again = ptq_images(run), ptq_images(run)

    trained_on = {file.sha256 for file in run.record.files if file.role == "train"}
    assert set(first.record.photographs) == trained_on
    assert len(first.images) == first.record.views == VIEWS
    assert first.record == again.record
    assert first.record.views_sha256 == hashlib.sha256(b"".join(i.tobytes() for i in again.images)).hexdigest()
    assert len({image.tobytes() for image in first.images}) > 0.9 * VIEWS  # no mere copies


def test_photographs_that_have_gone_are_named(run: Run, tmp_path: Path) -> None:
    moved = Run(run.folder, msgspec.structs.replace(run.record, data=str(tmp_path / "gone")), run.deployed)

    with pytest.raises(DataError, match=r"gone: the photographs that the model was trained on are not there"):
        ptq_images(moved)


def test_other_photographs_than_those_of_the_fit_are_refused(run: Run) -> None:
    changed = Run(run.folder, msgspec.structs.replace(run.record, data_sha256="0" * 64), run.deployed)

    with pytest.raises(DataError, match="not the photographs that the model was trained on"):
        ptq_images(changed)
