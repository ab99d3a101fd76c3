"""S2 at a start: a disk that breaks makes itself read-only. No line can start on one; page and doctor say so."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kensa_process import ELSEWHERE
from line_file import write_line
from served import PASSWORDS, Served, served
from visitor import Visitor
from waiting import wait_until

from agent.only_one import only_one

_MOUNT = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


def read_only(state: Path, *command: str) -> list[str]:
    """The command where this folder is read-only, for it alone."""
    return ["unshare", "-rm", "sh", "-c", _MOUNT, str(state), *command]


@pytest.fixture(autouse=True)
def can_mount(tmp_path: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run(read_only(tmp_path, "true"), capture_output=True).returncode:
        pytest.skip("needs unshare, and the right to mount in a namespace of its own")


@pytest.fixture
def page(tmp_path: Path, small_bundle: Path) -> Iterator[Served]:
    """Of a line that has run before, its disk read-only now."""
    with served(tmp_path, small_bundle) as before:
        before.make_accounts()
    command = read_only(before.state, sys.executable, "-m", "kensa", "web", str(tmp_path / "line.yaml"))
    with (tmp_path / "web.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ELSEWHERE, stderr=log)
    try:
        wait_until(lambda: process.poll() is not None or _answers(before.port), timeout_s=60)
        yield before
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        return Visitor(port).ask("GET", "/live").status < 500
    except OSError:
        time.sleep(0.1)
        return False


def test_s2_the_page_of_a_station_whose_disk_is_read_only_comes_up_and_says_so(page: Served) -> None:
    engineer = page.visitor("engineer")

    found = {finding["name"]: finding for finding in engineer.ask("GET", "/api/doctor").json}
    refused = engineer.ask("POST", "/api/accounts", {"name": "eva", "password": PASSWORDS["viewer"], "role": "viewer"})

    assert (found["disk"]["health"], found["disk"]["found"]) == ("fail", f"{page.state} is read-only")
    assert (refused.status, "Read-only file system" in refused.json["error"]) == (400, True)
    assert "eva" not in str(engineer.ask("GET", "/api/accounts").json)


@pytest.mark.parametrize("role", ["eject", "inspect"])
def test_s2_a_line_on_a_read_only_disk_says_in_one_line_what_it_lacks(role: str, tmp_path: Path, small_bundle: Path) -> None:
    line = write_line(tmp_path, small_bundle)
    with only_one(tmp_path / "state", role):
        pass

    ended = subprocess.run(
        read_only(tmp_path / "state", sys.executable, "-m", "kensa", role, str(line)),
        cwd=ELSEWHERE,
        capture_output=True,
        text=True,
        timeout=60,
    )

    said = [one for one in ended.stderr.splitlines() if not one.startswith("{")]  # the rest is the log
    assert (ended.returncode, len(said)) == (1, 1)
    assert said[0].startswith(f"kensa {role}: {tmp_path / 'state'}/")
    assert said[0].endswith("Read-only file system")
