"""The wire format: what a subscriber can rely on."""

import json

import pytest

from agent.event import SCHEMA, envelope, parse, payload, topic
from agent.event_store import Row
from agent.inspection import Cause, Closed, Event, Measured, Outcome, Part, Verdict

READINGS = (Measured("top", raw=0.5, score=1.25, p_value=0.01, latency_ms=12.5), Measured("side", fault="no frame within 80 ms"))


def event(outcome: Outcome = Outcome.REJECT, cause: Cause = Cause.SCORE, actual_ns: int | None = 2_350_000) -> Event:
    verdict = Verdict(outcome, cause, "score 1.250")
    return Event(Closed(Part("0123456789ab", 7), verdict, 1_000_000, 2_000_000, actual_ns), READINGS, "bundle", 0.4)


@pytest.mark.parametrize(
    ("outcome", "below"), [(Outcome.PASS, "result/pass"), (Outcome.REJECT, "result/reject")], ids=["pass", "reject"]
)
def test_the_topic_is_the_outcome(outcome: Outcome, below: str) -> None:
    assert topic(event(outcome)) == below


def test_the_payload_says_what_happened_to_the_part() -> None:
    data = json.loads(payload(event(), "machine-boot-1"))

    assert data == {
        "part": {"boot": "0123456789ab", "n": 7},
        "outcome": "reject",
        "cause": "score",
        "detail": "score 1.250",
        "readings": [
            {"camera": "top", "raw": 0.5, "score": 1.25, "p_value": 0.01, "fault": None, "latency_ms": 12.5},
            {"camera": "side", "raw": None, "score": None, "p_value": None, "fault": "no frame within 80 ms", "latency_ms": None},
        ],
        "threshold": 0.4,
        "bundle_id": "bundle",
        "boot_id": "machine-boot-1",
        "triggered_ns": 1_000_000,
        "action": {"planned_ns": 2_000_000, "actual_ns": 2_350_000, "late_ms": 0.35},
    }


def test_a_part_that_was_not_pulsed_has_no_actual_time() -> None:
    data = json.loads(payload(event(Outcome.PASS, actual_ns=None), "machine-boot-1"))

    assert data["action"] == {"planned_ns": 2_000_000, "actual_ns": None, "late_ms": None}


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
        "stream": "f00d",
        "seq": 2**40,
        "data": {"part": {"n": 7}},
    }


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
