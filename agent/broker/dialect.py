"""PURE  Which MQTT a broker understands, found out by what it does."""

from paho.mqtt.client import MQTTv5, MQTTv311
from paho.mqtt.enums import MQTTProtocolVersion


class Dialect:
    """MQTT 5, unless the broker has shown that it does not understand it: only there is a reason given for a refused event."""

    def __init__(self) -> None:
        self.version: MQTTProtocolVersion = MQTTv5
        self._is_old = False  # not merely silent once

    def was_not_understood(self, is_refused: bool) -> None:
        """The other one is tried next. is_refused: the broker has said so; else it was silent."""
        self.version = MQTTv311 if self.version == MQTTv5 else MQTTv5
        self._is_old |= is_refused

    def was_understood(self) -> bool:
        """Whether it is the one to stay with. A broker that was silent to MQTT 5 may just have been away: now that it answers to
        3.1.1, it is asked once more."""
        if self.version == MQTTv5:
            self._is_old = False
        elif not self._is_old:
            self._is_old, self.version = True, MQTTv5
            return False
        return True
