"""The socket between the two processes: messages arrive whole, nothing blocks, every way of losing it has one name."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from agent.bundle import LONGEST_NAME
from agent.inspection import Cause, Closed, Judge, Outcome, Part, Verdict
from agent.link import (
    PARTS_PER_REPORT,
    Attach,
    Channel,
    Confirm,
    Leaving,
    LinkLostError,
    Listener,
    Message,
    Report,
    Tell,
    Triggered,
    connect,
)

PART = Part("0123456789ab", 12)
REJECT = Verdict(Outcome.REJECT, Cause.FAULT, "camera top: Bild fehlt, 画像なし")
CLOSED = Closed(PART, REJECT, 1, 2, None)
SENT_AT_MOST_S = 0.4  # one send() of a small message into memory takes microseconds; the machine may be busy


@pytest.fixture
def ends(state: Path) -> Iterator[tuple[Channel, Channel]]:
    """The ejector's and the inspection's end of one connection."""
    with closing(Listener(state / "gate.sock")) as listener, closing(connect(state / "gate.sock", timeout_s=0.3)) as inspection:
        accepted = listener.accept()
        assert accepted is not None
        with closing(accepted) as ejector:
            yield ejector, inspection


@pytest.fixture
def raw_end() -> Iterator[tuple[Channel, socket.socket]]:
    """A channel, and a bare socket that may say anything to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with closing(Channel(ours)) as channel, theirs:
        yield channel, theirs


def fill(sender: Channel) -> float:
    """Sends until the buffer is full; how long the longest send took, in seconds."""
    longest_s, was_sent = 0.0, True
    while was_sent:
        before = time.monotonic()
        was_sent = sender.send(Tell(PART, REJECT))
        longest_s = max(longest_s, time.monotonic() - before)
    return longest_s


@pytest.mark.parametrize(
    "message",
    [
        Triggered(PART, 1, 2),
        Report((CLOSED, CLOSED)),
        Report(()),
        Leaving(),
        Attach(77),
        Tell(PART, REJECT),
        Confirm((PART, PART)),
    ],
    ids=lambda message: type(message).__name__,
)
@pytest.mark.parametrize("way", ["to inspection", "to the ejector"])
def test_a_message_arrives_as_it_was_sent(ends: tuple[Channel, Channel], way: str, message: Message) -> None:
    ejector, inspection = ends
    sender, receiver = {"to inspection": (ejector, inspection), "to the ejector": (inspection, ejector)}[way]

    assert sender.send(message)

    assert receiver.receive(wait=False) == message
    assert receiver.receive(wait=False) is None


@pytest.mark.parametrize("character", ["x", "画", "🙂", "\x1b", '"'], ids=["latin", "japanese", "emoji", "control", "quote"])
def test_a_full_report_of_the_longest_details_fits_into_one_message(ends: tuple[Channel, Channel], character: str) -> None:
    ejector, inspection = ends
    longest = Closed(PART, Verdict(Outcome.REJECT, Cause.FAULT, character * 500), 2**62, 2**62, 2**62)

    ejector.send(Report((longest,) * PARTS_PER_REPORT))

    assert inspection.receive(wait=True) == Report((longest,) * PARTS_PER_REPORT)


@pytest.mark.parametrize("end", [0, 1], ids=["ejector", "inspection"])
def test_a_full_buffer_is_told_at_once_and_never_waited_for(ends: tuple[Channel, Channel], end: int) -> None:
    longest_s = fill(ends[end])

    assert longest_s < SENT_AT_MOST_S


def test_a_full_buffer_takes_messages_again_once_it_is_read(ends: tuple[Channel, Channel]) -> None:
    ejector, inspection = ends
    fill(ejector)

    received = inspection.receive(wait=False)

    assert received == Tell(PART, REJECT)
    assert ejector.send(Tell(PART, REJECT))


def test_receiving_waits_no_longer_than_it_was_told_to(ends: tuple[Channel, Channel]) -> None:
    before_s = time.monotonic()

    received = ends[1].receive(wait=True)

    assert received is None
    assert 0.2 < time.monotonic() - before_s < 5  # 0.3 s by the fixture; the machine may be busy


