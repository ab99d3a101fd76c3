"""Whoever may wait gives way to the line, in words that the kernel understands."""

import contextlib
import os
import threading
from pathlib import Path

_NICENESS, _THREAD_NICENESS, _LAST = 5, 10, 19


def give_way() -> None:
    """This process gets a third of what another one gets where both want the processor, and interrupts nobody."""
    _be_nice(_NICENESS)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def this_thread_gives_way() -> None:
    """It gets a tenth of what the other threads of its process get.

    For a thread that works outside Python's lock most of the time: while it holds the lock, all wait as long as it does.
    """
    _lower(threading.get_native_id(), _THREAD_NICENESS)


def run_last() -> None:
    """This process runs on what nobody else wants."""
    _be_nice(_LAST)
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _be_nice(niceness: int) -> None:
    """Also as a session: with autogroup, as on a desktop, the kernel compares sessions, and niceness counts only within one."""
    _lower(0, niceness)
    with contextlib.suppress(OSError):  # a kernel without it
        Path("/proc/self/autogroup").write_text(str(niceness))


def _lower(thread: int, niceness: int) -> None:
    """Never higher than it was."""
    os.setpriority(os.PRIO_PROCESS, thread, max(niceness, os.getpriority(os.PRIO_PROCESS, thread)))
