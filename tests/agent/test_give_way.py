"""Whoever gives way does so alone: its process or one thread of it, and never takes more than it had."""

import pytest
from kensa_process import python

TELL = "tell = lambda: print(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), os.sched_getscheduler(0))"
IMPORT = "import os, threading; from agent.give_way import give_way, run_last, this_thread_gives_way"
SCHED_BATCH, SCHED_IDLE = 3, 5  # sched(7)


def told(act: str) -> list[list[int]]:
    """Niceness and policy as a process of its own tells them."""
    finished = python("-c", f"{IMPORT}; {TELL}; tell(); {act}; tell()")
    assert finished.returncode == 0, finished.stderr
    return [[int(number) for number in line.split()] for line in finished.stdout.splitlines()]


@pytest.mark.parametrize(
    ("act", "niceness", "policy"),
    [("give_way()", 5, SCHED_BATCH), ("run_last()", 19, SCHED_IDLE), ("run_last(); give_way()", 19, SCHED_BATCH)],
    ids=["page", "last", "never higher than it was"],
)
def test_a_process_gives_way(act: str, niceness: int, policy: int) -> None:
    before, after = told(act)

    assert after == [max(niceness, before[0]), policy]


def test_a_thread_gives_way_and_the_others_of_its_process_do_not() -> None:
    act = "one = threading.Thread(target=lambda: (this_thread_gives_way(), tell())); one.start(); one.join()"

    before, of_thread, of_process = told(act)

    assert of_thread == [max(10, before[0]), before[1]]
    assert of_process == before
