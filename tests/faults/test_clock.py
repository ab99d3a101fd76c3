"""Faults S6, S7: the wall clock jumps, or starts in 1970. It names times and decides nothing."""

import ast
from pathlib import Path

import pytest
from kensa_process import running
from waiting import wait_until

from agent.config import Keep, KeepAll
from agent.outbox import Outbox

ROOT = Path(__file__).parents[2]
READS_THE_WALL_CLOCK = {"time.time", "time.time_ns", "time.localtime", "datetime.now", "datetime.utcnow", "datetime.today"}

PUTS_WHILE_THE_CLOCK_JUMPS = """
import sys, threading
from pathlib import Path
from agent.clock import utc_now
from agent.config import Keep, KeepAll
from agent.event_memory import Entry
from agent.event_store import Kind
from agent.outbox import Outbox
clock = Path(sys.argv[2])
week = Keep(mb=100, waiting_days=7)
def put(outbox, numbers):
    stored = threading.Event()
    for n in numbers:
        is_last = n == numbers[-1]
        say = (lambda key: stored.set()) if is_last else (lambda key: None)
        assert outbox.put(Entry(f"part {n}", Kind.PASS, "result/pass", utc_now(), b"{}", say))
    assert stored.wait(20)
with Outbox(Path(sys.argv[1]), KeepAll(passes=week, alert=week), "boot") as outbox:
    for k, jump in enumerate(sys.argv[3:]):
        clock.with_suffix(".new").write_text(jump)
        clock.with_suffix(".new").rename(clock)
        put(outbox, range(600 * k, 600 * k + 600))
    outbox.check()
    print("done", flush=True)
"""


@pytest.mark.parametrize(
    "jumps",
    [("+0", "+3600", "-3600"), ("+0", "+3650d", "-3650d"), ("1970-01-01 00:00:10", "+0", "1970-01-01 00:00:10")],
    ids=["an hour", "ten years", "1970 and back"],
)
def test_s6_a_clock_that_jumps_neither_disorders_nor_deletes_an_event(
    tmp_path: Path, fake_clock: Path, jumps: tuple[str, ...]
) -> None:
    file = tmp_path / "outbox.db"
    arguments = ("-c", PUTS_WHILE_THE_CLOCK_JUMPS, str(file), str(fake_clock), *jumps)

    with running(*arguments, log_file=tmp_path / "jumps.log") as station:
        wait_until(lambda: "done" in station.text(), timeout_s=30)

    week = Keep(mb=100, waiting_days=7)
    with Outbox(file, KeepAll(passes=week, alert=week), "boot") as outbox:
        rows = outbox.waiting(0, 10_000)
    years = [row.time[:13] for row in rows[::600]]
    assert [row.key for row in rows] == [f"part {n}" for n in range(1800)]
    assert [row.seq for row in rows] == list(range(1, 1801))
    assert years[0] != years[1] != years[2]  # the clock of the process has jumped


def test_s6_s7_nothing_in_the_agent_reads_the_wall_clock_but_the_one_place_that_is_for_it() -> None:
    readers = {
        file.relative_to(ROOT).as_posix()
        for file in sorted((ROOT / "agent").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and ".".join(ast.unparse(node).split(".")[-2:]) in READS_THE_WALL_CLOCK
    }

    assert readers == {"agent/clock.py"}
