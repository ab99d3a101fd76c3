"""A driver's thread wakes the process it serves, and is loud when it dies."""

import select
import threading

import pytest
from waiting import wait_until

from agent.fieldbus.driver_thread import DriverThread


def test_what_is_told_wakes_who_waits_until_it_was_heard() -> None:
    with DriverThread[int]("quiet", lambda stop: stop.wait(20), OSError, most=3) as thread:
        before = select.select([thread], [], [], 0)[0]
        thread.tell(1, 2)
        thread.tell(3, 4)
        rung, waiting = select.select([thread], [], [], 10)[0], thread.unheard
        heard = thread.heard()
        after = select.select([thread], [], [], 0)[0]

        assert (before, rung, waiting, heard, after) == ([], [thread], 3, [2, 3, 4], [])
        assert thread.heard() == []


def test_a_thread_that_died_wakes_and_is_loud_with_the_reason() -> None:
    def dies(stop: threading.Event) -> None:
        raise KeyError("register 7")

    with DriverThread[int]("mortal", dies, OSError) as thread:
        wait_until(lambda: select.select([thread], [], [], 0)[0])

        with pytest.raises(OSError, match="the thread mortal stopped: 'register 7'") as raised:
            thread.heard()

    assert isinstance(raised.value.__cause__, KeyError)


def test_it_has_ended_when_the_block_is_left() -> None:
    ended = threading.Event()

    def works(stop: threading.Event) -> None:
        stop.wait(20)
        ended.set()

    with DriverThread[int]("worker", works, OSError):
        pass

    assert ended.is_set()
