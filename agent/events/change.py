"""What has become of events since, on its way to the outbox's file: many changes that come together are few in the end."""

from dataclasses import dataclass

from agent.events.store import EventStore


@dataclass(frozen=True, slots=True)
class Mark:
    """A new state of some events of the file."""

    first: int
    last: int
    state: int

    def follows(self, other: "Mark") -> bool:
        """Whether both are one change."""
        return (self.first, self.state) == (other.last + 1, other.state)


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The collector has all events of the stream up to this one."""

    stream: str
    last: int


@dataclass(frozen=True, slots=True)
class Disowned:
    """Another station, or an earlier life of this one, has numbered events in the stream too."""

    stream: str


Change = Mark | Acknowledged | Disowned


class Changes:
    """Those that no disk has taken yet, joined as they come: few, however long there is no disk."""

    def __init__(self) -> None:
        self._marks: list[Mark] = []
        self._acknowledged: dict[str, int] = {}
        self._disowned: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._marks or self._acknowledged or self._disowned)

    def add(self, change: Change) -> None:
        match change:
            case Acknowledged(stream=stream, last=last):
                self._acknowledged[stream] = max(last, self._acknowledged.get(stream, 0))
            case Disowned(stream=stream):
                self._disowned.add(stream)
            case Mark() if self._marks and change.follows(self._marks[-1]):
                self._marks[-1] = Mark(self._marks[-1].first, change.last, change.state)
            case Mark():
                self._marks.append(change)

    def add_all(self, others: "Changes") -> None:
        self._disowned |= others._disowned
        for mark in others._marks:
            self.add(mark)
        for stream, last in others._acknowledged.items():
            self.add(Acknowledged(stream, last))

    def write(self, store: EventStore) -> "Changes":
        """Not yet committed. Gives those that need another commit. Raises sqlite3.Error; then all are still here.

        Marks first: they are of the stream that the others may end.
        """
        for mark in self._marks:
            store.mark(mark.first, mark.last, mark.state)
        for stream in self._disowned:
            store.disown(stream)
        left = Changes()
        for stream, last in self._acknowledged.items():
            if not store.acknowledge(stream, last):
                left.add(Acknowledged(stream, last))
        return left
