"""The wire format of an event: a CloudEvents 1.0 envelope in structured JSON around what is known of one closed part."""

import json
from typing import Any

import msgspec

from agent.inspection import Event

SCHEMA = "kensa.part/v1"


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


def envelope(station: str, stream: str, seq: int, time: str, data: bytes) -> bytes:
    """The message as published. `id` with `source` names the event for ever: a copy of it is the same event.

    stream, seq: the outbox that numbered it and its number there, without gaps.
    """
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": f"{stream}/{seq}",
            "source": f"urn:kensa:{station}",
            "type": SCHEMA,
            "time": time,
            "datacontenttype": "application/json",
            "stream": stream,
            "seq": seq,
            "data": msgspec.Raw(data),
        }
    )


def parse(message: bytes) -> dict[str, Any]:
    """A published message as a dictionary, for subscribers. Raises ValueError where it is none of ours."""
    content: Any = json.loads(message)
    kind = content.get("type") if isinstance(content, dict) and content.get("specversion") == "1.0" else None
    if kind != SCHEMA:
        raise ValueError(f"expected a CloudEvents 1.0 envelope of type {SCHEMA}, got type {kind!r}")
    return dict(content)
