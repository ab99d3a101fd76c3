"""A real mosquitto on a free port of this machine, which a test may stop, kill and start again."""

import getpass
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

HOST = "127.0.0.1"
START_S = 10.0
ITS_OWN_LIMITS = ["max_queued_messages 1000", "max_inflight_messages 20"]  # mosquitto's defaults, as settings


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def find_mosquitto() -> str | None:
    """The path of the broker's program; Debian keeps it where only root's PATH looks."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


class Broker:
    """A running mosquitto; host and port stay the same over stop(), kill() and start()."""

    def __init__(self, program: str, folder: Path, persistence: bool, settings: Sequence[str]) -> None:
        self.host = HOST
        self.port = free_port()
        self._command = [program, "-c", str(folder / "mosquitto.conf")]
        self._log = folder / "mosquitto.log"
        user = f"user {getpass.getuser()}"  # started by root it would become `mosquitto`, who may not write here
        lines = [f"listener {self.port} {HOST}", user, "allow_anonymous true", "max_queued_messages 0", "max_inflight_messages 0"]
        on_disk = ["persistence true", f"persistence_location {folder}/", "autosave_interval 1"]
        Path(self._command[-1]).write_text("\n".join([*lines, *(on_disk if persistence else []), *settings, ""]))
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Up again, on the same port; returns when it accepts connections. RuntimeError with its log if it does not."""
        if self._process is not None:
            return
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        until = time.monotonic() + START_S
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeError(f"mosquitto did not start on port {self.port}:\n{self._log.read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """As an administrator stops it: SIGTERM, connections closed."""
        self._end("terminate")

    def kill(self) -> None:
        """As a power cut stops it: SIGKILL."""
        self._end("kill")

    def _end(self, how: str) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            getattr(process, how)()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _accepts(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=0.5):
                return True
        except OSError:
            return False


@contextmanager
def mosquitto(folder: Path, persistence: bool = False, settings: Sequence[str] = ()) -> Iterator[Broker]:
    """A broker whose files lie in `folder`, ended with the block; skips the test where the program is not installed.

    settings: further lines of mosquitto.conf.
    """
    program = find_mosquitto()
    if program is None:
        pytest.skip("needs mosquitto (Debian: apt install mosquitto); not on PATH nor in /usr/sbin")
    broker = Broker(program, folder, persistence, settings)
    try:
        yield broker
    finally:
        broker.stop()
