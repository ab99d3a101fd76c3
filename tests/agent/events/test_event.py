"""The wire format: what a subscriber can rely on."""

import json
from dataclasses import replace

import pytest

from agent.clock import Clock, Instant
from agent.events.event import SCHEMA, envelope, parse, payload, topic
from agent.events.rows import Row
from agent.inspection import Cause, Closed, Event, Measured, Outcome, Part, Verdict

READINGS = (
    Measured("top", raw=0.5, score=1.25, p_value=0.01, latency_ms=12.5, bundle_id="bundle", threshold=0.4),
    Measured("side", fault="no frame within 80 ms", bundle_id="of the side", threshold=7.0),
)


def event(outcome: Outcome = Outcome.REJECT, cause: Cause = Cause.SCORE, actual_ns: int | None = 2_350_000) -> Event:
    verdict = Verdict(outcome, cause, "score 1.250")
    return Event(
        Closed(Part("0123456789ab", 7), verdict, 1_000_000, 2_000_000, actual_ns), READINGS, "bundle", 0.4, "caps", "c0ffee"
    )


@pytest.mark.parametrize(
    ("outcome", "below"), [(Outcome.PASS, "result/pass"), (Outcome.REJECT, "result/reject")], ids=["pass", "reject"]
)
def test_the_topic_is_the_outcome(outcome: Outcome, below: str) -> None:
    assert topic(event(outcome)) == below


def test_the_payload_says_what_happened_to_the_part() -> None:
    data = json.loads(payload(event(), "machine-boot-1", Clock.SYNCED, 3_000_000))

    assert data == {
        "part": {"boot": "0123456789ab", "n": 7},
        "outcome": "reject",
        "cause": "score",
        "detail": "score 1.250",
        "readings": [
            {"camera": "top", "raw": 0.5, "score": 1.25, "p_value": 0.01, "fault": None}
            | {"latency_ms": 12.5, "bundle_id": "bundle", "threshold": 0.4},
            {"camera": "side", "raw": None, "score": None, "p_value": None, "fault": "no frame within 80 ms"}
            | {"latency_ms": None, "bundle_id": "of the side", "threshold": 7.0},
        ],
        "threshold": 0.4,
        "bundle_id": "bundle",
        "model": {"name": "caps", "bundle_id": "bundle"},
        "config_sha256": "c0ffee",
        "boot_id": "machine-boot-1",
        "clock": "synced",
        "mono_ns": 3_000_000,
        "triggered_ns": 1_000_000,
        "action": {"planned_ns": 2_000_000, "actual_ns": 2_350_000, "late_ms": 0.35, "problem": ""},
        "recipe": None,
    }


def test_the_payload_names_the_recipe_that_ran_when_the_part_was_triggered() -> None:
    of_a_line_with_recipes = replace(event(), closed=replace(event().closed, recipe=2), product="lid")
    during_a_change_over = replace(event(), closed=replace(event().closed, recipe=None), product="")

    names = [json.loads(payload(one, "machine-boot-1"))["recipe"] for one in (of_a_line_with_recipes, during_a_change_over)]

    assert names == [{"number": 2, "name": "lid"}, None]


def test_a_part_that_was_not_pulsed_has_no_actual_time() -> None:
    data = json.loads(payload(event(Outcome.PASS, actual_ns=None), "machine-boot-1"))

    assert data["action"] == {"planned_ns": 2_000_000, "actual_ns": None, "late_ms": None, "problem": ""}


@pytest.mark.parametrize("cause", list(Cause), ids=lambda cause: cause.value)
def test_the_wire_words_of_the_causes_are_fixed(cause: Cause) -> None:
    data = json.loads(payload(event(cause=cause), "machine-boot-1"))

    assert data["cause"] in {"score", "fault", "late", "missed"}


def test_the_envelope_is_a_cloud_event_that_names_the_part_and_its_number() -> None:
    message = parse(
        envelope("press-3", Row("f00d", 2**40, "boot/7", "result/pass", "2026-11-21T09:30:00.000000Z", b'{"part":{"n":7}}'))
    )

    assert message == {
        "specversion": "1.0",
        "id": "boot/7",
        "source": "urn:kensa:press-3",
        "type": SCHEMA,
        "time": "2026-11-21T09:30:00.000000Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:kensa:part:1.3",
        "stream": "f00d",
        "seq": 2**40,
        "data": {"part": {"n": 7}},
    }


def unsynced(data: bytes) -> Row:
    return Row("f00d", 1, "boot/7", "result/pass", "1970-01-01T00:00:05.000000Z", data)


@pytest.mark.parametrize(
    ("clock", "boot", "corrected"),
    [
        (Clock.UNSYNCED, "machine", "2026-11-21T09:30:00.000000Z"),
        (Clock.UNSYNCED, "another boot", None),
        (Clock.SYNCED, "machine", None),
    ],
    ids=["same boot", "another boot", "was synced"],
)
def test_a_time_from_before_the_clock_was_set_is_corrected_within_the_same_boot(
    clock: Clock, boot: str, corrected: str | None
) -> None:
    now = Instant("2026-11-21T09:30:10.000000Z", Clock.SYNCED, 15_000_000_000, "machine")

    message = parse(envelope("press-3", unsynced(payload(event(), boot, clock, 5_000_000_000)), now=now))

    assert message["time"] == "1970-01-01T00:00:05.000000Z"
    assert message.get("correctedtime") == corrected


def test_a_time_that_was_right_although_nobody_kept_the_clock_is_not_corrected() -> None:
    row = Row("f00d", 1, "k", "result/pass", "2026-11-21T09:29:59.900000Z", payload(event(), "b", Clock.UNSYNCED, 5_000_000_000))
    now = Instant("2026-11-21T09:30:10.000000Z", Clock.UNSYNCED, 15_000_000_000, "b")

    message = parse(envelope("press-3", row, now=now))

    assert "correctedtime" not in message


def test_what_was_saved_from_a_broken_file_is_published_as_it_is() -> None:
    now = Instant("2026-11-21T09:30:10.000000Z", Clock.SYNCED, 15_000_000_000, "machine")

    message = envelope("press-3", unsynced(b'{"clock":"unsynced","mono_ns":'), now=now)

    assert message.endswith(b'"data":{"clock":"unsynced","mono_ns":}')


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"hello",
        b"{}",
        b"[]",
        b"null",
        b"7",
        b'{"specversion": "1.0", "type": "other/v1"}',
        b'{"specversion": "0.3", "type": "kensa.part/v1"}',
        b"\xff",
    ],
    ids=["empty", "text", "empty object", "list", "null", "number", "another type", "another CloudEvents", "no text"],
)
def test_what_is_none_of_ours_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match=r"expected a CloudEvents|Expecting value|codec can't decode"):
        parse(message)


@pytest.mark.parametrize("time", ["19?0-01-01T00:00:05.000000Z", "1970-01-01T00:00:05.000000", ""])
def test_a_time_that_a_broken_file_has_damaged_is_published_as_it_is(time: str) -> None:
    now = Instant("2026-11-21T09:30:10.000000Z", Clock.SYNCED, 15_000_000_000, "machine")
    row = replace(unsynced(payload(event(), "machine", Clock.UNSYNCED, 5_000_000_000)), time=time)

    message = parse(envelope("press-3", row, now=now))

    assert (message["time"], message.get("correctedtime")) == (time, None)
