"""What is kept of each event in the outbox's file, and what has to go when there is no room.

Ages are hours of operation, counted by the monotonic clock and kept in the file: a wall clock that jumps deletes nothing.
"""

import contextlib
import logging
import math
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from agent.clock import utc_now
from agent.events.database import open_file
from agent.events.event import ALERT_TOPIC, alert
from agent.events.label import Label, read_label, write_label
from agent.events.rows import POWER_CUT, Kind, Lost, New, keep_of, on_disk, runs_of
from agent.sections import KeepAll

log = logging.getLogger(__name__)

_WAITING, DELIVERED, REFUSED, SENT = range(4)  # sent: the broker has it, the collector has not said so yet

_RECOGNIZED = 50_000  # newest events that are known when they come again; more than the ejector's journal holds
_BATCH = 1000
_UNSETTLED = "state IN (0, 3)"  # said as the index says it
_HIGHEST = 2**63 - 1
_ACKNOWLEDGED_AT_ONCE = 2000
_LABEL_EVERY_S = 1.0


class EventStore:
    """One SQLite file, WAL with synchronous=FULL, for one writing thread; `reader` gives connections for others.

    machine: names the boot of the machine; now_s: a clock that never goes back; told_as: station and topic under which its events
    are told. Raises sqlite3.Error. lost: what opening it, or an acknowledgement, brought to light.
    """

    def __init__(
        self, file: Path, keep: KeepAll, machine: str, now_s: Callable[[], float] = time.monotonic, told_as: str = ""
    ) -> None:
        self._file = file
        self._keep = keep
        self._told_as = told_as
        self._now_s = now_s
        self.lost: list[Lost] = []
        self._db = open_file(file, machine)
        with contextlib.ExitStack() as unless_begun:
            unless_begun.callback(self._db.close)
            self._begin(machine)
            unless_begun.pop_all()

    def _begin(self, machine: str) -> None:
        """Where the file left off."""
        stream, operated_s, before, is_closed = self._db.execute("SELECT * FROM stream").fetchone()
        self.stream = str(stream)
        self._newest = int((self._db.execute("SELECT seq FROM sqlite_sequence").fetchone() or (0,))[0])
        self._acknowledged = 0
        self._operated_from_s = float(operated_s) - self._now_s()
        if not is_closed and before != machine:
            self.lost.append(Lost(POWER_CUT, self.stream, self._newest + 1, self._newest + 1, None, detail="the last 50 ms"))
        self._machine = machine
        self._label_again_s = self._now_s()
        self._count_used()
        label = read_label(self._file)
        if label is None or label.stream != self.stream:
            return
        self._told_as = self._told_as or label.told_as
        if label.told_as not in ("", self._told_as):
            self._take_over(label.told_as)
        elif label.newest > self._newest:  # a copy from a backup, whose next numbers were given out already
            self._end_stream()

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._write_stream(is_closed=True)
            self._db.commit()
        self._db.close()
        self._write_label()

    def insert(self, events: Iterable[New]) -> int:
        """Not yet committed. One whose key is known is the same event and is not kept again. Gives how many were not."""
        at_s, count = self._operated_s(), 0
        for event in events:
            row = (event.key, event.kind, event.topic, event.time, at_s, on_disk(event), event.data)
            inserted = self._db.execute(
                "INSERT INTO event (key, kind, topic, time, operated_s, bytes, data) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 "
                "WHERE NOT EXISTS (SELECT 1 FROM event WHERE key = ?1)",  # a conflict would use up a number
                row,
            )
            self._used[event.kind] += on_disk(event) * inserted.rowcount
            count += inserted.rowcount
        return count

    def mark(self, first: int, last: int, state: int) -> None:
        """The state of the waiting events with these numbers, both included; of those sent that the collector has said that it
        has, DELIVERED. Not yet committed."""
        has = self._acknowledged if state == SENT else 0
        new = f"CASE WHEN seq <= ?4 THEN {DELIVERED} ELSE ?1 END"
        self._db.execute(f"UPDATE event SET state = {new} WHERE state = 0 AND seq BETWEEN ?2 AND ?3", (state, first, last, has))

    def acknowledge(self, stream: str, last: int) -> bool:
        """The collector has the events of this stream up to a number. Not yet committed. Whether that is all noted: of very many
        only the oldest are, so that no commit takes long or makes the file grow.

        What no broker has taken over from here is still to be sent: somebody else's event may have had its number. A number
        never given out here shows that this file is a copy from a backup.
        """
        if stream != self.stream:
            return True
        if last > self._newest:
            self._end_stream()
            self._tell_again()
            return True
        self._acknowledged = max(last, self._acknowledged)
        sent = f"{_UNSETTLED} AND state = {SENT}"
        oldest = f"SELECT seq FROM event WHERE {sent} AND seq <= ? ORDER BY seq LIMIT {_ACKNOWLEDGED_AT_ONCE}"
        noted = self._db.execute(f"UPDATE event SET state = {DELIVERED} WHERE seq IN ({oldest})", (last,))
        return noted.rowcount < _ACKNOWLEDGED_AT_ONCE

    def disown(self, stream: str) -> None:
        """Events of others have numbers of this stream, which may go on without this station: in a new one all is told again
        that nobody has said to have. Not yet committed."""
        if stream == self.stream:
            self._begin_stream()
            self._tell_again()

    def commit(self) -> None:
        """All since the last commit, safe from a power cut; or nothing of it, and sqlite3.OperationalError."""
        self._write_stream(is_closed=False)
        self._db.commit()
        row = self._db.execute("SELECT seq FROM sqlite_sequence").fetchone()
        if row and row[0] != self._newest:
            self._newest = row[0]
            if self._now_s() > self._label_again_s:
                self._write_label()

    def rollback(self) -> None:
        with contextlib.suppress(sqlite3.OperationalError):  # a disk that gives nothing either: then too much is held to be used
            self._db.rollback()
            self._count_used()

    def evict(self) -> tuple[list[Lost], bool]:
        """Deletes some of what is too old or too much, oldest first and delivered ones first: of each kind a thousand at once, so
        that no commit takes long or makes the file grow. Gives what was never delivered, and whether more has to go.
        """
        lost, is_more = [], False
        for kind in Kind:
            keep, now_s = keep_of(self._keep, kind), self._operated_s()
            recognized = self._newest - _RECOGNIZED  # behind it a copy is known by its event, however old that is
            gone = self._delete(kind, (DELIVERED, REFUSED), before_s=now_s - 3600 * keep.replay_hours, last=recognized)
            aged = self._delete(kind, (_WAITING,), before_s=now_s - 86400 * keep.waiting_days)
            lost += self._as_lost(aged, "age", kind)
            is_more |= max(len(gone), len(aged)) == _BATCH
            if (excess := self._used[kind] - int(1e6 * keep.mb)) > 0:
                if not (gone := self._delete(kind, (DELIVERED, REFUSED), excess=excess)):
                    gone = self._delete(kind, (_WAITING, SENT), excess=excess)
                    lost += self._as_lost(gone, "room", kind)
                is_more |= bool(gone) and self._used[kind] > int(1e6 * keep.mb)
        return lost, is_more

    def _write_label(self) -> None:
        """Seldom: only a backup of less than a second ago escapes."""
        self._label_again_s = self._now_s() + _LABEL_EVERY_S
        write_label(self._file, Label(self.stream, self._newest, self._told_as))

    def _count_used(self) -> None:
        self._used = dict.fromkeys(Kind, 0)
        for kind, used in self._db.execute("SELECT kind, sum(bytes) FROM event GROUP BY kind"):
            self._used[Kind(kind)] = used

    def _write_stream(self, is_closed: bool) -> None:
        row = (self.stream, self._operated_s(), self._machine, is_closed)
        self._db.execute("UPDATE stream SET id = ?, operated_s = ?, machine = ?, is_closed = ?", row)

    def _operated_s(self) -> float:
        return self._operated_from_s + self._now_s()

    def _take_over(self, told_as: str) -> None:
        """Of a station that was renamed, or of another one whose disk was copied and which goes on numbering this stream. What
        was not delivered is told under this station's name, in a stream of its own; all of that, or nothing."""
        self.stream, self.lost = uuid.uuid4().hex, []
        columns = "key, kind, topic, time, operated_s, bytes, data"
        self._db.execute("BEGIN")
        self._db.execute(f"CREATE TEMP TABLE taken_over AS SELECT {columns} FROM event WHERE state IN (0, 3) ORDER BY seq")
        self._db.execute("DELETE FROM event")
        self._db.execute("DELETE FROM sqlite_sequence")
        waiting = self._db.execute(f"INSERT INTO event ({columns}) SELECT * FROM taken_over ORDER BY rowid").rowcount
        self._db.execute("DROP TABLE taken_over")
        detail = (
            f"this outbox was of {told_as}, now of {self._told_as}; {waiting} waiting events are told as this station's. "
            "Right where a station was renamed; where its disk was copied, they are the other's"
        )
        log.error("%s: %s", self._file, detail)
        told = alert("outbox-of-another", detail)
        self.insert([New(f"outbox-of-another/{self.stream}", Kind.ALERT, ALERT_TOPIC, utc_now(), told)])
        self.commit()
        self._count_used()
        self._write_label()

    def _tell_again(self) -> None:
        self._db.execute(f"UPDATE event SET state = {_WAITING} WHERE {_UNSETTLED} AND state = {SENT}")

    def _end_stream(self) -> None:
        """What is missing of it will not come."""
        self.lost.append(Lost("restored", self.stream, self._newest + 1, self._newest + 1, None, detail="numbers unknown here"))
        self._begin_stream()

    def _begin_stream(self) -> None:
        """The events that are here keep their numbers; those that are not, were given up or delivered long ago, have none."""
        self.stream, self._acknowledged = uuid.uuid4().hex, 0
        first, count = self._db.execute("SELECT ifnull(min(seq), ?), count(*) FROM event", (self._newest + 1,)).fetchone()
        holes = self._newest - first + 1 - count
        for start, end, missing in ((1, first - 1, first - 1), (first, self._newest, holes)):
            if missing > 0:
                self.lost.append(Lost("restored", self.stream, start, end, missing, detail="of the stream before"))

    def _delete(
        self, kind: Kind, states: Sequence[int], before_s: float = math.inf, last: int = _HIGHEST, excess: float = math.inf
    ) -> list[int]:
        """The oldest in these states, of operation before `before_s`, until so many bytes are free or a batch is through."""
        query = (
            "SELECT seq, bytes, operated_s FROM event WHERE kind = ? AND state = ? AND seq <= ? ORDER BY seq "
            f"LIMIT {_BATCH}"  # of one state in the index's order: nothing is sorted, or read in vain
        )
        found = sorted(row for state in states for row in self._db.execute(query, (kind, state, last)))
        freed, seqs = 0, []
        for seq, size, operated_s in found[:_BATCH]:
            if freed >= excess or operated_s >= before_s:
                break
            seqs.append(seq)
            freed += size
        self._db.executemany("DELETE FROM event WHERE seq = ?", [(seq,) for seq in seqs])
        self._used[kind] -= freed
        return seqs

    def _as_lost(self, seqs: Sequence[int], reason: str, kind: Kind) -> list[Lost]:
        return [Lost.of(reason, self.stream, runs_of(seqs), kind.name.lower())] if seqs else []
