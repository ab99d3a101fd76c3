"""The journal's files, written by a thread of their own: the gate waits a moment for the disk, and no longer."""

import errno
import logging
from collections import deque
from io import FileIO
from pathlib import Path

from agent.patient_thread import PatientThread

log = logging.getLogger(__name__)

_MOST_WAITING = 1000  # records that no disk has taken; then older ones are given up


class Segments:
    """Numbered files in a folder, written one after the other; each begins with `header`.

    A record is in its file when `append` returns, unless the disk hangs for longer than patience_s; until it goes on, nobody
    waits for it. What a full or read-only one refuses is tried again with the next record. refused: how often it was.
    """

    def __init__(self, folder: Path, header: bytes, patience_s: float) -> None:
        self.refused = 0
        self._folder = folder
        self._header = header
        self._waiting: deque[tuple[int, bytes]] = deque(maxlen=_MOST_WAITING)
        self._finished: deque[int] = deque()
        self._open: tuple[int, FileIO] | None = None
        self._thread = PatientThread("journal", self._write, _MOST_WAITING, patience_s)

    def path(self, segment: int) -> Path:
        return self._folder / f"{segment:08d}.journal"

    def close(self) -> None:
        """Once all is written, as far as the disk takes it."""
        self._thread.close()
        if self._open is not None and not self._thread.is_behind:
            self._open[1].close()

    def append(self, segment: int, record: bytes) -> None:
        """segment: that of the record before, or a later one."""
        was_behind = self._thread.is_behind
        if not self._thread.hand_over((segment, record)) and not was_behind:
            log.warning("%s: the disk hangs; the line goes on, and a kill would lose what it does not take", self._folder)

    def delete(self, segment: int) -> None:
        """With one of the next records of a later segment; in the order of the calls."""
        self._finished.append(segment)

    # ------------------------------------------------------------ the thread

    def _write(self, last: tuple[int, bytes]) -> None:
        self._waiting.append(last)
        try:
            while self._waiting:
                segment, record = self._waiting[0]
                _write_line(self._file_of(segment), record)
                self._waiting.popleft()
        except OSError as e:
            self._refused("a record was not written", e)
        try:
            while self._open is not None and self._finished and self._finished[0] < self._open[0]:
                self.path(self._finished[0]).unlink(missing_ok=True)
                self._finished.popleft()
        except OSError as e:
            self._refused("a finished segment was not deleted", e)

    def _file_of(self, segment: int) -> FileIO:
        if self._open is None or self._open[0] != segment:
            fresh = self.path(segment).open("ab", buffering=0)
            try:
                _write_line(fresh, self._header)
            except OSError:
                fresh.close()
                raise
            if self._open is not None:
                self._open[1].close()
            self._open = segment, fresh
        return self._open[1]

    def _refused(self, what: str, error: OSError) -> None:
        self.refused += 1
        if self.refused == 1 or self.refused % 1000 == 0:
            log.error("%s: %s (%s), %d times so far; the line goes on", self._folder, what, error.strerror, self.refused)


def _write_line(file: FileIO, record: bytes) -> None:
    """With one write(); begins and ends a line, so that a record cut short by a full disk spoils no other."""
    line = b"\n" + record + b"\n"
    if file.write(line) < len(line):
        raise OSError(errno.ENOSPC, "cut short")
