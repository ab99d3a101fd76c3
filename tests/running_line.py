"""Starts `kensa run` on a line and watches it from outside: its log, its processes, and its messages at the broker."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from broker import Broker
from paho.mqtt.enums import CallbackAPIVersion

TOPIC = "test/line-1"


def write_line(
    folder: Path,
    broker: Broker,
    bundle: Path,
    photographs: Path,
    count: int,
    period_ms: float,
    delay_ms: float = 2500,
    depth: Path | None = None,
) -> Path:
    """line.yaml for a timer, a folder camera, with the depth of its photographs if it measures it, and a dry-run gate."""
    with_depth = f", depth: {depth}" if depth is not None else ""
    file = folder / "line.yaml"
    file.write_text(f"""station: station-1
bundle: {bundle}
state: {folder}/state
cameras: {{top: {{type: folder, path: {photographs}{with_depth}}}}}
trigger: {{type: timer, period_ms: {period_ms}, count: {count}, delay_ms: {delay_ms}}}
ejector: {{type: dryrun}}
gate: {{travel_ms: 400, lead_ms: 20}}
runtime: {{type: onnxruntime, threads: 1}}
mqtt: {{host: {broker.host}, port: {broker.port}, topic: {TOPIC}, keepalive_s: 5}}
""")
    return file


class Subscriber:
    """A durable MQTT session of its own; every message is kept as it came."""

    def __init__(self, broker: Broker) -> None:
        self.results: list[dict[str, Any]] = []
        self.states: list[dict[str, Any]] = []
        self.alerts: list[dict[str, Any]] = []
        self._arrived = threading.Condition()
        subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="independent", clean_session=False)
        self._client.on_message = self._take
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.reconnect_delay_set(min_delay=1, max_delay=1)
        self._client.connect(broker.host, broker.port)
        self._client.subscribe([(f"{TOPIC}/result/+", 1), (f"{TOPIC}/state", 1), (f"{TOPIC}/alert", 1)])
        self._client.loop_start()
        assert subscribed.wait(10)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def by_id(self) -> dict[str, dict[str, Any]]:
        """Each event once: a copy has the same id."""
        return {event["id"]: event for event in self.results}

    def wait_for(self, n: int, timeout_s: float) -> None:
        """Until n different events have come."""
        with self._arrived:
            arrived = self._arrived.wait_for(lambda: len(self.by_id) >= n, timeout_s)
        assert arrived, f"{len(self.by_id)} of {n} events after {timeout_s} s"

    def _take(self, client: Any, data: Any, message: paho.MQTTMessage) -> None:
        content = json.loads(message.payload)
        with self._arrived:
            kinds = {"state": self.states, "alert": self.alerts}
            kinds.get(message.topic.rpartition("/")[2], self.results).append(content)
            self._arrived.notify_all()


class RunningLine:
    """`kensa run` as a process; `log` is what it and its children wrote so far."""

    def __init__(self, file: Path, log: Path, python: str = sys.executable) -> None:
        self._log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen([python, "-m", "kensa", "run", str(file)], stderr=out, stdout=out)

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]

    def kill(self, role: str, file: Path) -> None:
        """SIGKILL to the newest process of a role."""
        subprocess.run(["pkill", "-KILL", "-f", f"kensa.py {role} {file}"], check=True)

    def wait_for_log(self, where: Callable[[dict[str, Any]], bool], timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        while not any(map(where, self.log)):
            assert time.monotonic() < until, self._log.read_text()
            time.sleep(0.05)

    def stop(self) -> int:
        """Ctrl-C, and its exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=30)

    @property
    def accounts(self) -> list[Counter[str]]:
        """What each ejector process that could say goodbye counted."""
        return [Counter(entry["account"]) for entry in self.log if "account" in entry]


@contextmanager
def running(file: Path, broker: Broker) -> Iterator[tuple[RunningLine, Subscriber]]:
    """The line and an independent subscriber, both ended with the block."""
    subscriber = Subscriber(broker)
    line = RunningLine(file, file.with_name("line.log"))
    try:
        yield line, subscriber
    finally:
        if line.process.poll() is None:
            line.stop()
        subscriber.close()
