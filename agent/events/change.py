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


Change = Mark | Acknowledged


class Changes:
    """Those that no disk has taken yet, oldest first."""

    def __init__(self) -> None:
        self._waiting: list[Change] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, change: Change) -> None:
        """Joined with the newest where both are one."""
        newest = self._waiting[-1] if self._waiting else None
        if isinstance(change, Mark) and isinstance(newest, Mark) and change.follows(newest):
            self._waiting[-1] = Mark(newest.first, change.last, change.state)
        elif isinstance(change, Acknowledged) and isinstance(newest, Acknowledged) and change.stream == newest.stream:
            self._waiting[-1] = Acknowledged(change.stream, max(change.last, newest.last))
        else:
            self._waiting.append(change)

    def write(self, store: EventStore) -> "Changes":
        """Not yet committed. Gives those that need another commit. Raises sqlite3.Error; then all are still here."""
        left = Changes()
        for change in self._waiting:
            match change:
                case Mark(first=first, last=last, state=state):
                    store.mark(first, last, state)
                case Acknowledged(stream=stream, last=last):
                    if not store.acknowledge(stream, last):
                        left.add(change)
        return left
