"""The handshake: what a PLC may rely on, whatever it does itself."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agent.gate.handshake import HELD_RESULTS, ErrorCode, Handshake, Signals, Station, Wishes
from agent.inspection import Outcome

WELL = Station(is_attached=True, is_held=False, in_maintenance=False, is_busy=False, may_run=True)
HALF_A_SECOND_NS = 500_000_000


def shown(handshake: Handshake, now_ns: int = 0) -> Signals:
    return handshake.signals(WELL, now_ns)


def acknowledge(handshake: Handshake) -> None:
    """Ack up, a look, ack down."""
    handshake.hear(Wishes(ack=True))
    shown(handshake)
    handshake.hear(Wishes())


def taken(handshake: Handshake) -> list[tuple[int, bool, bool]]:
    """(result_id, ok, ng) of everything a PLC that acknowledges gets to see."""
    seen = []
    while (signals := shown(handshake)).valid:
        seen.append((signals.result_id, signals.ok, signals.ng))
        acknowledge(handshake)
    return seen


def test_a_trigger_is_acknowledged_with_the_parts_number_until_the_plc_lowers_it() -> None:
    handshake = Handshake()

    asked = handshake.hear(Wishes(trigger=True))
    before = shown(handshake)
    handshake.opened(70001, was_ready=True)
    during = shown(handshake)
    again = handshake.hear(Wishes(trigger=True))
    handshake.hear(Wishes())
    after = shown(handshake)

    assert (asked.trigger, again.trigger) == (True, False)
    assert (before.trigger_ack, during.trigger_ack, after.trigger_ack) == (False, True, False)
    assert (during.trigger_id, during.missed) == (70001, 0)


def test_a_trigger_while_not_ready_is_counted_as_missed_and_has_a_number_all_the_same() -> None:
    handshake = Handshake()
    handshake.hear(Wishes(trigger=True))

    handshake.opened(5, was_ready=False)

    assert (shown(handshake).missed, shown(handshake).trigger_id) == (1, 5)


def test_during_a_change_over_the_station_is_not_ready_and_the_line_may_run_so_that_the_belt_is_emptied() -> None:
    handshake = Handshake()

    signals = handshake.signals(replace(WELL, is_changing=True, recipe=3), 0)

    assert (signals.ready, signals.may_run, signals.heartbeat, signals.error, signals.recipe) == (False, True, True, False, 3)


def test_results_are_held_and_shown_one_after_the_other_each_until_it_is_acknowledged() -> None:
    handshake = Handshake()
    handshake.closed(1, Outcome.PASS)
    handshake.closed(2, Outcome.REJECT)

    first = shown(handshake, 0)
    much_later = shown(handshake, 10**12)
    handshake.hear(Wishes(ack=True))
    while_ack_is_up = shown(handshake)
    handshake.hear(Wishes())
    second = shown(handshake)

    assert (first.valid, first.result_id, first.ok, first.ng) == (True, 1, True, False)
    assert (much_later.result_id, much_later.held_results) == (1, 2)
    assert (while_ack_is_up.valid, while_ack_is_up.ok, while_ack_is_up.ng) == (False, False, False)
    assert (second.valid, second.result_id, second.ok, second.ng) == (True, 2, False, True)


def test_at_least_eight_results_wait_and_the_next_one_is_an_overrun_and_an_error() -> None:
    handshake = Handshake()

    kept = [handshake.closed(n, Outcome.PASS) for n in range(1, HELD_RESULTS + 2)]

    assert HELD_RESULTS >= 8
    assert kept == [True] * HELD_RESULTS + [False]
    signals = shown(handshake)
    assert (signals.overrun, signals.error, signals.error_code, signals.ready) == (True, True, ErrorCode.OVERRUN, False)
    assert [n for n, _, _ in taken(handshake)] == list(range(1, HELD_RESULTS + 1))


def test_a_reset_clears_the_error_once_for_each_rise_and_forgets_what_was_not_taken() -> None:
    handshake = Handshake()
    results = [handshake.closed(n, Outcome.PASS) for n in range(1, HELD_RESULTS + 2)]

    asked = [handshake.hear(Wishes(reset=is_on)).reset for is_on in (False, True, True)]

    assert results[-1] is False
    assert asked == [False, True, False]
    signals = shown(handshake)
    assert (signals.error, signals.overrun, signals.valid, signals.ready) == (False, False, False, True)


def test_a_reset_that_is_on_when_the_process_starts_is_no_press_until_it_was_seen_off() -> None:
    handshake = Handshake()

    asked = [handshake.hear(Wishes(reset=is_on)).reset for is_on in (True, True, False, True)]

    assert asked == [False, False, False, True]


def test_the_first_error_stays_until_it_is_cleared() -> None:
    handshake = Handshake()
    handshake.failed(ErrorCode.RECIPE)
    handshake.failed(ErrorCode.EJECTOR)

    assert shown(handshake).error_code == ErrorCode.RECIPE


def test_the_heartbeat_goes_on_while_inspection_is_there_and_stops_without_it() -> None:
    handshake = Handshake()
    away = Station(is_attached=False, is_held=False, in_maintenance=False, is_busy=False, may_run=True)

    beating = [handshake.signals(WELL, k * HALF_A_SECOND_NS) for k in range(4)]
    stopped = [handshake.signals(away, (4 + k) * HALF_A_SECOND_NS) for k in range(4)]

    assert [signals.heartbeat_count for signals in beating] == [1, 2, 3, 4]
    assert [signals.heartbeat for signals in beating] == [True, False, True, False]
    assert {signals.heartbeat_count for signals in stopped} == {4}
    assert not any(signals.ready for signals in stopped)


def test_a_wished_recipe_is_asked_for_once() -> None:
    handshake = Handshake()

    asked = [handshake.hear(Wishes(recipe=n)).recipe for n in (0, 3, 3, 4)]

    assert asked == [None, 3, None, 4]


stations = st.builds(
    Station,
    is_attached=st.booleans(),
    is_held=st.booleans(),
    in_maintenance=st.booleans(),
    is_busy=st.booleans(),
    may_run=st.booleans(),
    error=st.sampled_from(ErrorCode),
)
steps = st.lists(
    st.one_of(
        st.builds(Wishes, st.booleans(), st.booleans(), st.booleans(), st.integers(0, 3)),
        st.tuples(st.just("closed"), st.sampled_from(Outcome)),
        st.tuples(st.just("opened"), st.booleans()),
        stations,
    ),
    max_size=60,
)


def all_shown(done: list) -> list[tuple[Signals, Station]]:
    """What a PLC sees after each step of whatever happens."""
    handshake, n, now_ns, station, seen = Handshake(), 0, 0, WELL, []
    for step in done:
        now_ns += HALF_A_SECOND_NS // 2
        match step:
            case Wishes():
                handshake.hear(step)
            case ("closed", outcome):
                n += 1
                handshake.closed(n, outcome)
            case ("opened", was_ready):
                handshake.opened(n + 1, was_ready)
            case Station():
                station = step
        seen.append((handshake.signals(station, now_ns), station))
    return seen


@given(steps)
def test_ok_and_ng_are_never_on_together_and_one_of_them_is_on_exactly_while_valid(done: list) -> None:
    assert all((signals.ok, signals.ng).count(True) == signals.valid for signals, _ in all_shown(done))


@given(steps)
def test_ready_is_never_on_with_an_error_without_inspection_or_in_maintenance(done: list) -> None:
    ready = [(signals, station) for signals, station in all_shown(done) if signals.ready]

    assert all(station.is_attached and not station.is_held and not station.in_maintenance for _, station in ready)
    assert not any(signals.error for signals, _ in ready)


@given(st.lists(st.sampled_from(Outcome), max_size=40), st.integers(1, HELD_RESULTS))
def test_a_plc_that_takes_its_results_in_time_sees_each_once_in_order(outcomes: list[Outcome], at_once: int) -> None:
    handshake, seen = Handshake(), []

    for n, outcome in enumerate(outcomes, start=1):
        handshake.closed(n, outcome)
        seen += taken(handshake) if n % at_once == 0 else []
    seen += taken(handshake)

    assert seen == [(n, one is Outcome.PASS, one is Outcome.REJECT) for n, one in enumerate(outcomes, start=1)]
