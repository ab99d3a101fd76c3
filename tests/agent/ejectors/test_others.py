"""The MQTT ejector with a real broker and a soft PLC that answers or not; the GPIO ejector as far as it goes without lines."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import paho.mqtt.client as paho
import pytest
from broker import Broker
from paho.mqtt.enums import CallbackAPIVersion
from proxy import proxy
from waiting import wait_until

from agent.ejectors import EjectorError, Switched, gpio
from agent.ejectors.mqtt import Config, MqttEjector


class SoftPlc:
    """Carries out orders on plc/valve and says so on plc/valve/done, unless told to be silent."""

    def __init__(self, broker: Broker) -> None:
        self.orders: list[bool] = []
        self.is_silent = False
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._obey
        self._client.connect(broker.host, broker.port)
        self._client.subscribe("plc/valve", qos=1)
        self._client.loop_start()

    def close(self) -> None:
        self._client.loop_stop()

    def say(self, words: str, retain: bool = False) -> None:
        """As an answer."""
        self._client.publish("plc/valve/done", words, qos=1, retain=retain).wait_for_publish(10)

    def _obey(self, client, data, message) -> None:
        self.orders.append(json.loads(message.payload)["on"])
        if not self.is_silent:
            client.publish("plc/valve/done", message.payload, qos=1)


@pytest.fixture
def soft_plc(broker: Broker) -> Iterator[SoftPlc]:
    started = SoftPlc(broker)
    yield started
    started.close()


@contextmanager
def ejector_at(broker: Broker, within_ms: float = 1000) -> Iterator[MqttEjector]:
    config = Config(host=broker.host, port=broker.port, topic="plc/valve", answers="plc/valve/done", within_ms=within_ms)
    with config.open() as ejector:
        wait_until(lambda: ejector.problem() is None)
        yield ejector


def answers_to(ejector: MqttEjector, *switches: bool) -> list[Switched]:
    """Switches one after the other at once, and waits for what became of all."""
    found: list[Switched] = []
    for on in switches:
        ejector.switch(on, time.monotonic_ns())
    wait_until(lambda: found.extend(ejector.answers()) or len(found) == len(switches))
    return found


def test_a_switch_is_done_when_the_soft_plc_has_said_so(broker: Broker, soft_plc: SoftPlc) -> None:
    with ejector_at(broker) as ejector:
        answers = answers_to(ejector, True, True, False)

        assert [(answer.on, answer.error) for answer in answers] == [(True, ""), (True, ""), (False, "")]
        assert soft_plc.orders == [True, True, False]


def test_a_broker_that_took_it_over_is_no_answer(broker: Broker, soft_plc: SoftPlc) -> None:
    soft_plc.is_silent = True
    with ejector_at(broker, within_ms=100) as ejector:
        (answer,) = answers_to(ejector, True)

        assert "did not answer in time" in answer.error
        assert "did not answer in time" in (ejector.problem() or "")


def test_without_a_broker_a_switch_fails_at_once_and_is_not_sent_later(broker: Broker, soft_plc: SoftPlc) -> None:
    with ejector_at(broker) as ejector:
        broker.stop()
        wait_until(lambda: "not connected" in (ejector.problem() or ""))
        (answer,) = answers_to(ejector, True)
        broker.start()
        wait_until(lambda: "not connected" not in (ejector.problem() or ""))

        assert answer.error
        assert soft_plc.orders == []


def test_an_order_that_was_lost_with_its_connection_is_not_carried_out_later_and_the_output_is_told_to_go_off(
    broker: Broker, soft_plc: SoftPlc
) -> None:
    with proxy(broker.port) as network:
        config = Config(host=broker.host, port=network.port, topic="plc/valve", answers="plc/valve/done", within_ms=100)
        with config.open() as ejector:
            wait_until(lambda: ejector.problem() is None)
            network.freeze()
            (lost,) = answers_to(ejector, True)
            network.cut()
            wait_until(lambda: "not connected" in (ejector.problem() or ""))
            answers_to(ejector, False)
            network.thaw()

            wait_until(lambda: not ejector.answers() and ejector.problem() is None)
            orders = list(soft_plc.orders)

    assert lost.error
    assert set(orders) == {False}


def test_the_output_of_a_process_that_was_killed_is_off_once_the_next_one_is_there(broker: Broker, soft_plc: SoftPlc) -> None:
    with ejector_at(broker) as ejector:
        wait_until(lambda: not ejector.answers() and soft_plc.orders)

        assert soft_plc.orders == [False]


@pytest.mark.parametrize(
    "said", ['{"n": "one", "on": false}', '{"n": null, "on": false}', "[" * 100_000], ids=["word", "null", "depth"]
)
def test_an_answer_that_cannot_be_understood_is_none_and_ends_nothing(broker: Broker, soft_plc: SoftPlc, said: str) -> None:
    soft_plc.is_silent = True
    with ejector_at(broker) as ejector:
        soft_plc.say(said)
        wait_until(lambda: not ejector.answers() and len(soft_plc.orders) == 2)  # asked again: it is not known to be off
        soft_plc.is_silent = False

        (answer,) = answers_to(ejector, True)

    assert answer.error == ""


def test_a_retained_answer_is_none_as_nobody_knows_when_it_was_given(broker: Broker, soft_plc: SoftPlc) -> None:
    soft_plc.is_silent = True
    soft_plc.say('{"on": false, "n": 1}', retain=True)
    with ejector_at(broker) as ejector:
        wait_until(lambda: not ejector.answers() and len(soft_plc.orders) == 2)  # asked again: it is not known to be off


def test_its_output_is_switched_off_when_it_closes(broker: Broker, soft_plc: SoftPlc) -> None:
    with ejector_at(broker) as ejector:
        answers_to(ejector, True)

    wait_until(lambda: soft_plc.orders == [True, False])


def test_a_chip_that_is_not_there_is_an_error_that_names_it() -> None:
    pytest.importorskip("gpiod")

    with pytest.raises(EjectorError, match="/dev/gpiochip-none line 4"), gpio.Config(4, "/dev/gpiochip-none").open():
        pass
