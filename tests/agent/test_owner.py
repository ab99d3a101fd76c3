"""A command that root starts goes on as the user whose station it is."""

import os
from pathlib import Path

import pytest
from kensa_process import python

SOMEBODY = 4711  # a number without a name
WORDS = """
import os, sys
from pathlib import Path
from agent.owner import become_owner
become_owner(Path(sys.argv[1]))
Path(sys.argv[1], "eject.lock").touch()
print(os.getuid(), os.getgid(), os.getgroups())
"""


@pytest.fixture
def folder(state: Path) -> Path:
    """A station's, of somebody else where root runs this."""
    own = state / "station"
    own.mkdir()
    state.chmod(0o755)
    return own


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_root_starts_leaves_nothing_in_a_station_that_the_station_cannot_write(folder: Path) -> None:
    os.chown(folder, SOMEBODY, SOMEBODY)

    ran = python("-c", WORDS, str(folder))

    assert ran.stdout.split() == [str(SOMEBODY), str(SOMEBODY), "[]"], ran.stderr
    assert (folder / "eject.lock").stat().st_uid == SOMEBODY
    assert ran.stderr == f"started by root, goes on as user {SOMEBODY}, whose {folder} is\n"


@pytest.mark.parametrize("below", [".", "not-there"], ids=["its own", "none yet"])
def test_whose_folder_it_is_goes_on_as_before(folder: Path, below: str) -> None:
    named = folder / below
    words = WORDS.replace('Path(sys.argv[1], "eject.lock").touch()', "")

    ran = python("-c", words, str(named))

    assert ran.stdout.split()[:2] == [str(os.getuid()), str(os.getgid())], ran.stderr
    assert ran.stderr == ""