def test_receiving_without_waiting_returns_at_once(ends: tuple[Channel, Channel]) -> None:
    before_s = time.monotonic()

    received = [end.receive(wait=False) for end in ends]
    took_s = time.monotonic() - before_s

    assert received == [None, None]
    assert took_s < SENT_AT_MOST_S


@pytest.mark.parametrize(("gone", "left"), [(0, 1), (1, 0)], ids=["ejector gone", "inspection gone"])
def test_a_closed_end_is_a_lost_link_for_the_other(ends: tuple[Channel, Channel], gone: int, left: int) -> None:
    ends[gone].close()

    with pytest.raises(LinkLostError, match="closed the link"):
        ends[left].receive(wait=True)
    with pytest.raises(LinkLostError, match="cannot send"):
        ends[left].send(Attach(1))


def test_what_was_said_before_the_end_is_still_heard(ends: tuple[Channel, Channel]) -> None:
    ejector, inspection = ends
    inspection.send(Tell(PART, REJECT))
    inspection.close()

    assert ejector.receive(wait=False) == Tell(PART, REJECT)
    with pytest.raises(LinkLostError):
        ejector.receive(wait=False)


def test_an_end_that_was_closed_here_is_a_lost_link_too(ends: tuple[Channel, Channel]) -> None:
    ends[0].close()

    with pytest.raises(LinkLostError):
        ends[0].send(Attach(1))
    with pytest.raises(LinkLostError):
        ends[0].receive(wait=False)


@pytest.mark.parametrize(
    "rubbish",
    [
        b"hello",
        b"{}",
        b"\xff\xfe",
        b'{"type":"tell"}',
        b'{"type":"shutdown"}',
        b'{"type":"attach","pid":"\xf7"}',
        b"[" * 50_000,
        b"x" * 150_000,
    ],
    ids=["text", "no type", "no text", "nothing in it", "unknown type", "broken text", "very deep", "too long"],
)
def test_what_is_no_message_of_this_version_is_a_lost_link(raw_end: tuple[Channel, socket.socket], rubbish: bytes) -> None:
    channel, theirs = raw_end
    theirs.send(rubbish)

    with pytest.raises(LinkLostError, match="not a message of this version"):
        channel.receive(wait=True)


def test_the_largest_report_comes_through(raw_end: tuple[Channel, socket.socket]) -> None:
    channel, theirs = raw_end
    part = Part("f" * 64, 2**53)  # what no text encoding shortens: each character is six bytes in JSON
    by = Judge("f" * 64, "\x01" * LONGEST_NAME, 1 / 3)
    verdict = Verdict(Outcome.REJECT, Cause.FAULT, "\x01" * 500, by)
    report = Report((Closed(part, verdict, 2**62, 2**62, 2**62, "\x01" * 100, 2**31),) * PARTS_PER_REPORT)

    theirs.send(msgspec.json.encode(report))

    assert channel.receive(wait=True) == report


def test_fields_that_a_newer_version_adds_are_passed_over(raw_end: tuple[Channel, socket.socket]) -> None:
    channel, theirs = raw_end
    theirs.send(msgspec.json.encode({"type": "attach", "pid": 5, "since": "tomorrow"}))

    assert channel.receive(wait=True) == Attach(5)


@pytest.mark.parametrize("name", ["nobody.sock", "no/folder/gate.sock", "x" * 120], ids=["nobody", "no folder", "too long"])
def test_connecting_to_nobody_is_a_lost_link(state: Path, name: str) -> None:
    with pytest.raises(LinkLostError, match="no ejector process at"):
        connect(state / name, timeout_s=0.3)


def test_a_listener_takes_over_the_socket_that_a_killed_one_left(state: Path) -> None:
    with closing(Listener(state / "gate.sock")):
        pass

    with closing(Listener(state / "gate.sock")) as listener, closing(connect(state / "gate.sock", timeout_s=0.3)):
        accepted = listener.accept()

        assert accepted is not None
        accepted.close()


def test_a_listener_that_nobody_calls_has_nobody_to_accept(state: Path) -> None:
    with closing(Listener(state / "gate.sock")) as listener:
        assert listener.accept() is None
