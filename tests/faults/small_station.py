"""What the fault tests need of a station: its outbox and its publisher, without camera and gate."""

import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from collected import events_in
from kensa_process import Running, running

from agent.broker.mqtt import Publisher
from agent.collect.ledger import Ledger
from agent.events.memory import Entry
from agent.events.outbox import Outbox
from agent.events.rows import Kind
from agent.sections import Mqtt

TOPIC = "plant/press-3"
TIME = "2026-11-21T09:30:00.000000Z"


def publisher_to(port: int, outbox: Outbox, topic: str = TOPIC, **settings: Any) -> Publisher:
    return Publisher(Mqtt("127.0.0.1", topic, port, **settings), "press-3", outbox, {})


def put(outbox: Outbox, numbers: range, size: int = 2) -> None:
    """Events with these part numbers, `size` bytes each at least."""
    for n in numbers:
        data = json.dumps({"n": n, "padding": "x" * size}).encode()
        assert outbox.put(Entry(f"part {n}", Kind.PASS, "result/pass", TIME, data, lambda key: None))


@contextmanager
def collector(port: int, file: Path, log_file: Path, name: str = "archive") -> Iterator[Running]:
    """`kensa collect` as a process."""
    words = ["collect", "--host", "127.0.0.1", "--port", str(port), "--topic", "plant", "--name", name, "--out", str(file)]
    with running("-m", "kensa", *words, log_file=log_file) as process:
        yield process


def complete(file: Path, count: int) -> bool:
    """Whether a ledger has that many events and no gap."""
    if not file.exists() or events_in(file) != count:
        return False
    with Ledger(file) as ledger:
        return ledger.gaps() == []


def alerts(outbox: Outbox) -> list[dict[str, Any]]:
    """The alerts that are in the outbox, delivered or not. From the thread that made it."""
    return [json.loads(row.data) for row in outbox.kept(0, 100_000, 100_000) if row.topic == "alert"]


class Notes:
    """What the publisher has logged."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        self._caplog = caplog

    def lost(self) -> Sequence[str]:
        """Why a connection was not made, or has ended."""
        return [text for text in self._texts() if "next try" in text]

    def connected(self) -> int:
        return sum(" connected, " in text for text in self._texts())

    def pauses_s(self) -> Sequence[float]:
        return [float(found[1]) for text in self.lost() if (found := re.search(r"next try in ([\d.]+) s", text))]

    def _texts(self) -> Iterable[str]:
        return [record.getMessage() for record in list(self._caplog.records)]
