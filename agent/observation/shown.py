"""What the inspection process tells the page's process about parts and itself, and the framing on their socket."""

import struct
from collections.abc import Iterator

import msgspec

PAGE_SOCKET = "page.sock"
_LENGTH = struct.Struct(">I")
_LONGEST_BYTES = 16 << 20


class View(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part as one camera saw it. jpeg, heat: of a part that is shown live, else empty; heat is a PNG to be laid over it."""

    camera: str
    outcome: str
    cause: str
    detail: str
    score: float | None
    jpeg: bytes = b""
    heat: bytes = b""


class Judged(msgspec.Struct, frozen=True, tag="judged"):
    """A part has its verdict: that of the view `deciding`."""

    part: str
    time: str
    latency_ms: float | None
    views: tuple[View, ...]
    deciding: int

    @property
    def is_shown(self) -> bool:
        return any(view.jpeg for view in self.views)

    def without_pictures(self) -> "Judged":
        if not self.is_shown:
            return self
        views = tuple(msgspec.structs.replace(view, jpeg=b"", heat=b"") for view in self.views)
        return msgspec.structs.replace(self, views=views)


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """A part has passed the gate: what really happened to it."""

    part: str
    time: str
    outcome: str
    cause: str
    detail: str
    late_ms: float | None


class Station(msgspec.Struct, frozen=True, tag="station"):
    """What does not change while the inspection process lives."""

    birth: dict[str, str | float]


class Health(msgspec.Struct, frozen=True, tag="health"):
    """How the station is, about once a second.

    counts: ends by `outcome` and `outcome/cause`. account: parts that should have ended and have not; must be 0.
    latency_ms, late_ms, scores: how many were at most so large (agent/observation/metrics.py gives the bounds) and their sum.
    drops, queues, gauges: by name. drift: numbers and active alarms of agent/observation/drift.py. broker: why it takes no event,
    empty where it does; broker_away_s: for how long it has not.
    """

    uptime_s: float
    triggers: int
    in_flight: int
    account: int
    counts: dict[str, int]
    latency_ms: tuple[list[int], float]
    late_ms: tuple[list[int], float]
    scores: tuple[list[int], float]
    drops: dict[str, int]
    queues: dict[str, int]
    gauges: dict[str, float]
    drift: dict[str, float]
    alarms: dict[str, str]
    trouble: str
    broker: str = ""
    broker_away_s: float = 0.0


Told = Judged | Ended | Station | Health
_decoder: msgspec.msgpack.Decoder[Told] = msgspec.msgpack.Decoder(Told)


def framed(message: Told) -> bytes:
    """The message with its length before it."""
    content = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(content)) + content


class Frames:
    """Bytes as they come from a stream, to whole messages. Raises ValueError for what is none of ours."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, received: bytes) -> Iterator[Told]:
        self._bytes += received
        while len(self._bytes) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._bytes)
            if length > _LONGEST_BYTES:
                raise ValueError(f"expected a message of at most {_LONGEST_BYTES} bytes, got one of {length}")
            if len(self._bytes) < _LENGTH.size + length:
                return
            message = bytes(self._bytes[_LENGTH.size : _LENGTH.size + length])
            del self._bytes[: _LENGTH.size + length]
            yield _decoder.decode(message)
