"""Events that were sent and not answered for, in time that passes as the test says."""

from agent.broker.unacknowledged import Unacknowledged
from agent.events.rows import Row


def row(seq: int) -> Row:
    return Row("stream", seq, f"part {seq}", "result/pass", "2026-11-21T09:30:00Z", b"{}")


def three_sent() -> Unacknowledged:
    """Numbers 1 to 3 as messages 11 to 13, at 100 s; ten seconds are patience."""
    sent = Unacknowledged(patience_s=10)
    for n in (1, 2, 3):
        sent.sent(10 + n, row(n), 100.0)
    return sent


def test_each_answer_is_that_of_one_event_and_others_are_of_none() -> None:
    sent = three_sent()

    found = [sent.answered(mid, 101.0) for mid in (11, 99, 12, 11)]

    assert [one and one.seq for one in found] == [1, None, 2, None]
    assert [one.seq for one in sent.rows] == [3]


def test_a_broker_that_answers_nothing_is_given_up_and_any_answer_is_a_sign_of_life() -> None:
    sent = three_sent()
    patient, impatient = sent.trouble(110.0), sent.trouble(110.1)

    sent.answered(99, 110.1)

    assert (patient, impatient) == ("", "no acknowledgement for 10 s")
    assert sent.trouble(120.0) == ""


def test_nothing_sent_is_nothing_to_wait_for_and_patience_begins_with_the_next_event() -> None:
    sent = Unacknowledged(patience_s=10)
    idle = sent.trouble(1000.0)
    sent.sent(11, row(1), 1000.0)

    assert (idle, sent.trouble(1009.0)) == ("", "")


def test_an_event_that_was_passed_over_is_told_of_though_later_ones_are_answered() -> None:
    sent = three_sent()
    sent.answered(12, 105.0)
    sent.answered(13, 114.0)

    assert (sent.trouble(114.9), sent.trouble(115.1)) == (
        "",
        "event 1 was passed over: later ones are acknowledged, it is not",
    )
    sent.answered(11, 116.0)
    assert (sent.trouble(200.0), len(sent)) == ("", 0)
