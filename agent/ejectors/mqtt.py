"""An output of a soft PLC over MQTT: {"on": true, "n": 7} on a topic, answered by the same on another topic when it is done.

A broker that took a message over proves nothing, so a switch counts as done only when the soft PLC has said so. After opening and
where its answer is missing it is told to go off again and again until it has: an order lost on its way leaves no output on.
"""

import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

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

    @contextmanager
    def open(self) -> Iterator["MqttEjector"]:
        ejector = MqttEjector(self)
        with connected(ejector.soft_plc):
            yield ejector
            ejector.switch(on=False, now_ns=time.monotonic_ns())


class MqttEjector:
    """Orders are numbered; the answer to one that is over is ignored."""

    def __init__(self, config: Config) -> None:
        self.soft_plc = SoftPlc(config, listens_to=config.answers, take=self._note)
        self._config = config
        self._n = 0
        self._asked: deque[tuple[int, bool, int]] = deque()  # number, on, until_ns
        self._said: deque[tuple[int, bool, int]] = deque(maxlen=_MOST_SAID)  # number, on, instant
        self._problem: str | None = None
        self._is_off_owed = True  # nobody knows that it is off
        self._owed_from = 1  # number of the first order that may settle that
        self._again_ns = 0

    def switch(self, on: bool, now_ns: int) -> None:
        self._is_off_owed = False  # what comes of this order tells
        within_ns = round(self._config.within_ms * 1e6) if self._say(on) else 0
        self._asked.append((self._n, on, time.monotonic_ns() + within_ns))

    def answers(self) -> Sequence[Switched]:
        try:
            self.soft_plc.thread.heard()
        except RuntimeError as e:
            raise EjectorError(str(e)) from e
        answers, said = [], list(self._said.copy())
        while self._asked:
            n, on, until_ns = self._asked[0]
            at_ns = next((at_ns for said, state, at_ns in said if (said, state) == (n, on)), None)
            if at_ns is None and time.monotonic_ns() < until_ns:
                break
            self._problem = None if at_ns is not None else _NOT_ANSWERED
            answers.append(Switched(on, at_ns or until_ns, self._problem or ""))
            self._asked.popleft()
            if at_ns is None and not self._asked:
                self._is_off_owed, self._owed_from, self._again_ns = True, self._n + 1, 0
        if self._is_off_owed:
            self._go_off(time.monotonic_ns())
        return answers

    def _say(self, on: bool) -> bool:
        self._n += 1
        return self.soft_plc.say(self._config.topic, {"on": on, "n": self._n})

    def _go_off(self, now_ns: int) -> None:
        """Until it has said that it is."""
        if any(n >= self._owed_from and not on for n, on, _ in self._said.copy()):
            self._is_off_owed, self._problem = False, None
        elif now_ns >= self._again_ns and self.soft_plc.is_listening:
            self._say(on=False)
            self._again_ns = now_ns + _AGAIN_NS

    def problem(self) -> str | None:
        return self._problem if self.soft_plc.is_listening else "not connected to the soft PLC's broker"

    def filenos(self) -> Sequence[int]:
        return [self.soft_plc.thread.fileno()]

    def _note(self, message: MQTTMessage) -> None:
        try:
            n, on = (json.loads(message.payload)[key] for key in ("n", "on"))
        except (ValueError, KeyError, TypeError):
            return
        self._said.append((n, on, time.monotonic_ns()))
        self.soft_plc.thread.ring()
