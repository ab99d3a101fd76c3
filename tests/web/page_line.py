"""A running line with its page, and a browser at it."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker import Broker, free_port, mosquitto
from browser import Browser, Tab, browser
from running_line import RunningLine, write_line
from served import PASSWORDS, log_in
from small_bundle import write_photographs
from visitor import Visitor
from waiting import wait_until

CARDS = "document.querySelectorAll('.card').length"


@dataclass
class Line:
    """A running line of two cameras with its page and somebody who looks at it."""

    port: int
    file: Path
    running: RunningLine
    broker: Broker
    browser: Browser

    def visitor(self, role: str) -> Visitor:
        visitor = Visitor(self.port)
        assert visitor.log_in(role, PASSWORDS[role]).status == 200
        return visitor

    def tab(self, role: str, width: int = 1280, height: int = 800) -> Tab:
        """Logged in by hand."""
        return log_in(self.browser.tab(), self.port, role, width, height)


@contextmanager
def page_line(bundle: Path, period_ms: float = 300, count: int = 100_000, outbox: str = "{}") -> Iterator[Line]:
    """Three parts of eight are rejected: two of them by the camera `top`, one by `side`. outbox: its section."""
    folder, port = Path(tempfile.mkdtemp(prefix="k")), free_port()
    (folder / "broker").mkdir()
    write_photographs(folder / "parts", 8, defects=frozenset({2, 5}))
    write_photographs(folder / "sides", 8, defects=frozenset({6}))
    with mosquitto(folder / "broker") as broker:
        file = write_line(folder, broker, bundle, folder / "parts", count, period_ms, delay_ms=1000)
        one = f"{{top: {{type: folder, path: {folder / 'parts'}}}}}"
        two = f"{one[:-1]}, side: {{type: folder, path: {folder / 'sides'}}}}}"
        record = "record: {leave_free_mb: 0, one_of: 4, mb: 50}\n"
        more = f"{record}drift: {{reject_share: 0.9}}\nweb: {{port: {port}}}\noutbox: {outbox}\n"
        file.write_text(file.read_text().replace(one, two) + more)
        running = RunningLine(file, folder / "line.log")
        try:
            token = folder / "state" / "web" / "first-run-token"
            wait_until(lambda: token.exists() and "page at" in (folder / "line.log").read_text(), timeout_s=30)
            _first_account(port, token)
            with browser(folder) as opened:
                yield Line(port, file, running, broker, opened)
        finally:
            assert running.stop() == 0
    shutil.rmtree(folder)


def _first_account(port: int, token: Path) -> None:
    engineer, given = Visitor(port), token.read_text()

    def entered() -> bool:
        try:
            return engineer.first_run(given, "engineer", PASSWORDS["engineer"]).status == 200
        except ConnectionError:
            return False

    wait_until(entered, timeout_s=20)
    for role in ("operator", "viewer"):
        engineer.ask("POST", "/api/accounts", {"name": role, "password": PASSWORDS[role], "role": role})
