"""PURE  What may be said to a running station over MQTT (`cmd/{name}`), when it counts, and why it is refused."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Annotated, Literal

import msgspec

LARGEST_BYTES = 4096
FAR_AHEAD = timedelta(minutes=10)  # so long the id of a command is remembered at most
MOST_REMEMBERED = 256  # commands in that time


class Why(Enum):
    """Why a command is refused; the words in which refusals are counted."""

    UNKNOWN = "unknown"
    NOT_ENABLED = "not-enabled"
    RETAINED = "retained"
    MALFORMED = "malformed"
    LATE = "late"
    FAR_AHEAD = "far-ahead"
    REPEATED = "repeated"
    TOO_MANY = "too-many"
    ELSEWHERE = "response-elsewhere"
    NOT_POSSIBLE = "not-possible"


class RefusedError(Exception):
    """A command that is not obeyed; the message is for who gave it. id: of the command, as far as it could be read."""

    def __init__(self, why: Why, reason: str, id: str = "") -> None:
        super().__init__(reason)
        self.why = why
        self.id = id


Id = Annotated[str, msgspec.Meta(pattern=r"^[!-~]+$", max_length=64)]
Words = Annotated[str, msgspec.Meta(max_length=200)]
Number = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """id: chosen by who gives the command, and never used again (a UUID). expires: it is not obeyed later; with a time zone,
    at most ten minutes ahead."""

    id: Id
    expires: Annotated[datetime, msgspec.Meta(tz=True)]


class Pause(Command, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every part is rejected uninspected (cause `fault`) until `resume`, over restarts too. reason: for people."""

    reason: Words = ""


class Resume(Command, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ends `pause`, and what a failed self-test has paused."""


class Reload(Command, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The inspection process checks its file and bundle, leaves and is started anew; parts in between are rejected."""


class Replay(Command, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"first": "from", "last": "to"}):
    """Events from and to these numbers of the stream are published once more, both ends included."""

    stream: Annotated[str, msgspec.Meta(max_length=64)]
    first: Number
    last: Number


class PartImage(Command, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The photograph of a part that was kept (section `record`). event: the id of its event."""

    event: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class Capture(Command, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The photograph of the next part, which is inspected as ever."""


class SelfTest(Command, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model scores the bundle's golden images, once the belt was empty for a second; when they score otherwise than at
    export the station pauses."""


class Recipe(Command, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The line changes over to this recipe of its file; answered once it runs, or with the reason why the one before stays."""

    recipe: Annotated[int, msgspec.Meta(ge=1, le=65_535)]


TABLE: dict[str, type[Command]] = {
    "pause": Pause,
    "resume": Resume,
    "reload": Reload,
    "replay": Replay,
    "image": PartImage,
    "capture": Capture,
    "self-test": SelfTest,
    "recipe": Recipe,
}
CommandName = Literal["pause", "resume", "reload", "replay", "image", "capture", "self-test", "recipe"]
# They move nothing, and are obeyed if the file does not say otherwise.
HARMLESS: tuple[CommandName, ...] = ("replay", "image", "capture", "self-test")


Result = Literal["ok", "refused", "failed"]


class Response(msgspec.Struct, frozen=True, omit_defaults=True):
    """Answer to a command, on the response topic that it named below the station's `response/`, else on `response`.

    id, command: of the command; empty id: it could not be read. refused: nothing was done. failed: it was tried.
    part: whose photograph it is. jpeg: in base64.
    """

    id: str
    command: str
    result: Result
    time: str
    reason: str = ""
    why: Why | None = None
    part: str = ""
    jpeg: bytes = b""


@dataclass(slots=True)
class Remembered:
    """Ids of commands that were obeyed, each until it expires."""

    until: dict[str, datetime] = field(default_factory=dict)

    def take(self, command: Command, now: datetime) -> None:
        """Raises RefusedError where it was obeyed already, or where too many are remembered."""
        for id in [id for id, expires in self.until.items() if expires <= now]:
            del self.until[id]
        if command.id in self.until:
            raise RefusedError(Why.REPEATED, f"a command with the id {command.id} was obeyed already", command.id)
        if len(self.until) >= MOST_REMEMBERED:
            raise RefusedError(Why.TOO_MANY, f"{MOST_REMEMBERED} commands were obeyed within minutes, wait", command.id)
        self.until[command.id] = command.expires

    def forget(self, command: Command) -> None:
        """It was refused after all: nothing was done, and it may be given again."""
        del self.until[command.id]


def understand(name: str, payload: bytes, enabled: Collection[str], now: datetime) -> Command:
    """The command in a message of the topic `cmd/{name}`. Raises RefusedError, and nothing else, whatever the message."""
    if (kind := TABLE.get(name)) is None:
        raise RefusedError(Why.UNKNOWN, f"there is no command {name[:40]!r}, expected one of {', '.join(TABLE)}")
    if name not in enabled:
        raise RefusedError(Why.NOT_ENABLED, f"{name} is not among `mqtt: {{commands: [...]}}` of this station's file")
    if len(payload) > LARGEST_BYTES:
        raise RefusedError(Why.MALFORMED, f"{len(payload)} bytes, a command has at most {LARGEST_BYTES}")
    try:
        command = msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise RefusedError(Why.MALFORMED, f"not understood: {str(e)[:200]}") from e
    if command.expires <= now:
        raise RefusedError(Why.LATE, f"expired at {command.expires.isoformat()}, it is {now.isoformat()} here", command.id)
    if command.expires > now + FAR_AHEAD:
        too_far = f"expires at {command.expires.isoformat()}, at most ten minutes ahead of {now.isoformat()} are accepted"
        raise RefusedError(Why.FAR_AHEAD, f"{too_far}: is one of the clocks wrong?", command.id)
    return command
