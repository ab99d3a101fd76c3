"""What a station hears: which births and acknowledgements are another's, and which only look like that."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_outbox import Durable
from waiting import wait_until

from agent.broker.command_desk import CommandDesk
from agent.broker.feed import Feed
from agent.broker.heard import Heard
from agent.broker.listener import Listener
from agent.events.outbox import Outbox

EARLIER, LATER = "2026-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.db") as opened:
        Durable().put(opened, range(3))
        [opened.sent(row) for row in opened.waiting(0, 2)]
        wait_until(lambda: len(opened.unacknowledged(10)) == 2)
        yield opened


@pytest.fixture
def listener(outbox: Outbox) -> Listener:
    """Connected for the first time."""
    listener = Listener(outbox, CommandDesk(), "archive", "our boot")
    listener.connected()
    return listener


def birth(stream: str, boot_id: str, time: str = LATER, is_retained: bool = True) -> Heard:
    return Heard("birth", json.dumps({"stream": stream, "boot_id": boot_id, "time": time}).encode(), is_retained)


def hear_ack(listener: Listener, outbox: Outbox, **said: Any) -> None:
    content = {"collector": "archive", "stream": outbox.stream, **said}
    listener.hear(Heard("ack", json.dumps(content).encode(), False), Feed(outbox))


@pytest.mark.parametrize("is_retained", [True, False], ids=["retained", "live"])
def test_n7_a_birth_with_our_stream_from_another_machine_is_another_stations_and_our_numbers_go_on_in_a_new_one(
    outbox: Outbox, listener: Listener, is_retained: bool
) -> None:
    shared = outbox.stream
    listener.connected()

    listener.hear(birth(shared, "another boot", is_retained=is_retained), Feed(outbox))

    assert listener.has_rival
    wait_until(lambda: outbox.stream != shared and outbox.backlog() == 4)
    assert json.loads(outbox.waiting(3, 1)[0].data)["alert"] == "stream-of-another"


def test_a_birth_that_is_ours_or_from_before_is_no_other_station(outbox: Outbox, listener: Listener) -> None:
    feed, before = Feed(outbox), birth("of the device before", "its boot")
    listener.hear(before, feed)
    listener.connected()

    listener.hear(birth(outbox.stream, "our boot"), feed)
    listener.hear(before, feed)  # a broker that was killed came back with it
    listener.hear(birth("of the device before that", "its boot", EARLIER), feed)
    listener.hear(birth(outbox.stream, "our boot before the last", EARLIER), feed)

    assert not listener.has_rival
    assert outbox.backlog() == 1


def test_the_device_before_that_says_its_birth_once_more_is_another_station(outbox: Outbox, listener: Listener) -> None:
    before = "2026-11-21T09:30:00.000000Z"
    listener.hear(birth("of the device before", "its boot", before), Feed(outbox))
    listener.connected()

    listener.hear(birth("of the device before", "its boot", LATER), Feed(outbox))

    assert listener.has_rival


@pytest.mark.parametrize("said", [{}, {"taken": 2, "id": "part 1"}, {"taken": 1, "id": "part 0"}], ids=["no id", "ours", "first"])
def test_an_acknowledgement_of_our_events_or_without_an_id_is_obeyed(
    outbox: Outbox, listener: Listener, said: dict[str, Any]
) -> None:
    hear_ack(listener, outbox, seq=2, **said)

    wait_until(lambda: outbox.unacknowledged(10) == [])
    assert outbox.backlog() == 1


@pytest.mark.parametrize(
    "said", [{"taken": 2, "id": "its 1"}, {"taken": 900, "id": "its 899"}], ids=["our number", "beyond ours"]
)
def test_n7_an_acknowledgement_of_anothers_event_settles_nothing_and_our_numbers_go_on_in_a_new_stream(
    outbox: Outbox, listener: Listener, said: dict[str, Any]
) -> None:
    shared = outbox.stream

    hear_ack(listener, outbox, seq=2, **said)

    wait_until(lambda: outbox.stream != shared and outbox.backlog() == 4)
    assert outbox.unacknowledged(10) == []
    assert json.loads(outbox.waiting(3, 1)[0].data)["alert"] == "stream-of-another"
