"""paho's client, which tells when its thread is dead, whatever it died of, and sends no more than the broker allows."""

from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode

_LOOK_EVERY_S = 0.5  # paho's thread, whether something is due


class Client(paho.Client):
    """has_ended: its thread, which does not die in silence. failure: of what."""

    has_ended = False
    failure: Exception | None = None

    def keep_to(self, connack: Any) -> None:
        """To the number of unanswered messages that the broker allows in its CONNACK: some allow ten, and throw out who sends
        more. paho does not look at it. connack: its properties, None of MQTT 3.1.1.
        """
        allowed = getattr(connack, "ReceiveMaximum", self._max_inflight_messages)
        self._max_inflight_messages = min(self._max_inflight_messages, allowed)  # paho's own setter wants no connection yet

    def loop_forever(self, timeout: float = _LOOK_EVERY_S, retry_first_connection: bool = False) -> MQTTErrorCode:
        """What paho's thread does from its start to its end."""
        try:
            return super().loop_forever(timeout, retry_first_connection)
        except Exception as e:  # noqa: BLE001 - raised by who looks whether the thread has ended
            self.failure = e
            return MQTTErrorCode.MQTT_ERR_UNKNOWN
        finally:
            self.has_ended = True
