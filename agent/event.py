"""The wire format of events: a CloudEvents 1.0 envelope in structured JSON around a closed part, or around an alert."""

import json
from dataclasses import asdict
from typing import Any

import msgspec

from agent.event_store import Kind, Lost, Row
from agent.inspection import Cause, Event, Outcome

SCHEMA, ALERT_SCHEMA = "kensa.part/v1", "kensa.alert/v1"
ALERT_TOPIC = "alert"


def kind(event: Event) -> Kind:
    """How much the event is worth when there is no room for all."""
    if event.closed.verdict.outcome is Outcome.PASS:
        return Kind.PASS
    return Kind.REJECT if event.closed.verdict.cause is Cause.SCORE else Kind.FAULT


def topic(event: Event) -> str:
    """Below the station's prefix."""
    return f"result/{event.closed.verdict.outcome.value}"


def payload(event: Event, machine_boot: str) -> bytes:
    """The `data` of the envelope, as it is kept in the outbox. Times ending in `_ns` are CLOCK_MONOTONIC of `boot_id`."""
    closed = event.closed
    late_ns = None if closed.actual_ns is None else closed.actual_ns - closed.planned_ns
    data = {
        "part": {"boot": closed.part.boot, "n": closed.part.n},
        "outcome": closed.verdict.outcome,
        "cause": closed.verdict.cause,
        "detail": closed.verdict.detail,
        "readings": event.readings,
        "threshold": event.threshold,
        "bundle_id": event.bundle_id,
        "boot_id": machine_boot,
        "triggered_ns": closed.triggered_ns,
        "action": {
            "planned_ns": closed.planned_ns,
            "actual_ns": closed.actual_ns,
            "late_ms": None if late_ns is None else round(late_ns / 1e6, 3),
        },
    }
    return msgspec.json.encode(data)


def alert(name: str, detail: str) -> bytes:
    """The `data` of an alert: something that people should know of and the station has dealt with."""
    return msgspec.json.encode({"alert": name, "severity": "warning", "detail": detail})


def lost_alert(lost: Lost) -> bytes:
    """The `data` of an alert: numbers of the stream that no subscriber will see, and why."""
    return msgspec.json.encode({"alert": "events-lost", "severity": "error", **asdict(lost)})


def envelope(station: str, row: Row, historical: bool = False) -> bytes:
    """The message as published. `id` with `source` names the event for ever: a copy of it is the same event.

    historical: it is told late; what is newer may have been told before it.
    """
    content: dict[str, Any] = {
        "specversion": "1.0",
        "id": row.key,
        "source": f"urn:kensa:{station}",
        "type": ALERT_SCHEMA if row.topic == ALERT_TOPIC else SCHEMA,
        "time": row.time,
        "datacontenttype": "application/json",
        "stream": row.stream,
        "seq": row.seq,
        "data": msgspec.Raw(row.data),
    }
    if historical:
        content["historical"] = True
    return msgspec.json.encode(content)


def parse(message: bytes) -> dict[str, Any]:
    """A published message as a dictionary, for subscribers. Raises ValueError where it is none of ours."""
    content: Any = json.loads(message)
    kind = content.get("type") if isinstance(content, dict) and content.get("specversion") == "1.0" else None
    if kind not in (SCHEMA, ALERT_SCHEMA):
        raise ValueError(f"expected a CloudEvents 1.0 envelope of type {SCHEMA} or {ALERT_SCHEMA}, got type {kind!r}")
    return dict(content)
