"""The messages between a station and the plant that are no events: what it is, how it is, and what a collector tells it."""

from typing import Annotated, Literal

import msgspec

from agent.clock import Clock

Seq = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]  # a larger one would end whoever looks for it in SQLite


class Birth(msgspec.Struct, frozen=True):
    """Topic `birth`, retained: what the station is, said at each connection and when another model judges.

    bundle_id, model, artifact: of the line's own bundle. bundles: the bundle_id that each camera is judged by.
    camera: names of the cameras. computes_on: processor or accelerator. sensitivity: of the line's file. schemas: of what it
    publishes.
    recipe, product: number and name of the line's recipe; 0 where it has none.
    stream, newest_seq: the numbers of its events; a collector that has not seen the newest knows what it lacks.
    commands: those that it obeys.
    """

    station: str
    bundle_id: str
    model: str
    artifact: str
    camera: str
    boot_id: str
    stream: str
    newest_seq: int
    time: str
    config_sha256: str = ""
    computes_on: str = ""
    sensitivity: float = 0.0
    recipe: int = 0
    product: str = ""
    commands: tuple[str, ...] = ()
    schemas: tuple[str, ...] = ()
    bundles: dict[str, str] = {}


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """Topic `state`, retained. `paused`: every part is rejected until it is resumed. `offline` without `time` is the last will.

    reason: for people; empty when it is online. recipe: that parts are judged by; not there where the line has none.
    """

    state: Literal["online", "degraded", "paused", "offline"]
    reason: str = ""
    time: str = ""
    recipe: int = 0


class Metrics(msgspec.Struct, frozen=True):
    """Topic `metrics`, retained, QoS 0, every ten seconds. By `time` and `mono_ns` times of the same boot can be compared.

    waiting: events not delivered. misunderstood: messages to `birth`, `ack` and `replay` that could not be read. unheard:
    those that were too large or too many. obeyed, refused: commands, refused ones by why. unanswered: responses that the
    network did not take in time.
    """

    stream: str
    newest_seq: int
    waiting: int
    misunderstood: int
    unheard: int
    obeyed: int
    refused: dict[str, int]
    unanswered: int
    time: str
    clock: Clock
    mono_ns: int
    boot_id: str


class Acknowledgement(msgspec.Struct, frozen=True):
    """Topic `ack`: the collector has every event of the stream up to seq. taken: the number of the one that came to it last;
    by it the station knows how much of what it sends late is still on its way. id: of the first event that came to it under
    that number; where it is none of this station's, two number their events in one stream. Empty: not said."""

    collector: str
    stream: str
    seq: Seq
    taken: Seq = 0
    id: str = ""


class Replay(msgspec.Struct, frozen=True, rename={"first": "from", "last": "to"}):
    """Topic `replay`: the collector wants these events once more, both ends included."""

    stream: str
    first: Seq
    last: Seq
