"""What the ejector and the inspection process say to each other, and the socket they say it over."""

import errno
import hashlib
import select
import socket
from pathlib import Path

import msgspec

from agent.config import Line
from agent.gate.plan import GatePlan
from agent.inspection import Closed, Part, Verdict

_LARGEST_BYTES = 150_000  # a full report whose details (500 characters), models (200) and problems (100) need six bytes for each
PARTS_PER_REPORT = 24


class LinkLostError(Exception):
    """The other process closed the socket, died, or speaks another language."""


class Triggered(msgspec.Struct, frozen=True, tag="triggered"):
    """Ejector to inspection: a part was opened; it reaches the gate at planned_ns."""

    part: Part
    triggered_ns: int
    planned_ns: int


class Report(msgspec.Struct, frozen=True, tag="report"):
    """Ejector to inspection: closed parts that have not been confirmed yet; may come again."""

    closed: tuple[Closed, ...]


class Alarm(msgspec.Struct, frozen=True, tag="alarm"):
    """Ejector to inspection: people should know of this. key: names it for ever, a second copy is the same alarm."""

    key: str
    name: str
    detail: str


class ChangeTo(msgspec.Struct, frozen=True, tag="change-to"):
    """Ejector to inspection: no part is to be judged now; judge by this recipe from now on, and answer. asked_by: for people.

    until_ns: when the gate gives it up, on CLOCK_MONOTONIC; 0 where it does not.
    """

    recipe: int
    asked_by: str
    until_ns: int = 0


class Wished(msgspec.Struct, frozen=True, tag="wished"):
    """Ejector to inspection: what became of a Wish. refusal: why the recipe is not the one wished; empty when it is."""

    id: str
    refusal: str = ""


class Attach(msgspec.Struct, frozen=True, tag="attach"):
    """Inspection to ejector: there from now on. recipe: by which it judges, 0 where the line has none. unable: as in Unable.
    recipes: digest of what its file says of them, as `digest_of` has it."""

    pid: int
    recipe: int = 0
    unable: str = ""
    recipes: str = ""


class Unable(msgspec.Struct, frozen=True, tag="unable"):
    """Inspection to ejector: why no part that comes now can be inspected; empty where parts can be again. They are told all
    the same: each has its own verdict, and what lacks may be back in time."""

    why: str


class Held(msgspec.Struct, frozen=True, tag="held"):
    """Ejector to inspection: why the line stands until a person has looked, and what else is wrong at the gate; empty where
    nothing is."""

    why: str
    trouble: str = ""


class Leaving(msgspec.Struct, frozen=True, tag="leaving"):
    """Of either: its last word where it was told to end."""


class Tell(msgspec.Struct, frozen=True, tag="tell"):
    """Inspection to ejector: the verdict on one part. recipe: by which it was judged."""

    part: Part
    verdict: Verdict
    recipe: int = 0


class Changed(msgspec.Struct, frozen=True, tag="changed"):
    """Inspection to ejector: the answer to ChangeTo. recipe: by which is judged now; why it is not the one wanted."""

    wanted: int
    recipe: int
    why: str = ""


class Wish(msgspec.Struct, frozen=True, tag="wish"):
    """Inspection to ejector: somebody asks for another recipe by a command. id: of the command."""

    id: str
    recipe: int


class Confirm(msgspec.Struct, frozen=True, tag="confirm"):
    """Inspection to ejector: these parts are in the outbox, durably; and these alarms, by their keys."""

    parts: tuple[Part, ...]
    alarms: tuple[str, ...] = ()


Message = Triggered | Report | Alarm | ChangeTo | Wished | Held | Leaving | Attach | Unable | Tell | Changed | Wish | Confirm
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def known_to_both(line: Line) -> dict[int, tuple[str, GatePlan]]:
    """What both processes have to know alike of the recipes: the product of each number, and its way to the gate."""
    return {number: (one.product, one.gate) for number, one in line.recipes.items()}


def digest_of(line: Line) -> str:
    """The same for two files that say the same of it; empty where the line has no recipes."""
    known = sorted(known_to_both(line).items())
    return hashlib.sha256(msgspec.json.encode(known)).hexdigest() if known else ""


class Channel:
    """One connected end. Sending and receiving may be done from different threads.

    wait_s: how long `receive` waits where it may.
    """

    def __init__(self, connected: socket.socket, wait_s: float = 0.0) -> None:
        connected.setblocking(False)  # a socket with a timeout would wait in send, too
        self._socket = connected
        self._wait_s = wait_s

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, message: Message) -> bool:
        """False when the other side does not read and its buffer is full. Raises LinkLostError."""
        try:
            self._socket.send(msgspec.json.encode(message))
        except BlockingIOError:
            return False
        except OSError as e:
            if e.errno == errno.ENOBUFS:
                return False
            raise LinkLostError(f"cannot send: {e.strerror or e}") from e
        return True

    def receive(self, wait: bool) -> Message | None:
        """The next message; None when there is none (or none in time). Raises LinkLostError."""
        try:
            if wait:
                select.select([self._socket], [], [], self._wait_s)
            encoded = self._socket.recv(_LARGEST_BYTES)
        except BlockingIOError:
            return None
        except OSError as e:
            raise LinkLostError(f"cannot receive: {e.strerror or e}") from e
        if not encoded:
            raise LinkLostError("the other process closed the link")
        try:
            return _decoder.decode(encoded)
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            raise LinkLostError(f"not a message of this version: {e}") from e


def connect(path: Path, timeout_s: float) -> Channel:
    """The inspection side. Raises LinkLostError when no ejector process listens there."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.settimeout(timeout_s)
    try:
        client.connect(str(path))
    except OSError as e:
        client.close()
        raise LinkLostError(f"no ejector process at {path}: {e.strerror or e}") from e
    return Channel(client, timeout_s)


class Listener:
    """The ejector side: accepts inspection processes, never blocks."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        self._socket.bind(str(path))
        path.chmod(0o660)
        self._socket.listen(2)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def accept(self) -> Channel | None:
        """None where nobody calls. Raises LinkLostError where somebody calls, and goes on calling, who cannot be let in."""
        try:
            connected, _ = self._socket.accept()
        except BlockingIOError:
            return None
        except OSError as e:
            raise LinkLostError(f"an inspection process cannot be let in: {e.strerror or e}") from e
        return Channel(connected)
