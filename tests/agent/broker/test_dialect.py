"""Which MQTT is spoken next, after what a broker has done."""

import pytest
from paho.mqtt.client import MQTTv5, MQTTv311

from agent.broker.dialect import Dialect

OLD, NEW = MQTTv311, MQTTv5


def after(*happened: str) -> Dialect:
    """understood, silent or refused, one after the other."""
    dialect = Dialect()
    acts = {
        "understood": dialect.was_understood,
        "silent": lambda: dialect.was_not_understood(is_refused=False),
        "refused": lambda: dialect.was_not_understood(is_refused=True),
    }
    for one in happened:
        acts[one]()
    return dialect


@pytest.mark.parametrize(
    ("happened", "spoken", "is_to_stay"),
    [
        ((), NEW, True),
        (("refused",), OLD, True),
        (("silent",), OLD, False),
        (("silent", "understood"), NEW, True),
        (("silent", "understood", "silent"), OLD, True),
        (("silent", "silent"), NEW, True),
        (("refused", "understood", "silent"), NEW, True),
        (("silent", "understood", "understood", "silent"), OLD, False),
    ],
    ids=lambda case: ", ".join(case) if isinstance(case, tuple) else "",
)
def test_the_older_mqtt_is_stayed_with_only_where_the_newer_one_was_refused_or_met_silence_twice(
    happened: tuple[str, ...], spoken: int, is_to_stay: bool
) -> None:
    dialect = after(*happened)

    assert (dialect.version, dialect.was_understood()) == (spoken, is_to_stay)
