"""A driver's thread wakes the process it serves, and is loud when it dies."""

import select
import threading

import pytest
from waiting import wait_until

from agent.fieldbus.driver_thread import DriverThread


def test_ringing_wakes_who_waits_until_it_was_heard() -> None:
    with DriverThread("quiet", lambda stop: stop.wait(20) and None) as thread:
        before = select.select([thread], [], [], 0)[0]
        thread.ring()
        thread.ring()
        rung = select.select([thread], [], [], 10)[0]
        thread.heard()
        after = select.select([thread], [], [], 0)[0]

    assert (before, rung, after) == ([], [thread], [])


def test_a_thread_that_died_wakes_and_is_loud() -> None:
    def dies(stop: threading.Event) -> None:
        raise KeyError("register 7")

    with DriverThread("mortal", dies) as thread:
        wait_until(lambda: select.select([thread], [], [], 0)[0])

        with pytest.raises(RuntimeError, match="the thread mortal stopped") as raised:
            thread.heard()

    assert isinstance(raised.value.__cause__, KeyError)


def test_it_has_ended_when_the_block_is_left() -> None:
    ended = threading.Event()

    def works(stop: threading.Event) -> None:
        stop.wait(20)
        ended.set()

    with DriverThread("worker", works):
        pass

    assert ended.is_set()
