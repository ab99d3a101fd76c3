"""Structured log: one JSON object per line on stderr, ready for journald; what repeats is counted instead of written."""

import json
import logging
import select
import sys
import threading
import time
from dataclasses import dataclass
from typing import IO

from agent.clock import utc_now

_AT_ONCE = 20  # lines of one kind in one window
_WINDOW_S = 60.0
_KINDS = 1000


class JsonFormatter(logging.Formatter):
    """time, level, role, where and message; `extra={"data": {...}}` adds fields; a traceback stays in one line."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": utc_now(),
            "level": record.levelname.lower(),
            "role": self._role,
            "where": record.name,
            "message": record.getMessage(),
            **getattr(record, "data", {}),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


@dataclass(slots=True)
class _Window:
    """One kind of line since `began_s`."""

    began_s: float
    lines: int = 0


class Repeats:
    """At most 20 lines a minute of one kind, the same place in the code; `take` is called for each line. Time is an argument.

    A camera that fails at each of thirty parts a second would otherwise fill the disk before anybody reads why.
    """

    def __init__(self) -> None:
        self._windows: dict[tuple[str, int, str], _Window] = {}
        self._others = 0

    def take(self, record: logging.LogRecord, now_s: float) -> tuple[bool, list[logging.LogRecord]]:
        """Whether to write this line, and lines that tell how many were not written until now."""
        told = self._ended(now_s)
        key = (record.name, record.levelno, str(record.msg))
        window = self._windows.get(key)
        if window is None:
            if len(self._windows) >= _KINDS:
                self._others += 1
                return False, told
            window = self._windows[key] = _Window(now_s)
        window.lines += 1
        return window.lines <= _AT_ONCE, told

    def _ended(self, now_s: float) -> list[logging.LogRecord]:
        over = [key for key, window in self._windows.items() if now_s - window.began_s >= _WINDOW_S]
        told = [
            self._summary(key, window.lines - _AT_ONCE) for key in over if (window := self._windows.pop(key)).lines > _AT_ONCE
        ]
        if over and self._others:
            told.append(self._summary(("agent.log", logging.WARNING, "lines of many other kinds"), self._others))
            self._others = 0
        return told

    @staticmethod
    def _summary(key: tuple[str, int, str], count: int) -> logging.LogRecord:
        name, level, message = key
        return logging.LogRecord(name, level, "", 0, "%d more like this were not written: %s", (count, message), None)


class _Counting(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes lines, fewer of those that repeat, and waits for nobody who does not read them: the gate writes here too."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self._repeats = Repeats()
        self._unread = 0
        self._one_at_a_time = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        with self._one_at_a_time:
            is_told, summaries = self._repeats.take(record, time.monotonic())
            for line in (*summaries, *((record,) if is_told else ())):
                self._write(line)

    def _write(self, line: logging.LogRecord) -> None:
        """A terminal that was stopped, a pager, a journal whose disk hangs: what they do not take is counted."""
        if self._unread and _takes_more(self.stream):
            words = "%d lines were not written: nobody read what stood before them"
            super().emit(logging.LogRecord("agent.log", logging.WARNING, "", 0, words, (self._unread,), None))
            self._unread = 0
        if _takes_more(self.stream):
            super().emit(line)
        else:
            self._unread += 1


def _takes_more(stream: IO[str]) -> bool:
    """Whether a line can be written without waiting."""
    try:
        return bool(select.select([], [stream], [], 0)[1])
    except (OSError, ValueError):  # no file, or closed: writing says so itself
        return True


def start_log(role: str, level: int = logging.INFO) -> None:
    """Sends every logger of this process to stderr as JSON lines."""
    handler = _Counting()
    handler.setFormatter(JsonFormatter(role))
    logging.basicConfig(level=level, handlers=[handler], force=True)
