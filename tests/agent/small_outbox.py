"""What the tests of the outbox put into it and look for in it."""

import sqlite3
from contextlib import closing
from pathlib import Path

from waiting import wait_until

from agent.events.memory import Entry
from agent.events.outbox import Outbox
from agent.events.rows import Kind, Row

TIME = "2026-11-21T09:30:00.000000Z"

WRITES_UNTIL_KILLED = """
import itertools, sys, threading
from pathlib import Path
from agent.events.rows import Kind
from agent.events.memory import Entry
from agent.events.outbox import Outbox
outbox = Outbox(Path(sys.argv[1]))
for n in itertools.count():
    stored = threading.Event()
    say = lambda key: (print("durable", key, flush=True), stored.set())
    outbox.put(Entry(f"part {n}", Kind.PASS, "result/pass", "now", b"x" * 100, say))
    stored.wait(10)
"""


class Durable:
    """Counts what the outbox said is on disk."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def entry(self, n: int, data: bytes = b"{}") -> Entry:
        return Entry(f"part {n}", Kind.PASS, "result/pass", TIME, data, self.keys.append)

    def put(self, outbox: Outbox, numbers: range) -> None:
        """These, and returns when they are on disk."""
        expected = len(self.keys) + len(numbers)
        accepted = [outbox.put(self.entry(n)) for n in numbers]
        assert all(accepted)
        wait_until(lambda: len(self.keys) == expected)


def sequence(outbox: Outbox) -> list[int]:
    return [row.seq for row in outbox.waiting(0, 10_000)]


def row(outbox: Outbox, seq: int) -> Row:
    """The waiting event with this number."""
    (found,) = outbox.waiting(seq - 1, 1)
    return found


def rows_in(file: Path) -> list[tuple[int, str]]:
    with closing(sqlite3.connect(file)) as db:
        return list(db.execute("SELECT seq, key FROM event ORDER BY seq"))
