"""A numpy file that is written row by row: one too large for memory, and a full disk is an error that can be told.

A mapped file would end the process there with a bus error, without a word.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


@contextmanager
def rows_file(file: Path, shape: tuple[int, ...], dtype: DTypeLike) -> Iterator[Callable[[NDArray[Any]], None]]:
    """What keeps the next row of the array of that shape, to be called once for each; ValueError for a row of another shape."""
    described = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}

    def keep(row: NDArray[Any]) -> None:
        if row.shape != shape[1:] or row.dtype != dtype:
            raise ValueError(f"{file}: expected a row {shape[1:]} {np.dtype(dtype)}, got {row.shape} {row.dtype}")
        opened.write(np.ascontiguousarray(row).data)

    with file.open("wb") as opened:
        np.lib.format.write_array_header_1_0(opened, described)
        yield keep
