"""What a collector asks for: gaps that do not close by themselves, few at a time, none for ever at the others' cost."""

from agent.collect.inquiry import Inquiry
from agent.collect.ledger import Gap


def gap(first: int, last: int, stream: str = "s") -> Gap:
    return Gap(stream, "plant/press-3", first, last)


def test_a_young_gap_may_close_by_itself_and_an_old_one_is_asked_for() -> None:
    inquiry = Inquiry()

    asked = [inquiry.due([gap(5, 9)], now_s) for now_s in (0.0, 1.0, 2.0)]

    assert asked == [[], [], [gap(5, 9)]]


def test_a_gap_that_closes_from_its_beginning_is_left_alone() -> None:
    inquiry = Inquiry()

    asked = [inquiry.due([gap(5 + 3 * k, 1000)], float(k)) for k in range(20)]

    assert asked == [[]] * 20


def test_it_is_asked_for_again_after_a_while_more_and_more_seldom() -> None:
    inquiry = Inquiry()
    inquiry.due([gap(5, 9)], 0.0)

    asked_at_s = [now_s for now_s in range(2, 3000) if inquiry.due([gap(5, 9)], float(now_s))]

    assert asked_at_s == [2, 12, 32, 72, 152, 312, 632, 1232, 1832, 2432]


def test_a_station_that_is_there_again_is_asked_at_once() -> None:
    inquiry = Inquiry()
    [inquiry.due([gap(5, 9)], float(now_s)) for now_s in range(1000)]

    inquiry.anew("s")

    assert inquiry.due([gap(5, 9)], 1000.0) == [gap(5, 9)]
    assert [now_s for now_s in range(1001, 1050) if inquiry.due([gap(5, 9)], float(now_s))] == [1010, 1030]


def test_a_long_gap_is_asked_for_in_pieces_the_next_as_soon_as_one_has_come() -> None:
    inquiry = Inquiry()
    inquiry.due([gap(1, 12_000)], 0.0)

    pieces = [inquiry.due([gap(first, 12_000)], now_s) for first, now_s in ((1, 2.0), (3000, 3.0), (5001, 4.0), (10_001, 5.0))]

    assert pieces == [[gap(1, 5000)], [], [gap(5001, 10_000)], [gap(10_001, 12_000)]]


def test_of_many_gaps_few_are_asked_for_at_once_and_all_in_turn() -> None:
    inquiry, gaps = Inquiry(), [gap(10 * k, 10 * k + 1) for k in range(1, 21)]
    inquiry.due(gaps, 0.0)

    asked = [inquiry.due(gaps, now_s) for now_s in (2.0, 3.0, 4.0, 5.0)]

    assert [len(found) for found in asked] == [8, 8, 4, 0]
    assert [one for found in asked for one in found] == gaps


def test_many_gaps_of_one_stream_keep_no_other_stream_waiting() -> None:
    inquiry, gaps = Inquiry(), [*(gap(10 * k, 10 * k + 1) for k in range(1, 101)), gap(7, 8, stream="other")]
    inquiry.due(gaps, 0.0)

    assert gap(7, 8, stream="other") in inquiry.due(gaps, 2.0)
