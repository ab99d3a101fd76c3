"""SIGTERM within the block is Ctrl-C; outside of it nothing has changed."""

import os
import signal
import subprocess
import sys

import pytest

from training.stopping import sigterm_as_ctrl_c

IS_TOLD = """
import signal, sys
from training.stopping import sigterm_as_ctrl_c
signal.signal(signal.SIGINT, getattr(signal, sys.argv[1]))
try:
    with sigterm_as_ctrl_c():
        signal.raise_signal(signal.SIGTERM)
except KeyboardInterrupt:
    print("stopped", signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
"""


@pytest.mark.parametrize("ctrl_c", ["default_int_handler", "SIG_IGN"])  # as a terminal and as a shell's background job have it
def test_sigterm_interrupts_as_ctrl_c_does(ctrl_c: str) -> None:
    """In a process of its own: one that is not heeded ends it."""
    alone = {key: value for key, value in os.environ.items() if key != "WORLD_SIZE"}

    told = subprocess.run(
        [sys.executable, "-c", IS_TOLD, ctrl_c], capture_output=True, text=True, timeout=60, env=alone, check=False
    )

    assert (told.returncode, told.stdout) == (0, "stopped True\n"), told.stderr


def test_the_handler_of_before_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)

    with sigterm_as_ctrl_c():
        within = signal.getsignal(signal.SIGTERM)

    assert within != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_processes_of_torchrun_end_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    before = signal.getsignal(signal.SIGTERM)

    with sigterm_as_ctrl_c():
        assert signal.getsignal(signal.SIGTERM) == before
