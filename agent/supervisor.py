"""Both processes of a line under one roof, for a desk, a demo or a test; on a device systemd does this."""

import importlib.util
import logging
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Stop
from typing import IO

from agent.end_with_parent import ending_with_me

log = logging.getLogger(__name__)

CONFIGURATION_ERROR = 2  # exit status of a process that will fail the same way again
_RESTART_AFTER_S = 1.0
_LEAVE_WITHIN_S = 15.0


@dataclass(slots=True)
class _Child:
    role: str
    process: subprocess.Popen[bytes]
    restart_at_s: float | None = None


def run_both(line_file: Path, travel_ms: float, stop: Stop, stderr: IO[bytes] | None = None, beside: tuple[str, ...] = ()) -> int:
    """Keeps `eject` and `inspect` running until told to stop, then ends them in the order that loses nothing.

    travel_ms: how long parts in flight may still need to the gate. stderr: where the logs of both go, this process's own
    without it. beside: roles that run too and without which the line goes on, such as `web`. Returns 0, or the status of a
    child that found its configuration wrong. Where the thread that runs this ends without a last word (SIGKILL), each child is
    told to leave: the gate rejects what is in flight, switches off and ends.
    """
    children = [_start(role, line_file, stderr) for role in ("eject", "inspect", *beside)]
    status = 0
    while not stop.wait(0.1) and not status:
        for child in children:
            found = _keep_alive(child, line_file, stderr)
            status = status or (found if child.role not in beside else 0)
    for child in children:  # the gate first: it sees its parts through while inspection still judges them
        _end(child, travel_ms / 1000 + _LEAVE_WITHIN_S)
    return status


def _start(role: str, line_file: Path, stderr: IO[bytes] | None) -> _Child:
    program = importlib.util.find_spec("kensa")  # by its file: `-m` would look into the current folder first
    if program is None or program.origin is None:
        raise RuntimeError("kensa is not installed in this environment")
    command = ending_with_me([sys.executable, program.origin, role, str(line_file)], signal.SIGTERM)
    return _Child(role, subprocess.Popen(command, stderr=stderr, start_new_session=True))


def _keep_alive(child: _Child, line_file: Path, stderr: IO[bytes] | None) -> int:
    """Starts a child again a moment after it died; returns its status where that would not help."""
    status = child.process.poll()
    if status is None:
        return 0
    if status == CONFIGURATION_ERROR:
        return status
    if child.restart_at_s is None:
        log.error("kensa %s ended with status %d, restarted in %s s", child.role, status, _RESTART_AFTER_S)
        child.restart_at_s = time.monotonic() + _RESTART_AFTER_S
    elif time.monotonic() >= child.restart_at_s:
        try:
            child.process, child.restart_at_s = _start(child.role, line_file, stderr).process, None
        except OSError as e:  # no memory for it now, or no descriptor: the others go on
            log.error("kensa %s cannot be started, tried again in %s s: %s", child.role, _RESTART_AFTER_S, e)
            child.restart_at_s = time.monotonic() + _RESTART_AFTER_S
    return 0


def _end(child: _Child, within_s: float) -> None:
    if child.process.poll() is None:
        child.process.send_signal(signal.SIGTERM)
        try:
            child.process.wait(within_s)
        except subprocess.TimeoutExpired:
            log.error("kensa %s did not leave within %s s, killed", child.role, within_s)
            child.process.kill()
            child.process.wait()
