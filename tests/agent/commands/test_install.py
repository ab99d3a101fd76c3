"""`kensa install` and `kensa rollback`: what a line cannot use is refused before anything changes."""

import shutil
from pathlib import Path

import pytest
from line_file import write_line
from small_bundle import edit_manifest

from agent.bundle import BundleError, open_bundle
from agent.commands.install import install_command, rollback_command
from agent.serving.slots import pointer


@pytest.fixture
def file(state: Path, small_bundle: Path) -> Path:
    """A line that runs what is installed."""
    (state / "state").mkdir()
    file = write_line(state, pointer(state / "state"))
    assert install_command([str(small_bundle), str(file)]) == 0
    return file


@pytest.fixture
def newer(own_bundle: Path) -> Path:
    edit_manifest(own_bundle, lambda manifest: manifest.update(name="newer"))
    return own_bundle


def runs(file: Path) -> str:
    return open_bundle(pointer(file.parent / "state")).manifest.name


def test_a_bundle_is_tried_and_becomes_the_active_one(file: Path, newer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = install_command([str(newer), str(file)])

    assert (status, runs(file)) == (0, "newer")
    assert "newer" in capsys.readouterr().out


def test_a_roll_back_leads_to_the_one_before(file: Path, newer: Path) -> None:
    install_command([str(newer), str(file)])

    status = rollback_command([str(file)])

    assert (status, runs(file)) == (0, "small")


def test_m4_a_bundle_that_scores_otherwise_on_this_device_is_refused(file: Path, newer: Path) -> None:
    edit_manifest(newer, lambda manifest: manifest["artifacts"][0].update(golden_raw=[0.9, 0.1]))

    with pytest.raises(BundleError, match="at export"):
        install_command([str(newer), str(file)])

    assert runs(file) == "small"


def test_m5_a_bundle_too_slow_for_the_time_that_a_part_has_is_refused(file: Path, newer: Path) -> None:
    """A thousandth of a millisecond: no model is that fast."""
    file.write_text(file.read_text().replace("lead_ms: 20", "lead_ms: 399.999"))

    with pytest.raises(BundleError, match="from its trigger to the gate"):
        install_command([str(newer), str(file)])

    assert runs(file) == "small"


def test_an_empty_folder_is_refused(file: Path, newer: Path) -> None:
    shutil.rmtree(newer)
    newer.mkdir()

    with pytest.raises(BundleError, match="not a bundle"):
        install_command([str(newer), str(file)])

    assert runs(file) == "small"


def test_a_line_that_does_not_run_what_is_installed_is_told_how(
    state: Path, small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_line(state, small_bundle)

    install_command([str(small_bundle), str(file)])

    assert "write `bundle: " in capsys.readouterr().out
