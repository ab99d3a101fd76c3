"""The wire format of events: a CloudEvents 1.0 envelope in structured JSON around a closed part, or around an alert."""

import json
from dataclasses import asdict
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec

from agent.clock import Clock, Instant, corrected
from agent.events.rows import NOT_KEPT, Kind, Lost, Row
from agent.inspection import Cause, Event, Measured, Outcome, Part

SCHEMA, ALERT_SCHEMA = "kensa.part/v1", "kensa.alert/v1"
DATA_SCHEMA, ALERT_DATA_SCHEMA = "urn:kensa:part:1.3", "urn:kensa:alert:1.2"  # the minor version: fields were added, none changed
ALERT_TOPIC = "alert"


Data = TypeVar("Data")
Utc = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]


class Model(msgspec.Struct, frozen=True):
    """By which model the part was judged. bundle_id: the SHA-256 of the bundle's manifest, which has those of its files."""

    name: str
    bundle_id: str


class RecipeRef(msgspec.Struct, frozen=True):
    """Which of the line's recipes ran when the part was triggered. name: of the product."""

    number: int
    name: str


class Action(msgspec.Struct, frozen=True):
    """What the gate did. actual_ns: None where nothing was switched. problem: why a part to be rejected may have gone by."""

    planned_ns: int
    actual_ns: int | None
    late_ms: float | None
    problem: str


class PartData(msgspec.Struct, frozen=True):
    """The `data` of a part's event. Times ending in `_ns` are CLOCK_MONOTONIC of the machine's boot `boot_id`.

    mono_ns: the moment of `time`, which the wall clock had in its state `clock`. threshold, bundle_id, model: of the line's own
    bundle; each reading says by which its camera's photograph was judged. readings: empty where the process that took them died
    before the part was reported; the model is all the same that by which it was judged. recipe: null where the line has none, and
    of a part that came during a change-over, which was rejected.
    """

    part: Part
    outcome: Outcome
    cause: Cause
    detail: str
    readings: tuple[Measured, ...]
    threshold: float
    bundle_id: str
    model: Model
    config_sha256: str
    boot_id: str
    clock: Clock
    mono_ns: int | None
    triggered_ns: int
    action: Action
    recipe: RecipeRef | None = None


class AlertData(msgspec.Struct, frozen=True):
    """The `data` of an alert. `events-lost` has, in place of `state`, the numbers first to last of `stream` that are missing;
    where others lie between them, runs are the ones that are.

    state: `told` of what happened once; `raised` of what goes on, until the same alert is `cleared`.
    """

    alert: str
    severity: Literal["warning", "error"]
    detail: str
    state: Literal["told", "raised", "cleared"] | msgspec.UnsetType = msgspec.UNSET
    reason: str | msgspec.UnsetType = msgspec.UNSET
    stream: str | msgspec.UnsetType = msgspec.UNSET
    first: int | msgspec.UnsetType = msgspec.UNSET
    last: int | msgspec.UnsetType = msgspec.UNSET
    count: int | msgspec.UnsetType | None = msgspec.UNSET
    kind: str | msgspec.UnsetType = msgspec.UNSET
    runs: tuple[tuple[int, int], ...] | msgspec.UnsetType = msgspec.UNSET


class Envelope(msgspec.Struct, Generic[Data], frozen=True, omit_defaults=True):
    """A CloudEvents 1.0 event in structured mode. `id` with `source` names it for ever: a copy of it is the same event.

    stream, seq: its number, without gaps. historical: it is told late; what is newer may have been told before it.
    correctedtime: its UTC time by a clock that was set after `time` was taken; said in the same boot only.
    """

    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    time: Utc
    datacontenttype: Literal["application/json"]
    dataschema: str
    stream: str
    seq: int
    data: Data
    historical: bool = False
    correctedtime: Utc | None = None


class _Stamp(msgspec.Struct, frozen=True):
    """When an event was, as far as it can be said better later."""

    clock: Clock = Clock.SYNCED
    mono_ns: int | None = None
    boot_id: str = ""


