"""`kensa web` as a process, with accounts for each role."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker import free_port
from browser import Tab
from kensa_process import Running
from line_file import write_line
from visitor import Visitor

PASSWORDS = {"engineer": "long live steam", "operator": "mind the gauges", "viewer": "look but no touch"}


@dataclass
class Served:
    """The page of a line whose other processes may or may not run."""

    port: int
    state: Path
    process: Running

    def kill(self) -> None:
        """SIGKILL: nothing is kept that was not kept before."""
        self.process.kill()

    def start(self) -> None:
        """Anew, at the same port. Answers when this returns."""
        self.process = Running(("-m", "kensa", "web", str(self.state.parent / "line.yaml")), self.state.parent / "web.log")
        _wait_for(self.port, self.process)

    @property
    def token(self) -> str:
        return (self.state / "web" / "first-run-token").read_text().strip()

    def visitor(self, role: str = "") -> Visitor:
        """Somebody with a session of this role, or without one."""
        visitor = Visitor(self.port)
        if role:
            assert visitor.log_in(role, PASSWORDS[role]).status == 200
        return visitor

    def make_accounts(self) -> None:
        """One for each role, as the first run makes them."""
        engineer = Visitor(self.port)
        assert engineer.first_run(self.token, "engineer", PASSWORDS["engineer"]).status == 200
        for role in ("operator", "viewer"):
            body = {"name": role, "password": PASSWORDS[role], "role": role}
            assert engineer.ask("POST", "/api/accounts", body).status == 200


def log_in(tab: Tab, port: int, role: str, width: int = 1280, height: int = 800) -> Tab:
    """By hand; the page is there when this returns."""
    tab.size(width, height)
    tab.open(f"http://127.0.0.1:{port}/login")
    tab.wait("!document.querySelector('button.first').disabled")
    tab.type("[name=name]", role)
    tab.type("[name=password]", PASSWORDS[role])
    tab.key("Enter")
    tab.wait("document.getElementById('me').textContent !== ''")
    return tab


@contextmanager
def served(folder: Path, bundle: Path, web: str = "") -> Iterator[Served]:
    """Answers when the block is entered. web: more keys of the section."""
    port = free_port()
    line = write_line(folder, bundle)
    line.write_text(f"{line.read_text()}record: {{leave_free_mb: 0}}\nweb: {{port: {port}{web}}}\n")
    page = Served(port, folder / "state", Running(("-m", "kensa", "web", str(line)), folder / "web.log"))
    try:
        _wait_for(port, page.process)
        yield page
        page.process.terminate()
    finally:
        if page.process.process.poll() is None:
            page.kill()


def _wait_for(port: int, process: Running) -> None:
    until_s = time.monotonic() + 60  # it gives way to everything else on the machine
    while time.monotonic() < until_s:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.process.poll() is None, process.text()
        time.sleep(0.05)
    raise AssertionError(process.text())
