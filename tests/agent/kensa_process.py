"""`kensa` sub-commands as the processes they are on a device."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ELSEWHERE = "/"  # not the repository: what runs is what is installed
_END_WITHIN_S = 20.0


def python(*arguments: str, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
    """A Python of this environment run to its end."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ELSEWHERE,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env=_environment(),
    )


def kensa(*arguments: str) -> subprocess.CompletedProcess[str]:
    """One sub-command run to its end."""
    return python("-m", "kensa", *arguments)


class Running:
    """A process that runs, and what it has logged so far."""

    def __init__(self, arguments: Sequence[str], log_file: Path) -> None:
        self._log_file = log_file
        with log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *arguments], cwd=ELSEWHERE, stdout=log, stderr=log, env=_environment()
            )

    def text(self) -> str:
        return self._log_file.read_text()

    def entries(self) -> list[dict[str, Any]]:
        """The complete JSON lines of its log."""
        return [
            json.loads(line) for line in self.text().splitlines(keepends=True) if line.startswith("{") and line.endswith("\n")
        ]

    def messages(self) -> list[str]:
        return [entry["message"] for entry in self.entries()]

    def terminate(self) -> int:
        """SIGTERM; its exit status."""
        self.process.terminate()
        return self.process.wait(_END_WITHIN_S)

    def kill(self) -> None:
        """SIGKILL: it has no last word."""
        self.process.kill()
        self.process.wait(_END_WITHIN_S)


@contextmanager
def running(*arguments: str, log_file: Path) -> Iterator[Running]:
    """A Python process that is gone when the block is left."""
    started = Running(arguments, log_file)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.kill()


def is_at_work(process: int) -> bool:
    """Whether it may still do anything: one that is dead and waits to be buried may not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
