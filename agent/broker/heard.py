"""A message to the station, with what MQTT 5 says of it: how long it counts, and where an answer is wanted."""

from dataclasses import dataclass

import paho.mqtt.client as paho

ANSWERS = "response"  # topic of answers to commands, and of those below


@dataclass(frozen=True, slots=True)
class Heard:
    """A message to the station. topic: below its prefix. heard_s: when, by the monotonic clock.

    expiry_s: how much longer it was meant to be obeyed then, None if not said. answer_to: below the prefix too.
    answers_elsewhere: it asked for an answer where this station does not answer; that would lend its rights to who asks.
    """

    topic: str
    payload: bytes
    retained: bool
    heard_s: float = 0.0
    expiry_s: int | None = None
    answer_to: str = ANSWERS
    answers_elsewhere: bool = False
    correlation: bytes = b""


def heard(message: paho.MQTTMessage, prefix: str, heard_s: float) -> Heard:
    """prefix: of the station's topics. MQTT 3.1.1 says nothing beside the message."""
    said = message.properties
    asked = getattr(said, "ResponseTopic", "").removeprefix(f"{prefix}/")
    is_here = (asked == ANSWERS or asked.startswith(f"{ANSWERS}/")) and not set("+#\0") & set(asked)
    return Heard(
        topic=message.topic.removeprefix(f"{prefix}/"),
        payload=bytes(message.payload),
        retained=message.retain,
        heard_s=heard_s,
        expiry_s=getattr(said, "MessageExpiryInterval", None),
        answer_to=asked if is_here else ANSWERS,
        answers_elsewhere=bool(asked) and not is_here,
        correlation=getattr(said, "CorrelationData", b""),
    )
