"""Faults S6, S7: the wall clock jumps, or starts in 1970. It names times and decides nothing."""

import ast
from datetime import datetime, timezone
from pathlib import Path

import pytest
from broker import Broker
from kensa_process import running
from subscriber import subscriber
from waiting import wait_until

from agent.events.outbox import Outbox
from agent.sections import Keep, KeepAll

ROOT = Path(__file__).parents[2]
READS_THE_WALL_CLOCK = {"time.time", "time.time_ns", "time.localtime", "datetime.now", "datetime.utcnow", "datetime.today"}

TELLS_OF_PARTS_SINCE_1970 = """
import sys, threading
from pathlib import Path
from agent.clock import machine_boot, now
from agent.sections import Mqtt
from agent.events.event import kind, payload, topic
from agent.events.memory import Entry
from agent.inspection import Cause, Closed, Event, Outcome, Part, Verdict
from agent.broker.mqtt import Publisher
from agent.events.outbox import Outbox
clock, boot = Path(sys.argv[2]), machine_boot()
with Outbox(Path(sys.argv[1]), machine=boot) as outbox:
    event = Event(Closed(Part("boot", 1), Verdict(Outcome.REJECT, Cause.MISSED, ""), 1, 2, 3), (), "bundle", 0.5)
    instant = now(boot)
    data = payload(event, boot, instant.clock, instant.mono_ns)
    stored = threading.Event()
    assert outbox.put(Entry("boot/1", kind(event), topic(event), instant.utc, data, lambda key: stored.set()))
    assert stored.wait(20)
    clock.with_suffix(".new").write_text("+0")
    clock.with_suffix(".new").rename(clock)
    with Publisher(Mqtt("127.0.0.1", "plant/press-3", int(sys.argv[3])), "press-3", outbox, {}):
        threading.Event().wait(60)
"""

PUTS_WHILE_THE_CLOCK_JUMPS = """
import sys, threading
from pathlib import Path
from agent.clock import utc_now
from agent.sections import Keep, KeepAll
from agent.events.memory import Entry
from agent.events.rows import Kind
from agent.events.outbox import Outbox
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


def test_s7_an_event_of_a_station_that_boots_in_1970_says_unsynced_and_has_its_right_time_once_the_clock_is_set(
    tmp_path: Path, fake_clock: Path, broker: Broker
) -> None:
    fake_clock.write_text("1970-01-01 00:01:00")
    arguments = ("-c", TELLS_OF_PARTS_SINCE_1970, str(tmp_path / "outbox.db"), str(fake_clock), str(broker.port))
    before = datetime.now(timezone.utc)
    with subscriber(broker.host, broker.port) as heard, running(*arguments, log_file=tmp_path / "1970.log"):
        wait_until(heard.events, timeout_s=20)

    (event,) = heard.events()
    right = datetime.fromisoformat(event["correctedtime"].replace("Z", "+00:00"))
    assert event["time"].startswith("1970-01-01T00:01")
    assert (event["data"]["clock"], event["data"]["mono_ns"] > 0) == ("unsynced", True)
    assert before <= right <= datetime.now(timezone.utc)


def test_s6_s7_nothing_in_the_agent_reads_the_wall_clock_but_the_one_place_that_is_for_it() -> None:
    readers = {
        file.relative_to(ROOT).as_posix()
        for file in sorted((ROOT / "agent").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and ".".join(ast.unparse(node).split(".")[-2:]) in READS_THE_WALL_CLOCK
    }

    assert readers == {"agent/clock.py"}
