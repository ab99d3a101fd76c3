"""`kensa web` as a process, with accounts for each role."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker import free_port
from kensa_process import Running, running
from line_file import write_line
from visitor import Visitor

PASSWORDS = {"engineer": "long live steam", "operator": "mind the gauges", "viewer": "look but no touch"}


@dataclass
class Served:
    """The page of a line whose other processes may or may not run."""

    port: int
    state: Path
    process: Running

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


@contextmanager
def served(folder: Path, bundle: Path, web: str = "") -> Iterator[Served]:
    """Answers when the block is entered. web: more keys of the section."""
    port = free_port()
    line = write_line(folder, bundle)
    line.write_text(f"{line.read_text()}record: {{leave_free_mb: 0}}\nweb: {{port: {port}{web}}}\n")
    with running("-m", "kensa", "web", str(line), log_file=folder / "web.log") as process:
        _wait_for(port, process)
        yield Served(port, folder / "state", process)
        process.terminate()


def _wait_for(port: int, process: Running) -> None:
    until_s = time.monotonic() + 20
    while time.monotonic() < until_s:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.process.poll() is None, process.text()
        time.sleep(0.05)
    raise AssertionError(process.text())
