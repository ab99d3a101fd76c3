"""One process per role and state folder, however the last one ended."""

import os
from pathlib import Path

import pytest
from kensa_process import running
from waiting import wait_until

from agent.only_one import AlreadyRunningError, is_held, only_one

ON_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from agent.only_one import only_one
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
with only_one(Path(sys.argv[1]), "eject"):
    sys.exit(7)
"""

HOLDS = """
import sys, threading
from pathlib import Path
from agent.only_one import only_one
with only_one(Path(sys.argv[1]), "eject"):
    print("holds", flush=True)
    threading.Event().wait(60)
"""


def test_a_role_that_is_held_is_refused_with_the_holders_process_id(tmp_path: Path) -> None:
    with (
        only_one(tmp_path, "eject"),
        pytest.raises(AlreadyRunningError, match=rf"`kensa eject` runs here already \(process {os.getpid()}\)"),
    ):
        only_one(tmp_path, "eject").__enter__()


def test_another_role_or_folder_is_free(tmp_path: Path) -> None:
    with only_one(tmp_path / "a", "eject"), only_one(tmp_path / "a", "inspect"), only_one(tmp_path / "b", "eject"):
        pass


def test_a_role_is_free_again_afterwards(tmp_path: Path) -> None:
    with only_one(tmp_path, "eject"):
        pass

    with only_one(tmp_path, "eject"):
        pass


def test_a_role_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), only_one(tmp_path, "eject"):
        raise ZeroDivisionError

    with only_one(tmp_path, "eject"):
        pass


def test_a_role_is_free_again_after_its_process_was_killed(tmp_path: Path) -> None:
    with running("-c", HOLDS, str(tmp_path / "state"), log_file=tmp_path / "log") as holder:
        wait_until(lambda: "holds" in holder.text())
        with pytest.raises(AlreadyRunningError, match=f"process {holder.process.pid}"):
            only_one(tmp_path / "state", "eject").__enter__()
        holder.kill()

    with only_one(tmp_path / "state", "eject"):
        pass


def test_a_disk_too_full_to_say_who_holds_a_role_keeps_nobody_from_starting(tmp_path: Path) -> None:
    with running("-c", ON_A_FULL_DISK, str(tmp_path), log_file=tmp_path / "log") as starting:
        assert starting.process.wait(30) == 7


def test_who_asks_whether_a_role_is_held_makes_nothing_and_holds_nothing(tmp_path: Path) -> None:
    unknown = is_held(tmp_path / "state", "eject")
    with only_one(tmp_path, "eject"):
        during = is_held(tmp_path, "eject")
    after = is_held(tmp_path, "eject")

    assert (unknown, during, after) == (False, True, False)
    assert not (tmp_path / "state").exists()
