"""What a person, the page or a command may ask of a running gate: how it stands, reset, maintenance; over a Unix socket."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

OPERATOR_SOCKET = "operator.sock"
_LARGEST_BYTES = 65_536

Action = Literal["status", "reset", "maintenance", "resume"]


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """reset: a person has looked, the line may go on. maintenance: outputs go off and stay inert, until resume."""

    action: Action


class GateState(msgspec.Struct, frozen=True):
    """How the gate stands. place: of the belt, in forward counts. held: why the line has to stand.

    problems: devices that cannot be relied upon.
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


class GateSilentError(Exception):
    """No ejector process answered."""


class OperatorSide:
    """Takes orders and answers each with the state after it; never blocks. Who may write to the socket may order."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(path))
        path.chmod(0o660)

    def filenos(self) -> list[int]:
        return [self._socket.fileno()]

    def serve(self, obey: Callable[[Action], GateState]) -> None:
        """One order, if there is one."""
        try:
            said, sender = self._socket.recvfrom(_LARGEST_BYTES)
            order = msgspec.json.decode(said, type=Order)
            answer = obey(order.action)
            if sender:
                self._socket.sendto(msgspec.json.encode(answer), sender)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return  # nothing there, nothing understood, or nobody waits for the answer any more

    def close(self) -> None:
        self._socket.close()


def ask_gate(state: Path, action: Action, timeout_s: float = 2.0) -> GateState:
    """Gives an order to the ejector process of a state folder. Raises GateSilentError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
        own.settimeout(timeout_s)
        own.bind("")  # Linux gives it a name
        try:
            own.connect(str(state / OPERATOR_SOCKET))
            own.send(msgspec.json.encode(Order(action)))
            return msgspec.json.decode(own.recv(_LARGEST_BYTES), type=GateState)
        except (OSError, msgspec.DecodeError) as e:
            raise GateSilentError(f"no answer from the ejector process of {state}: {e}") from e
