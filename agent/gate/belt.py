"""Where the belt is, by its encoder: which count belongs to an instant, and which instant to a count."""

from collections import deque

_READINGS = 512
_JITTER_NS = 10_000_000  # so much later than another may a reading come (agent/encoders/modbus.py)


class Belt:
    """Readings of an encoder as forward counts; between two readings the belt is taken to move evenly.

    direction: +1 where the encoder counts up as parts travel to the gate, -1 where it counts down.
    """

    def __init__(self, direction: int) -> None:
        if direction not in (1, -1):
            raise ValueError(f"expected a direction of 1 or -1, got {direction}")
        self._direction = direction
        self._readings: deque[tuple[int, int]] = deque(maxlen=_READINGS)

    @property
    def place(self) -> int | None:
        """The newest forward count; None before the first reading."""
        return self._readings[-1][1] if self._readings else None

    @property
    def count(self) -> int | None:
        """The same in the encoder's own direction."""
        return self._direction * self.place if self.place is not None else None

    def moved(self, count: int, now_ns: int) -> None:
        """Takes in what the encoder says, in its own direction."""
        place = self._direction * count
        if self._readings and self._readings[-1][0] == now_ns:
            self._readings.pop()  # two of one instant have no speed between them: the later one counts
        if len(self._readings) > 1 and self._readings[-1][1] == self._readings[-2][1] == place:
            self._readings.pop()  # a belt that stands needs only its first and its newest reading
        self._readings.append((now_ns, place))

    def is_jump(self, count: int, now_ns: int, fastest: float) -> bool:
        """Whether no belt comes so far since the newest reading: the counter was set; one count is never a jump. fastest: of
        a belt, in counts per ns.

        >>> belt = Belt(1); belt.moved(20_000, 0); [belt.is_jump(count, 5_000_000, 1e-5) for count in (20_151, 19_849, 20_152, 0)]
        [False, False, True, True]
        """
        if not self._readings:
            return False
        newest_ns, place = self._readings[-1]
        return abs(self._direction * count - place) > 1 + fastest * (now_ns - newest_ns + _JITTER_NS)

    def read(self, count: int, now_ns: int, fastest: float) -> str:
        """As `moved`; why what was read before tells nothing any more, empty where it does. fastest: as `is_jump` has it."""
        why = ""
        if self.is_jump(count, now_ns, fastest):
            why = f"the encoder went from {self.count} to {count} at once: its counter was set"
            self._readings.clear()
        self.moved(count, now_ns)
        return why

    def knows(self, ns: int) -> bool:
        """Whether the encoder has been read since that instant: what `at` says of it is no guess."""
        return bool(self._readings) and self._readings[-1][0] >= ns

    def at(self, ns: int) -> int | None:
        """The forward count at an instant; a little after the newest reading the belt is taken to go on as before.

        >>> belt = Belt(-1); belt.moved(0, 1000); belt.moved(-10, 2000); belt.at(1500), belt.at(2500), belt.at(999_000)
        (5, 15, 20)
        """
        if len(self._readings) > 1 and ns > self._readings[-1][0]:
            older, newest = self._readings[-2], self._readings[-1]
            return _between(min(ns, 2 * newest[0] - older[0]), older, newest)
        newer: tuple[int, int] | None = None
        for reading in reversed(self._readings):
            if reading[0] <= ns:
                return reading[1] if newer is None else _between(ns, reading, newer)
            newer = reading
        return newer[1] if newer else None

    def came(self, within_ns: int) -> int:
        """How far it came forward in so long a time before its newest reading; 0 where it turned back.

        >>> belt = Belt(1); belt.moved(0, 1000); belt.moved(10, 2000); belt.moved(40, 3000); belt.came(1500)
        35
        """
        newest_ns, place = self._readings[-1] if self._readings else (0, 0)
        before = self.at(newest_ns - within_ns)
        return max(0, place - before) if before is not None else 0

    def when(self, place: int) -> int | None:
        """The instant at which the belt last came to a place; None where no two readings have it between them.

        >>> belt = Belt(1); belt.moved(0, 1000); belt.moved(10, 2000); belt.when(5)
        1500
        """
        newer: tuple[int, int] | None = None
        for ns, count in reversed(self._readings):
            if newer and count < place <= newer[1]:
                return ns + (place - count) * (newer[0] - ns) // (newer[1] - count)
            newer = (ns, count)
        return None


def _between(ns: int, older: tuple[int, int], newer: tuple[int, int]) -> int:
    return older[1] + (ns - older[0]) * (newer[1] - older[1]) // (newer[0] - older[0])
