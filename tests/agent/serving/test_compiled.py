"""What runtimes compiled is kept within bounds."""

import os
from pathlib import Path

import pytest

from agent.serving.compiled import compiled_folder


@pytest.mark.parametrize(("most", "left"), [(100, {"0", "1", "2"}), (25, {"1", "2"}), (10, {"2"}), (0, set())])
def test_the_oldest_files_go_until_the_rest_is_within_bounds(tmp_path: Path, most: int, left: set[str]) -> None:
    folder = compiled_folder(tmp_path)
    for k in range(3):
        (folder / str(k)).write_bytes(bytes(10))
        os.utime(folder / str(k), (k, k))

    compiled_folder(tmp_path, most_bytes=most)

    assert {file.name for file in folder.iterdir()} == left