def kind(event: Event) -> Kind:
    """How much the event is worth when there is no room for all."""
    if event.closed.verdict.outcome is Outcome.PASS:
        return Kind.PASS
    return Kind.REJECT if event.closed.verdict.cause is Cause.SCORE else Kind.FAULT


def topic(event: Event) -> str:
    """Below the station's prefix."""
    return f"result/{event.closed.verdict.outcome.value}"


def payload(event: Event, machine_boot: str, clock: Clock = Clock.UNSYNCED, mono_ns: int | None = None) -> bytes:
    """The `data` of a part's event, as it is kept in the outbox. clock, mono_ns: of the moment that its `time` says."""
    closed = event.closed
    late_ns = None if closed.actual_ns is None else closed.actual_ns - closed.planned_ns
    late_ms = None if late_ns is None else round(late_ns / 1e6, 3)
    data = PartData(
        part=closed.part,
        outcome=closed.verdict.outcome,
        cause=closed.verdict.cause,
        detail=closed.verdict.detail,
        readings=event.readings,
        threshold=event.threshold,
        bundle_id=event.bundle_id,
        model=Model(event.model, event.bundle_id),
        config_sha256=event.config_sha256,
        boot_id=machine_boot,
        clock=clock,
        mono_ns=mono_ns,
        triggered_ns=closed.triggered_ns,
        action=Action(closed.planned_ns, closed.actual_ns, late_ms, closed.problem),
        recipe=RecipeRef(closed.recipe, event.product) if closed.recipe else None,
    )
    return msgspec.json.encode(data)


def alert(name: str, detail: str, state: str = "told") -> bytes:
    """The `data` of an alert: something that people should know of and the station has dealt with.

    state: `told` of what happened once; `raised` of what goes on, until the same alert is `cleared`.
    """
    return msgspec.json.encode({"alert": name, "severity": "warning", "state": state, "detail": detail})


def lost_alert(lost: Lost) -> bytes:
    """The `data` of an alert: numbers of the stream that no subscriber will see, and why."""
    severity = "warning" if lost.reason == NOT_KEPT else "error"
    return msgspec.json.encode({"alert": "events-lost", "severity": severity, **asdict(lost)})


def envelope(station: str, row: Row, historical: bool = False, now: Instant | None = None) -> bytes:
    """The message as published. now: the moment of publishing, by which a time from before the clock was set is corrected."""
    is_alert = row.topic == ALERT_TOPIC
    return msgspec.json.encode(
        Envelope(
            specversion="1.0",
            id=row.key,
            source=f"urn:kensa:{station}",
            type=ALERT_SCHEMA if is_alert else SCHEMA,
            time=row.time,
            datacontenttype="application/json",
            dataschema=ALERT_DATA_SCHEMA if is_alert else DATA_SCHEMA,
            stream=row.stream,
            seq=row.seq,
            data=msgspec.Raw(row.data),
            historical=historical,
            correctedtime=None if now is None or is_alert else _corrected(row, now),
        )
    )


def _corrected(row: Row, now: Instant) -> str | None:
    if b'"unsynced"' not in row.data:
        return None
    try:
        stamp = msgspec.json.decode(row.data, type=_Stamp)
    except (msgspec.DecodeError, UnicodeDecodeError):  # of a file that was broken: published as it is
        return None
    if stamp.clock is not Clock.UNSYNCED or stamp.mono_ns is None or stamp.boot_id != now.boot_id:
        return None
    try:
        return corrected(row.time, stamp.mono_ns, now)
    except (ValueError, TypeError, OverflowError):  # a time that is none, for the same reason
        return None


def parse(message: bytes) -> dict[str, Any]:
    """A published message as a dictionary, for subscribers. Raises ValueError where it is none of ours."""
    content: Any = json.loads(message)
    kind = content.get("type") if isinstance(content, dict) and content.get("specversion") == "1.0" else None
    if kind not in (SCHEMA, ALERT_SCHEMA):
        raise ValueError(f"expected a CloudEvents 1.0 envelope of type {SCHEMA} or {ALERT_SCHEMA}, got type {kind!r}")
    return dict(content)
