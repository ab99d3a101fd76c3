"""A thread for what may hang: it is waited for a moment, what waits is bounded, and its death is loud."""

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from waiting import wait_until

from agent.patient_thread import PatientThread

PATIENCE_S = 10.0  # of a thread that does not hang, on a busy machine


class Gateway:
    """Work that hangs while it is shut."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.is_at_work, self.is_open = threading.Event(), threading.Event()

    def work(self, item: int) -> None:
        self.is_at_work.set()
        self.is_open.wait(20)
        self.done.append(item)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    made = Gateway()
    yield made
    made.is_open.set()


def test_what_is_handed_over_is_done_when_it_returns(gateway: Gateway) -> None:
    gateway.is_open.set()
    with closing(PatientThread("test", gateway.work, most=10, patience_s=PATIENCE_S)) as thread:
        told = [(thread.hand_over(n), list(gateway.done)) for n in (1, 2)]

    assert told == [(True, [1]), (True, [1, 2])]


def test_what_hangs_is_caught_up_with_in_order_and_then_waited_for_again(gateway: Gateway) -> None:
    with closing(PatientThread("test", gateway.work, most=10, patience_s=0.01)) as thread:
        while_it_hangs = [thread.hand_over(n) for n in (1, 2, 3)]
        was_behind = thread.is_behind
        gateway.is_open.set()
        wait_until(lambda: not thread.is_behind)

    assert (while_it_hangs, was_behind) == ([False, False, False], True)
    assert gateway.done == [1, 2, 3]


def test_of_more_than_may_wait_the_oldest_are_dropped_and_counted(gateway: Gateway) -> None:
    with closing(PatientThread("test", gateway.work, most=3, patience_s=0.01)) as thread:
        thread.hand_over(0)
        assert gateway.is_at_work.wait(20)

        [thread.hand_over(n) for n in (1, 2, 3, 4, 5)]
        gateway.is_open.set()

    assert thread.dropped == 2
    assert gateway.done == [0, 3, 4, 5]


def test_a_thread_that_died_is_loud() -> None:
    def fails(item: int) -> None:
        raise ValueError("a mistake")

    with closing(PatientThread("test", fails, most=3, patience_s=0.01)) as thread:
        thread.hand_over(1)

        with pytest.raises(RuntimeError, match="the thread test stopped") as loud:
            wait_until(lambda: thread.hand_over(2))

    assert str(loud.value.__cause__) == "a mistake"
