"""The station of the soak, as a process: the outbox and the publisher of a real one, fed with numbers instead of parts.

Reads orders `first last` and offers these parts as fast as the outbox takes them; writes the number of each part that the
outbox called durable. That account is the driver's, so it outlives this process's kills. Ends in order at the end of its input.
"""

import logging
import os
import select
import sys
import time
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))  # ours first: tests/agent is no package

from agent.broker.mqtt import Publisher
from agent.clock import machine_boot, utc_now
from agent.events.memory import Entry
from agent.events.outbox import Outbox
from agent.events.rows import Kind
from agent.sections import Keep, KeepAll, Mqtt

PART_OF_A_REJECT = 50  # every so many parts one is rejected
ORDER_BYTES = 32  # `first last`, padded
REJECTS_MB = 25  # one part of the budget of passed parts


def entry(n: int) -> Entry:
    """The event of part n, of the shape and size that a real one has."""
    is_reject = n % PART_OF_A_REJECT == 0
    outcome = "reject" if is_reject else "pass"
    data = {
        "part": {"boot": "5f0c8a52-3f0b-4be0-9d7f-2f0f8b1f6a10", "n": n},
        "outcome": outcome,
        "cause": "score",
        "detail": f"score {1.2 if is_reject else 0.4:.3f} against 1",
        "readings": [{"camera": "top", "raw": 17.31, "score": 0.41, "p_value": 0.3, "fault": None, "latency_ms": 11.7}],
        "threshold": 23.5,
        "bundle_id": "9b1f" * 16,
        "boot_id": "77f0c8a5-1f0b-4be0-9d7f-2f0f8b1f6a55",
        "triggered_ns": 10**13 + n * 10**8,
        "action": {"planned_ns": 10**13 + n * 10**8, "actual_ns": None, "late_ms": None},
    }
    kind = Kind.REJECT if is_reject else Kind.PASS
    return Entry(f"soak/{n}", kind, f"result/{outcome}", utc_now(), msgspec.json.encode(data), _say_durable)


def _say_durable(key: str) -> None:
    os.write(1, f"{key.removeprefix('soak/')}\n".encode())


def main(file: str, port: str, mb: str) -> None:
    """mb: what passed parts may take on the disk."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")  # to stderr
    keep = KeepAll(passes=Keep(mb=float(mb)), reject=Keep(mb=float(mb) / REJECTS_MB))
    config = Mqtt("127.0.0.1", "plant/press-3", int(port), collector="archive")
    with Outbox(Path(file), keep, machine_boot()) as outbox, Publisher(config, "press-3", outbox, {}) as publisher:
        while True:
            outbox.check()
            publisher.check()
            if not select.select([sys.stdin], [], [], 0.5)[0]:
                continue
            if not (line := os.read(0, ORDER_BYTES)):
                return
            first, last = map(int, line.split())
            for n in range(first, last + 1):
                part = entry(n)
                while not outbox.put(part):
                    time.sleep(0.001)


if __name__ == "__main__":
    main(*sys.argv[1:])
