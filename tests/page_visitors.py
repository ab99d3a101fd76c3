"""Three browsers that look at the live page, and a Prometheus: `python page_visitors.py PORT COOKIE AGENT`, until its stdin ends.

They stand for other machines: a process of its own that gives way to everybody, so that their cost is not taken for the page's.
Prints as one line of JSON what they were given.
"""

import http.client
import json
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from agent.give_way import run_last

PAGES = 3
GATE_EVERY_S = 2.0


class Visitors:
    """headers: of a session. Each page hears the events, fetches each picture as a browser does, and asks how the gate stands."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self._port, self._headers = port, headers
        self._stop = threading.Event()
        self._counting = threading.Lock()
        self.counts = {"events": 0, "pictures": 0, "gate": 0, "scrapes": 0}
        self._threads = [threading.Thread(target=act) for act in [self._look] * PAGES + [self._scrape]]
        for thread in self._threads:
            thread.start()

    def leave(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _count(self, what: str) -> None:
        with self._counting:
            self.counts[what] += 1

    def _get(self, connection: http.client.HTTPConnection, path: str, what: str) -> None:
        connection.request("GET", path, headers=self._headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status == 200:
            self._count(what)

    def _look(self) -> None:
        events, others = (http.client.HTTPConnection("127.0.0.1", self._port, timeout=20) for _ in range(2))
        events.request("GET", "/api/events", headers=self._headers)
        stream, gate_s = events.getresponse(), 0.0
        while not self._stop.is_set():
            line = stream.readline()
            if not line.startswith(b"data: "):
                continue
            self._count("events")
            if b'"is_shown": true' in line or b'"is_shown":true' in line:
                part = json.loads(line[6:])
                for k in range(len(part.get("views", [0]))):
                    for suffix in ("jpg", "png"):
                        self._get(others, live_path(part, k, suffix), "pictures")
            if time.monotonic() - gate_s > GATE_EVERY_S:
                gate_s = time.monotonic()
                self._get(others, "/api/gate", "gate")
        events.close()
        others.close()

    def _scrape(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        while not self._stop.wait(1.0):
            self._get(connection, "/metrics", "scrapes")
        connection.close()


def live_path(part: dict[str, object], k: int, suffix: str) -> str:
    """Where the page has the picture of one camera."""
    return f"/live/{part['part']}/{k}.{suffix}" if "views" in part else f"/live/{part['part']}.{suffix}"


if __name__ == "__main__":
    run_last()
    visitors = Visitors(int(sys.argv[1]), {"Cookie": f"kensa-session={sys.argv[2]}", "User-Agent": sys.argv[3]})
    sys.stdin.read()
    visitors.leave()
    print(json.dumps(visitors.counts))
