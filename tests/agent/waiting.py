"""Waiting for what another thread or process does, with an end."""

import threading
import time
from collections.abc import Callable

_LOOK_EVERY_S = 0.01


def wait_until(condition: Callable[[], object], timeout_s: float = 15.0) -> None:
    """Returns as soon as the condition holds; AssertionError when it does not come true in time."""
    until_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until_s:
            raise AssertionError(f"did not come true within {timeout_s} s: {getattr(condition, '__name__', condition)}")
        threading.Event().wait(_LOOK_EVERY_S)
