"""Why there is no connection to the broker."""

from collections.abc import Sequence

from agent.events.rows import Row


class BrokerLostError(Exception):
    """The connection to the broker could not be made or has ended."""


class OtherProtocolError(BrokerLostError):
    """The broker refuses this version of MQTT; or it is silent to it as some old brokers are, but may just be away."""

    def __init__(self, reason: str, is_refused: bool) -> None:
        super().__init__(reason)
        self.is_refused = is_refused


class PoisonError(BrokerLostError):
    """The connection broke over a message, not over the network. rows: the events that had no answer, oldest first."""

    def __init__(self, reason: str, rows: Sequence[Row]) -> None:
        super().__init__(reason)
        self.rows = rows


class TakenOverError(BrokerLostError):
    """Another client has connected under this station's name."""
