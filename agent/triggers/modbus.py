"""A sensor at a PLC or coupler, polled over Modbus TCP: an input's level, or a register that counts parts.

A poll sees a level at most `poll_ms` late, and misses an input that is active for a shorter time: prefer a counter. While the
peer does not answer, a level's parts come by unseen (the station is not ready then); a counter's parts are found afterwards.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from agent.fieldbus.modbus import Address, Connection
from agent.fieldbus.polling import PolledPeer, Polling
from agent.triggers import TriggerError

_MOST_KEPT = 1024
_REGISTER = 1 << 16
_TOLD_NS = 5_000_000_000  # what is over at once would be told to nobody


class Config(PolledPeer, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of discrete_input, coil (levels) and counter (an input register, 16 bit, that wraps), by address from 0."""

    discrete_input: Address | None = None
    coil: Address | None = None
    counter: Address | None = None

    def __post_init__(self) -> None:
        if sum(one is not None for one in (self.discrete_input, self.coil, self.counter)) != 1:
            raise ValueError("give one of discrete_input, coil and counter")

    @property
    def bounces(self) -> bool:
        """A counter has counted each part once, however close `_counted` puts those of one poll."""
        return self.counter is None

    @contextmanager
    def open(self) -> Iterator["ModbusTrigger"]:
        trigger = ModbusTrigger(self)
        with trigger.thread:
            yield trigger


class ModbusTrigger:
    """`take` is for the ejector process's thread; the polls happen in `thread`."""

    def __init__(self, config: Config) -> None:
        self.thread: Polling[int] = Polling("modbus trigger", config, self._ask, TriggerError)
        self._config = config
        self._count: int | None = None
        self._polled_ns = 0
        self._active_since_ns: int | None = None
        self._unseen, self._told_until_ns = "", 0

    def take(self, now_ns: int) -> Sequence[int]:
        return [min(edge_ns, now_ns) for edge_ns in self.thread.heard()]

    def wake_ns(self) -> int | None:
        return None

    def filenos(self) -> Sequence[int]:
        return [self.thread.fileno()]

    def active_since_ns(self) -> int | None:
        return self._active_since_ns

    def problem(self) -> str | None:
        return self.thread.problem or (self._unseen if time.monotonic_ns() < self._told_until_ns else None)

    def _ask(self, connection: Connection) -> list[int]:
        edges = self._edges(connection)
        if self.thread.unheard + len(edges) > _MOST_KEPT:
            raise TriggerError(f"{_MOST_KEPT} parts wait, and nobody takes them")
        return edges

    def _edges(self, connection: Connection) -> list[int]:
        if self._config.counter is not None:
            count = connection.read_input_registers(self._config.counter, 1)[0]
            return self._counted(count, time.monotonic_ns())
        if self._config.coil is not None:
            return self._seen(connection.read_coils(self._config.coil, 1)[0], time.monotonic_ns())
        return self._seen(connection.read_discrete_inputs(self._config.discrete_input or 0, 1)[0], time.monotonic_ns())

    def _seen(self, is_active: bool, now_ns: int) -> list[int]:
        was_active, self._active_since_ns = self._active_since_ns, (self._active_since_ns or now_ns) if is_active else None
        return [now_ns] if is_active and was_active is None else []

    def _counted(self, count: int, now_ns: int) -> list[int]:
        """Parts since the last poll, spread evenly over the time between. The first reading is where counting begins."""
        before, since_ns = self._count, now_ns - self._polled_ns
        self._count, self._polled_ns = count, now_ns
        parts = 0 if before is None else (count - before) % _REGISTER
        if parts > _MOST_KEPT:
            self._unseen = f"counter went from {before} to {count}: it was reset, or {parts} parts came by unseen"
            self._told_until_ns = now_ns + _TOLD_NS
            return []
        return [now_ns - since_ns * (parts - k) // (parts + 1) for k in range(parts)]
