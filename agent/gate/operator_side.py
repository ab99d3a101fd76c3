"""What a person, the page or a command may ask of a running gate: how it stands, reset, maintenance; over a Unix socket."""

import contextlib
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from agent.error import OutageError
from agent.gate.handshake import Signals, Wishes

log = logging.getLogger(__name__)

OPERATOR_SOCKET = "operator.sock"
_LARGEST_BYTES = 65_536

Action = Literal["status", "reset", "maintenance", "resume", "recipe"]


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """reset: a person has looked, the line may go on. maintenance: outputs go off and stay inert, until resume.

    recipe: change over to this one; for no other action. by: who orders it, for the log.
    """

    action: Action
    recipe: int = 0
    by: Annotated[str, msgspec.Meta(max_length=60)] = ""


class RecipeState(msgspec.Struct, frozen=True):
    """Which recipe runs. number 0: the line has none. wanted: by the change-over under way, 0 where there is none.

    unsettled: why no part may be judged now. known: number to name. asked: the name of the wish that this answers, empty in every
    other answer; ended: what became of the last wishes, by name, empty where the recipe wished runs.
    """

    number: int
    name: str
    wanted: int
    unsettled: str
    known: dict[int, str]
    asked: str = ""
    ended: dict[str, str] = {}


class PlcState(msgspec.Struct, frozen=True):
    """What the station shows the PLC, and what the PLC shows the station."""

    signals: Signals
    wishes: Wishes


class GateState(msgspec.Struct, frozen=True):
    """How the gate stands. place: of the belt, in forward counts. held: why the line has to stand.

    problems: devices that cannot be relied upon. recipe: None in the answer of an older ejector process.
    outputs, inputs: whether each that the line has is on. plc: None for a line without one. unable: why no part that comes now
    can be inspected, though inspection is attached.
    """

    ready: bool
    attached: bool
    maintenance: bool
    in_flight: int
    place: int | None
    held: dict[str, str]
    problems: dict[str, str]
    account: dict[str, int]
    incidents: dict[str, int]
    pulses: dict[str, float]
    recipe: RecipeState | None = None
    outputs: dict[str, bool] = {}
    inputs: dict[str, bool] = {}
    plc: PlcState | None = None
    unable: str = ""


class GateSilentError(OutageError):
    """No ejector process answered."""


class OperatorSide:
    """Takes orders and answers each with the state after it; never blocks. Who may write to the socket may order.

    The answer goes to the socket that comes with the order: a name to answer to would have to be one in the ejector process's own
    network, in which systemd has it alone.
    """

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(path))
        path.chmod(0o660)

    def filenos(self) -> list[int]:
        return [self._socket.fileno()]

    def serve(self, obey: Callable[[Order], GateState]) -> None:
        """One order, if there is one."""
        try:
            said, filenos, _, _ = socket.recv_fds(self._socket, _LARGEST_BYTES, 1)
        except OSError:
            return  # nothing there
        with contextlib.ExitStack() as opened:
            senders = [opened.enter_context(end) for fileno in filenos if (end := _socket_of(fileno)) is not None]
            try:
                order = msgspec.json.decode(said, type=Order)
            except (msgspec.DecodeError, UnicodeDecodeError):
                return  # nothing understood
            if order.action != "status":
                log.warning("ordered by %s: %s", order.by or "a process of this device", order.action)
            answer = msgspec.json.encode(obey(order))
            for sender in senders:
                with contextlib.suppress(OSError):  # nobody waits for it any more
                    sender.send(answer, socket.MSG_DONTWAIT)

    def close(self) -> None:
        self._socket.close()


def _socket_of(fileno: int) -> socket.socket | None:
    """None, and closed, where it is no socket."""
    try:
        return socket.socket(fileno=fileno)
    except OSError:
        os.close(fileno)
        return None


def ask_gate(state: Path, action: Action, timeout_s: float = 2.0, recipe: int = 0, by: str = "") -> GateState:
    """Gives an order to the ejector process of a state folder. Raises GateSilentError."""
    own, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with own, theirs, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as letter:
        own.settimeout(timeout_s)
        letter.settimeout(timeout_s)
        try:
            letter.connect(str(state / OPERATOR_SOCKET))
            socket.send_fds(letter, [msgspec.json.encode(Order(action, recipe, by))], [theirs.fileno()])
            theirs.close()  # so that a process that ends without an answer is noticed at once
            return msgspec.json.decode(own.recv(_LARGEST_BYTES), type=GateState)
        except (OSError, msgspec.DecodeError) as e:
            raise GateSilentError(f"no answer from the ejector process of {state}: {e}") from e
