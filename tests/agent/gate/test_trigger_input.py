"""Bounces are one part, two messages or counts are two; an input that stays active is stuck."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.gate.plan import GatePlan
from agent.gate.trigger_input import TriggerInput, input_of
from agent.triggers import TriggerConfig, digital_input, modbus, mqtt, software, timer

edges = st.lists(st.integers(0, 300), max_size=40).map(sorted)


@given(edges, st.integers(1, 40))
def test_parts_are_never_closer_than_the_debounce_time_and_every_edge_is_a_part_or_a_bounce(
    seen: list[int], debounce: int
) -> None:
    trigger = TriggerInput(debounce, 1000)

    parts = trigger.parts(seen)

    assert all(b - a >= debounce for a, b in pairwise(parts))
    assert len(parts) + trigger.bounces == len(seen)


@given(edges, st.integers(1, 40))
def test_every_bounce_has_its_part_just_before_it(seen: list[int], debounce: int) -> None:
    parts = TriggerInput(debounce, 1000).parts(seen)

    assert all(any(0 <= ns - part < debounce for part in parts) for ns in seen)


@given(edges, st.integers(1, 40), st.integers(0, 40))
def test_it_does_not_matter_in_how_many_pieces_the_edges_come(seen: list[int], debounce: int, cut: int) -> None:
    whole, pieces = TriggerInput(debounce, 1000), TriggerInput(debounce, 1000)

    assert pieces.parts(seen[:cut]) + pieces.parts(seen[cut:]) == whole.parts(seen)


def test_a_part_that_is_announced_after_a_later_one_is_no_bounce() -> None:
    trigger = TriggerInput(debounce_ns=10, stuck_ns=1000)

    parts = [trigger.parts([edge_ns]) for edge_ns in (1000, 500, 1001)]

    assert parts == [[1000], [500], []]
    assert trigger.bounces == 1


@pytest.mark.parametrize(
    ("active_since_ns", "now_ns", "stuck"),
    [(None, 10**12, False), (100, 1100, False), (100, 1101, True)],
    ids=["low", "just", "stuck"],
)
def test_an_input_is_stuck_when_it_has_been_active_for_too_long(active_since_ns: int | None, now_ns: int, stuck: bool) -> None:
    assert TriggerInput(1, 1000).is_stuck(active_since_ns, now_ns) is stuck


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        (digital_input.Config(line=17), 1),
        (modbus.Config(host="plc", discrete_input=0), 1),
        (software.Config("trigger"), 1),
        (modbus.Config(host="plc", counter=0), 2),
        (mqtt.Config(host="plc", topic="plc/part"), 2),
        (timer.Config(period_ms=40), 2),
    ],
    ids=["contact", "level", "software", "counter", "message", "timer"],
)
def test_parts_that_are_told_of_one_by_one_are_parts_however_close_they_come(config: TriggerConfig, parts: int) -> None:
    trigger = input_of(config, GatePlan(travel_ms=600, debounce_ms=80))

    assert len(trigger.parts([0, 40_000_000])) == parts
