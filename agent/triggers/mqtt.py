"""Parts announced over MQTT: each message on a topic is one part, at the instant it arrives, however close to the one before. For
soft PLCs on the same machine.

The network decides how late that is, so the way to the gate must forgive it. Retained messages are old news and not parts.
While the broker is away parts come by unseen; the station is not ready then.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

from paho.mqtt.client import MQTTMessage

from agent.fieldbus.soft_plc import Broker, SoftPlc, connected
from agent.triggers import TriggerError

_MOST_KEPT = 1024


class Config(Broker, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """topic: on which each message is a part; its content does not matter."""

    bounces: ClassVar[bool] = False

    @contextmanager
    def open(self) -> Iterator["MqttTrigger"]:
        trigger = MqttTrigger(self)
        with connected(trigger.soft_plc):
            yield trigger


class MqttTrigger:
    """`take` is for the ejector process's thread; messages come in the connection's."""

    def __init__(self, config: Config) -> None:
        self.soft_plc: SoftPlc[int] = SoftPlc(config, config.topic, self._edge, TriggerError)

    def take(self, now_ns: int) -> Sequence[int]:
        return [min(edge_ns, now_ns) for edge_ns in self.soft_plc.thread.heard()]

    def wake_ns(self) -> int | None:
        return None

    def filenos(self) -> Sequence[int]:
        return [self.soft_plc.thread.fileno()]

    def active_since_ns(self) -> int | None:
        return None

    def problem(self) -> str | None:
        return None if self.soft_plc.is_listening else "not connected to the broker of the trigger"

    def _edge(self, message: MQTTMessage) -> int | None:
        if message.retain:
            return None
        if self.soft_plc.thread.unheard >= _MOST_KEPT:
            raise TriggerError(f"{_MOST_KEPT} parts wait, and nobody takes them")
        return time.monotonic_ns()
