"""What the durable outbox costs the line, beside plain paho, which keeps its messages in memory, in the same run."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as paho
from broker import Broker, mosquitto
from soak_account import sample
from soak_station import entry as soak_entry

from agent.broker.mqtt import Publisher
from agent.events.memory import Entry
from agent.events.outbox import Outbox
from agent.sections import Mqtt

PACED, PERIOD_S = 4000, 0.001
BURST = 20_000


@dataclass(frozen=True)
class Cost:
    """Handing over one event at a thousand a second, ms; events a second in a burst; growth of memory after the first tenth."""

    put_ms: list[float]
    paho_ms: list[float]
    durable_per_s: float
    paho_per_s: float
    grown_mb: float


def outbox_beside_paho() -> Cost:
    """Half a minute."""
    with tempfile.TemporaryDirectory(prefix="k") as name:
        folder = Path(name)
        (folder / "broker").mkdir()
        with mosquitto(folder / "broker") as broker, _plain(broker) as plain, Outbox(folder / "outbox.db") as outbox:
            with Publisher(Mqtt(broker.host, "plant/press-3", broker.port), "press-3", outbox, {}):
                paced, grown_mb = _paced(outbox, plain)
            durable_per_s = _rate(lambda n, done: _put(outbox, n, done))
            paho_per_s = _rate(lambda n, done: _publish(plain, n, done))
    return Cost(sorted(put for put, _ in paced), sorted(sent for _, sent in paced), durable_per_s, paho_per_s, grown_mb)


@contextmanager
def _plain(broker: Broker) -> Iterator[paho.Client]:
    """A plain client, connected while the block lasts."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.connect(broker.host, broker.port)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def _paced(outbox: Outbox, plain: paho.Client) -> tuple[list[tuple[float, float]], float]:
    """(ms of a put, ms of a publish), in turn; and by how many MB this process has grown."""
    found, before_mb = [], 0.0
    for n in range(1, PACED + 1):
        event = soak_entry(n)
        one = Entry(event.key, event.kind, event.topic, event.time, event.data, lambda key: None)
        start = time.perf_counter()
        assert outbox.put(one)
        between = time.perf_counter()
        plain.publish("plant/press-4/result/pass", one.data, qos=1)
        end = time.perf_counter()
        found.append((1000 * (between - start), 1000 * (end - between)))
        time.sleep(PERIOD_S)
        if n == PACED // 10:
            before_mb = _rss_mb()
    return found, _rss_mb() - before_mb


def _rate(hand_over: Callable[[int, Callable[[], None]], None]) -> float:
    """Events a second, until the last one is said to be done."""
    left, all_done = [BURST], threading.Event()

    def done() -> None:
        left[0] -= 1
        if left[0] == 0:
            all_done.set()

    start = time.perf_counter()
    for n in range(PACED + 1, PACED + BURST + 1):
        hand_over(n, done)
    assert all_done.wait(120)
    return BURST / (time.perf_counter() - start)


def _put(outbox: Outbox, n: int, done: Callable[[], None]) -> None:
    event = soak_entry(n)
    while not outbox.put(Entry(event.key, event.kind, event.topic, event.time, event.data, lambda key: done())):
        time.sleep(0.001)


def _publish(plain: paho.Client, n: int, done: Callable[[], None]) -> None:
    plain.on_publish = lambda *_: done()
    plain.publish("plant/press-4/result/pass", soak_entry(n).data, qos=1)


def _rss_mb() -> float:
    found = sample(_own_id())
    assert found is not None
    return found.rss_mb


def _own_id() -> int:
    return int(Path("/proc/self").readlink().name)


def print_cost(cost: Cost) -> None:
    """The figures of docs/benchmarks.md."""
    for name, ms in (("put into the outbox", cost.put_ms), ("publish of plain paho", cost.paho_ms)):
        print(f"{name}: p50 {ms[len(ms) // 2]:.3f} ms, p99 {ms[int(0.99 * len(ms))]:.3f} ms, max {ms[-1]:.3f} ms")
    print(f"burst of {BURST}: {cost.durable_per_s:.0f} durable/s, plain paho {cost.paho_per_s:.0f} acknowledged/s")
    print(f"memory: {cost.grown_mb:+.1f} MB over the last {PACED - PACED // 10} paced events")


if __name__ == "__main__":
    print_cost(outbox_beside_paho())
