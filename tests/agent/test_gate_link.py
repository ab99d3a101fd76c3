"""The inspection's end of the link: it attaches, listens, and attaches again for ever."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from gate_end import GateEnd, gate_end
from waiting import wait_until

from agent.gate_link import Ears, GateLink
from agent.inspection import Cause, Closed, Outcome, Part, Verdict
from agent.link import Attach, LinkLostError, Triggered

PASS = Verdict(Outcome.PASS, Cause.SCORE, "good")


def part(n: int) -> Part:
    return Part("boot", n)


def closed(n: int) -> Closed:
    return Closed(part(n), PASS, 1, 2, None)


def trigger_many(gate: GateEnd, numbers: range) -> None:
    for n in numbers:
        gate.trigger(part(n))


@pytest.fixture
def socket(state: Path) -> Path:
    return state / "gate.sock"


@pytest.fixture
def gate(socket: Path) -> Iterator[GateEnd]:
    with gate_end(socket) as end:
        yield end


def test_it_attaches_and_hears_of_parts(gate: GateEnd, socket: Path) -> None:
    with GateLink(socket, Ears(lambda closed: None)) as link:
        gate.wait_for_attach()
        gate.trigger(part(1))

        heard = link.next_trigger(timeout_s=10)

        assert isinstance(heard, Triggered)
        assert heard.part == part(1)
        assert link.is_attached


def test_an_empty_belt_is_none_in_time(gate: GateEnd, socket: Path) -> None:
    with GateLink(socket, Ears(lambda closed: None)) as link:
        assert link.next_trigger(timeout_s=0.01) is None


def test_verdicts_and_confirmations_reach_the_gate(gate: GateEnd, socket: Path) -> None:
    with GateLink(socket, Ears(lambda closed: None)) as link:
        gate.wait_for_attach()
        wait_until(lambda: link.is_attached)

        link.tell(part(1), PASS)
        link.confirm(part(2))

        assert gate.verdict_on(part(1)) == PASS
        gate.wait_for_confirmation(part(2))


def test_every_closed_part_of_a_report_is_handed_on_in_order(gate: GateEnd, socket: Path) -> None:
    taken: list[Closed] = []
    with GateLink(socket, Ears(taken.append)):
        gate.wait_for_attach()

        gate.report(closed(1), closed(2))
        gate.report(closed(3))

        wait_until(lambda: len(taken) == 3)
        assert taken == [closed(1), closed(2), closed(3)]


def test_it_attaches_again_when_the_ejector_process_comes_back(socket: Path) -> None:
    with GateLink(socket, Ears(lambda closed: None)) as link:
        with gate_end(socket) as first:
            first.wait_for_attach()
        wait_until(lambda: not link.is_attached)
        link.tell(part(1), PASS)  # into the void: the part is rejected there

        with gate_end(socket) as second:
            second.wait_for_attach()
            second.trigger(part(2))

            heard = link.next_trigger(timeout_s=10)

        link.check()
        assert heard is not None
        assert part(1) not in second.told


def test_a_part_triggered_while_too_many_wait_is_counted_and_the_others_keep_their_order(gate: GateEnd, socket: Path) -> None:
    with GateLink(socket, Ears(lambda closed: None)) as link:
        gate.wait_for_attach()
        trigger_many(gate, range(64))
        wait_until(lambda: link._triggers.full())

        trigger_many(gate, range(64, 67))

        wait_until(lambda: link.overrun == 3)
        waiting = [link.next_trigger(timeout_s=1) for _ in range(64)]
        assert [trigger.part.n for trigger in waiting if trigger] == list(range(64))


def test_a_thread_that_died_is_loud_in_check(gate: GateEnd, socket: Path) -> None:
    def breaks(closed: Closed) -> None:
        raise RuntimeError("nobody expected this")

    with GateLink(socket, Ears(breaks)) as link:
        gate.wait_for_attach()
        gate.report(closed(1))

        wait_until(lambda: not link._thread.is_alive())
        with pytest.raises(LinkLostError, match="thread stopped"):
            link.check()


def test_it_leaves_no_thread_behind(gate: GateEnd, socket: Path) -> None:
    before = threading.active_count()

    with GateLink(socket, Ears(lambda closed: None)):
        gate.wait_for_attach()

    assert threading.active_count() == before
    assert isinstance(gate.heard[0], Attach)
