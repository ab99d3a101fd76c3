"""Structured log: one JSON object per line on stderr, ready for journald; what repeats is counted instead of written."""

import json
import logging
import os
import select
import sys
import time
from contextlib import suppress
from dataclasses import dataclass

from agent.clock import utc_now
from agent.patient_thread import PatientThread

_AT_ONCE = 20  # lines of one kind in one window
_WINDOW_S = 60.0
_KINDS = 1000
_MOST_UNREAD = 1000
_PATIENCE_S = 0.002


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


class _Counting(logging.Handler):
    """Writes lines, fewer of those that repeat, and waits for nobody who does not read them: the gate writes here too.

    A terminal that was stopped or left, a pager, a journal or a file whose disk hangs: what they do not take is counted.
    """

    def __init__(self, fileno: int) -> None:
        super().__init__()
        self._fileno = fileno
        self._repeats = Repeats()
        self._told_dropped = 0
        self._thread = PatientThread("log", self._write, _MOST_UNREAD, _PATIENCE_S)

    def emit(self, record: logging.LogRecord) -> None:
        is_told, summaries = self._repeats.take(record, time.monotonic())
        try:
            for line in (*summaries, *((record,) if is_told else ())):
                self._thread.hand_over(self.format(line))
        except Exception:  # noqa: BLE001 - as every handler of logging: a line that cannot be written ends no process
            self.handleError(record)

    def close(self) -> None:
        self._thread.close()
        super().close()

    def _write(self, line: str) -> None:
        """In the thread; past Python's own stderr, whose lock it would hold for ever."""
        dropped = self._thread.dropped - self._told_dropped
        with suppress(OSError):  # nobody is there to read it
            if dropped:
                words = "%d lines were not written: nobody read what stood before them"
                told = logging.LogRecord("agent.log", logging.WARNING, "", 0, words, (dropped,), None)
                _write_all(self._fileno, self.format(told))
                self._told_dropped += dropped
            _write_all(self._fileno, line)


def _write_all(fileno: int, line: str) -> None:
    left = f"{line}\n".encode(errors="backslashreplace")
    while left:
        try:
            left = left[os.write(fileno, left) :]
        except BlockingIOError:  # whoever shares the terminal has made it so
            select.select([], [fileno], [])


def start_log(role: str, level: int = logging.INFO) -> None:
    """Sends every logger of this process to stderr as JSON lines."""
    handler = _Counting(sys.stderr.fileno())
    handler.setFormatter(JsonFormatter(role))
    logging.basicConfig(level=level, handlers=[handler], force=True)
