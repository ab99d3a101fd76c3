"""`kensa run`: both processes up, kept up, and ended in the order that loses nothing."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kensa_process import running
from line_file import write_line
from waiting import wait_until

from agent.supervisor import CONFIGURATION_ERROR, run_both


class Supervised:
    """`run_both` in a thread, and the log of its children."""

    def __init__(self, line_file: Path) -> None:
        self.stop = threading.Event()
        self.status: int | None = None
        self._log = line_file.with_name("children.log")
        self._log.touch()
        self._thread = threading.Thread(target=self._run, args=(line_file,))
        self._thread.start()

    def _run(self, line_file: Path) -> None:
        with self._log.open("ab") as stderr:
            self.status = run_both(line_file, 400, self.stop, stderr)

    def join(self) -> None:
        self._thread.join(timeout=40)
        assert not self._thread.is_alive()

    def said(self, role: str, message: str) -> int:
        """How often a child has logged this."""
        return [(entry["role"], entry["message"]) for entry in entries(self._log)].count((role, message))

    def text(self) -> str:
        return self._log.read_text()


def entries(log: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.startswith("{") and line.endswith("\n")
    ]


@contextmanager
def supervised(line_file: Path) -> Iterator[Supervised]:
    started = Supervised(line_file)
    try:
        yield started
    finally:
        started.stop.set()
        started.join()


def holder_of(state: Path, role: str) -> int:
    """The process id of the child with this role."""
    return int((state / "state" / f"{role}.lock").read_text())


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_both_children_start_and_the_stop_event_ends_both(state: Path, small_bundle: Path) -> None:
    with supervised(write_line(state, small_bundle, trigger="{type: timer, period_ms: 50, count: 3, delay_ms: 500}")) as line:
        wait_until(lambda: line.said("eject", "ejector ready") and line.said("inspect", "attached to the ejector process"))
        children = [holder_of(state, role) for role in ("eject", "inspect")]

    assert line.status == 0
    assert [is_alive(child) for child in children] == [False, False]
    assert line.said("eject", "account") == 1
    assert "Traceback" not in line.text()


def test_an_inspection_process_that_is_killed_is_started_again(state: Path, small_bundle: Path) -> None:
    with supervised(write_line(state, small_bundle)) as line:
        wait_until(lambda: line.said("inspect", "attached to the ejector process") == 1)
        ejector = holder_of(state, "eject")

        os.kill(holder_of(state, "inspect"), signal.SIGKILL)

        wait_until(lambda: line.said("inspect", "attached to the ejector process") == 2, timeout_s=30)
        assert holder_of(state, "eject") == ejector

    assert line.status == 0


def test_ctrl_c_on_kensa_run_ends_both_children_and_is_no_error_in_the_log(state: Path, small_bundle: Path) -> None:
    with running("-m", "kensa", "run", str(write_line(state, small_bundle)), log_file=state / "log") as run:
        wait_until(lambda: {"ejector ready", "attached to the ejector process"} <= set(run.messages()))
        children = [holder_of(state, role) for role in ("eject", "inspect")]

        run.process.send_signal(signal.SIGINT)
        status = run.process.wait(30)

    assert status == 0
    assert [is_alive(child) for child in children] == [False, False]
    assert "account" in run.messages()
    assert [entry["message"] for entry in run.entries() if entry["level"] == "error"] == []


def test_a_child_that_finds_its_configuration_wrong_ends_the_line(state: Path, tmp_path: Path) -> None:
    before_s = time.monotonic()

    with supervised(write_line(state, tmp_path / "no bundle")) as line:
        wait_until(lambda: line.status is not None, timeout_s=30)

    assert line.status == CONFIGURATION_ERROR
    assert "kensa inspect: " in line.text()
    assert line.said("eject", "ejector ready") <= 1
    assert time.monotonic() - before_s < 30


def test_s8_a_child_that_cannot_be_started_for_a_moment_is_started_later_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    refusals = [OSError(errno.ENOMEM, "Cannot allocate memory")]
    start = subprocess.Popen

    def popen(command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        if len(started) == 3 and refusals:
            raise refusals.pop()
        started.append(start([sys.executable, "-c", "import time; time.sleep(100)"], start_new_session=True))
        return started[-1]

    monkeypatch.setattr("agent.supervisor.subprocess.Popen", popen)
    stop = threading.Event()
    statuses: list[int] = []
    line = threading.Thread(target=lambda: statuses.append(run_both(tmp_path / "line.yaml", 10, stop, beside=("web",))))
    line.start()
    wait_until(lambda: len(started) == 3)
    started[2].kill()
    wait_until(lambda: len(started) == 4, timeout_s=30)
    others = [child.poll() for child in started[:2]]
    stop.set()
    line.join(timeout=40)

    assert (others, statuses) == ([None, None], [0])
    assert "kensa web cannot be started, tried again in 1.0 s: [Errno 12] Cannot allocate memory" in caplog.text
