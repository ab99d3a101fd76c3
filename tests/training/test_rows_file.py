"""A numpy file written row by row is the one that numpy writes, and a full disk can be told."""

from pathlib import Path

import numpy as np
import pytest

from training.rows_file import rows_file

ROWS = np.arange(24, dtype=np.float32).reshape(3, 2, 4)


def test_the_file_is_the_one_that_numpy_writes(tmp_path: Path) -> None:
    with rows_file(tmp_path / "rows.npy", ROWS.shape, "float32") as keep:
        keep(ROWS[0])
        keep(np.asfortranarray(ROWS[1]))
        keep(ROWS[2])

    np.save(tmp_path / "whole.npy", ROWS)
    assert (tmp_path / "rows.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_a_full_disk_is_an_error_and_not_the_end_of_the_process() -> None:
    with pytest.raises(OSError, match="No space left on device"), rows_file(Path("/dev/full"), ROWS.shape, "float32") as keep:
        keep(ROWS[0])


def test_a_row_of_another_shape_or_type_is_refused(tmp_path: Path) -> None:
    with rows_file(tmp_path / "rows.npy", ROWS.shape, "float32") as keep:
        with pytest.raises(ValueError, match=r"expected a row \(2, 4\) float32, got \(4, 2\) float32"):
            keep(ROWS[0].T)
        with pytest.raises(ValueError, match="got \\(2, 4\\) float64"):
            keep(ROWS[0].astype(np.float64))
