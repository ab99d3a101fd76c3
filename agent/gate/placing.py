"""PURE  Where on the belt parts were triggered: a guess at first, corrected once the encoder was read."""

from collections import deque
from collections.abc import Iterator

from agent.gate.belt import Belt
from agent.gate.schedule import InFlight

_STILL_TRIGGERS = 3  # as many at one place of the belt: the encoder is dead


class Placing:
    """belt: the encoder's readings; None for a gate that goes by time, where all parts are at 0 and no guess is made."""

    def __init__(self, belt: Belt | None) -> None:
        self._belt = belt
        self._still: tuple[int, int] = (0, 0)  # place of the last trigger, triggers there
        self._guessed: deque[tuple[InFlight, int]] = deque()  # parts of which the encoder was not read since; at what place

    def place_of(self, triggered_ns: int) -> tuple[int, str]:
        """Where the belt was at a trigger, and why its encoder must be taken for dead; empty where it need not."""
        if self._belt is None:
            return 0, ""
        place = self._belt.at(triggered_ns)
        if place is None:
            return 0, "a part came before the encoder said anything"
        self._still = (place, self._still[1] + 1 if self._still[0] == place else 1)
        n = self._still[1]
        return place, f"{n} parts came while the encoder stood at {place}" if n >= _STILL_TRIGGERS else ""

    def placed(self, in_flight: InFlight, place: int) -> None:
        """A part is on the line at that place; noted if it was a guess."""
        if self._belt is not None and not self._belt.knows(in_flight.triggered_ns):
            self._guessed.append((in_flight, place))

    def corrections(self) -> Iterator[tuple[InFlight, int]]:
        """Parts of which the encoder, be it much later, says where the belt was at their trigger: by so many counts further."""
        while self._belt is not None and self._guessed and self._belt.knows(self._guessed[0][0].triggered_ns):
            in_flight, guessed = self._guessed.popleft()
            place = self._belt.at(in_flight.triggered_ns)
            yield in_flight, place - guessed if place is not None else 0

    def reset(self) -> None:
        """A person has looked after the encoder."""
        self._still = (0, 0)

    def clear(self) -> None:
        """Nobody knows any more where the parts are."""
        self._guessed.clear()
