"""How people and systemd end a process: in order, not amid its work."""

import signal
from threading import Event as Stop


def stop_on_signal() -> Stop:
    """An event that SIGTERM and Ctrl-C set, also in the background of a shell, which has Ctrl-C ignored. For the main thread."""
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
