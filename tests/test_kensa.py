"""The one command: what nobody has caught is told in one line where it names a file."""

from pathlib import Path

import pytest
from small_bundle import write_bundle, write_photographs

from kensa import main


def test_a_file_in_the_way_is_one_line_and_no_stack_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(tmp_path / "bundle")
    write_photographs(tmp_path / "good", 4)
    (tmp_path / "state").touch()

    status = main(["calibrate", str(tmp_path / "bundle"), "--images", str(tmp_path / "good"), "--state", str(tmp_path / "state")])

    said = capsys.readouterr().err
    assert status in (1, 2)
    assert said.startswith("kensa calibrate: ")
    assert str(tmp_path / "state") in said
    assert said.count("\n") == 1
