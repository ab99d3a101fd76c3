"""A station that inspects while a test goes on."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from agent.loop import inspect_forever
from agent.station import Station


@contextmanager
def inspecting(station: Station) -> Iterator[None]:
    """`inspect_forever` in a thread that has ended when the block is left."""
    stop = threading.Event()
    thread = threading.Thread(target=inspect_forever, args=(station, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=20)
