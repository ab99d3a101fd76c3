"""A program that ends when the one that started it does, by SIGKILL too: nobody would look after it any more.

Run as a program, this asks the kernel for a signal at its parent's death and then becomes the program it was given: the same
process, nothing between the two. The kernel takes the thread that started it for the parent.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1  # prctl(2)


def ending_with_me(command: Sequence[str], number: signal.Signals) -> list[str]:
    """What to start in place of `command`, so that it is sent a signal when the thread that starts it ends, however that ends.

    A program that changes its user, as mosquitto does by itself when root starts it, is not sent it. Its own children are not.
    """
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(number)), *command]


def _become(parent: int, number: int, command: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        sys.exit(f"no signal at the parent's death: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit(f"{command[0]} is not started: the process {parent} that wanted it is gone")
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as e:
        sys.exit(f"{command[0]} cannot be started: {e.strerror}")


if __name__ == "__main__":
    _become(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
