"""An output of a soft PLC over MQTT: {"on": true, "n": 7} on a topic, answered by the same on another topic when it is done.

A broker that took a message over proves nothing, so a switch counts as done only when the soft PLC has said so. After opening and
where its answer is missing it is told to go off again and again until it has: an order lost on its way leaves no output on.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import msgspec
from paho.mqtt.client import MQTTMessage

from agent.ejectors import EjectorError, Switched
from agent.fieldbus.soft_plc import Broker, SoftPlc, connected
from agent.sections import Topic

_MOST_SAID = 64
_NOT_ANSWERED = "the soft PLC did not answer in time"
_AGAIN_NS = 500_000_000


class Config(Broker, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """topic: of the orders. answers: topic on which the soft PLC repeats each order that it has carried out."""

    answers: Topic
    within_ms: Annotated[float, msgspec.Meta(ge=1, le=1000)] = 300.0

    def __post_init__(self) -> None:
        if self.answers == self.topic:
            raise ValueError(f"answers must not be topic {self.topic}: the broker would answer each order by itself")

    @contextmanager
    def open(self) -> Iterator["MqttEjector"]:
        ejector = MqttEjector(self)
        with connected(ejector.soft_plc):
            yield ejector
            ejector.switch(on=False, now_ns=time.monotonic_ns())


class _Order(msgspec.Struct, frozen=True):
    """On both topics. n: counts up."""

    on: bool
    n: int


class _Asked(NamedTuple):
    order: _Order
    until_ns: int


class _Done(NamedTuple):
    order: _Order
    at_ns: int


@dataclass(slots=True)
class _OffOwed:
    """Nobody knows that the output is off. first: number of the first order that may settle that. again_ns: when to say it."""

    first: int
    again_ns: int = 0


class MqttEjector:
    """Orders are numbered; the answer to one that is over is ignored."""

    def __init__(self, config: Config) -> None:
        self.soft_plc: SoftPlc[_Done] = SoftPlc(config, config.answers, _done, EjectorError)
        self._config = config
        self._n = 0
        self._asked: deque[_Asked] = deque()
        self._said: deque[_Done] = deque(maxlen=_MOST_SAID)
        self._problem: str | None = None
        self._owed: _OffOwed | None = _OffOwed(first=1)

    def switch(self, on: bool, now_ns: int) -> None:
        self._owed = None  # what comes of this order tells
        order, is_said = self._say(on)
        within_ns = round(self._config.within_ms * 1e6) if is_said else 0
        self._asked.append(_Asked(order, time.monotonic_ns() + within_ns))

    def answers(self) -> Sequence[Switched]:
        self._said.extend(self.soft_plc.thread.heard())
        answers = []
        while self._asked:
            order, until_ns = self._asked[0]
            at_ns = next((done.at_ns for done in self._said if done.order == order), None)
            if at_ns is None and time.monotonic_ns() < until_ns:
                break
            self._problem = None if at_ns is not None else _NOT_ANSWERED
            answers.append(Switched(order.on, at_ns or until_ns, self._problem or ""))
            self._asked.popleft()
            if at_ns is None and not self._asked:
                self._owed = _OffOwed(first=self._n + 1)
        if self._owed is not None:
            self._go_off(self._owed, time.monotonic_ns())
        return answers

    def _say(self, on: bool) -> tuple[_Order, bool]:
        self._n += 1
        order = _Order(on, self._n)
        return order, self.soft_plc.say(self._config.topic, msgspec.json.encode(order))

    def _go_off(self, owed: _OffOwed, now_ns: int) -> None:
        """Until it has said that it is."""
        if any(done.order.n >= owed.first and not done.order.on for done in self._said):
            self._owed = self._problem = None
        elif now_ns >= owed.again_ns and self.soft_plc.is_listening:
            self._say(on=False)
            owed.again_ns = now_ns + _AGAIN_NS

    def problem(self) -> str | None:
        return self._problem if self.soft_plc.is_listening else "not connected to the soft PLC's broker"

    def filenos(self) -> Sequence[int]:
        return [self.soft_plc.thread.fileno()]


def _done(message: MQTTMessage) -> _Done | None:
    """None for what is no order repeated, and for a retained one, which says nothing of now."""
    if message.retain:
        return None
    try:
        return _Done(msgspec.json.decode(message.payload, type=_Order, strict=False), time.monotonic_ns())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
