"""Where events wait while the disk takes nothing."""

import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.events.rows import Kind, Row

_CAPACITY = 4000


@dataclass(frozen=True, slots=True)
class Entry:
    """An event to be kept. key: what it is about; a second entry with the same key is the same event and is not kept.

    on_durable is called from the writer thread once it is on disk (or was there already, or is delivered without a disk).
    """

    key: str
    kind: Kind
    topic: str
    time: str
    data: bytes
    on_durable: Callable[[str], None]


class EventMemory:
    """Events without a disk, numbered in a stream of their own, which ends with the process and has no holes either."""

    def __init__(self) -> None:
        self.stream = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._keys: set[str] = set()
        self._newest = self._told = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def is_full(self) -> bool:
        return len(self._entries) >= _CAPACITY

    def keep(self, entries: Iterable[Entry]) -> None:
        """Those that are not here yet: what nobody confirms, the gate reports again and again."""
        with self._lock:
            for entry in entries:
                if entry.key not in self._keys:
                    self._newest += 1
                    self._entries[self._newest] = entry
                    self._keys.add(entry.key)

    def waiting(self, after: int, limit: int) -> Sequence[Row]:
        with self._lock:
            found = [(seq, e) for seq, e in self._entries.items() if seq > after][:limit]
            self._told = max([self._told, *(seq for seq, _ in found)])
        return [Row(self.stream, seq, e.key, e.topic, e.time, e.data) for seq, e in found]

    def untold(self) -> Mapping[int, Entry]:
        """Those whose number nobody has seen yet."""
        with self._lock:
            return {seq: entry for seq, entry in self._entries.items() if seq > self._told}

    def forget(self, written: Iterable[int]) -> None:
        """These are on disk now; those told meanwhile will come twice. The numbers of the others are free again."""
        with self._lock:
            for seq in written:
                if seq > self._told:
                    self._keys.discard(self._entries.pop(seq).key)
            self._newest = max([self._told, *self._entries])

    def settle(self, first: int, last: int) -> None:
        """These have reached where they must go, both ends included."""
        with self._lock:
            settled = [self._entries.pop(seq) for seq in list(self._entries) if first <= seq <= last]
            self._keys.difference_update(entry.key for entry in settled)
        for entry in settled:
            entry.on_durable(entry.key)
