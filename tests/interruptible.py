"""Processes that a test interrupts with Ctrl-C."""

import signal


def heed_ctrl_c() -> None:
    """For preexec_fn: a test run that was itself started in the background of a shell hands on an ignored SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
