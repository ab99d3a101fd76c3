"""The reject schedule: which part is where between camera and gate, and what happens when it arrives."""

from collections import deque
from dataclasses import dataclass

from agent.inspection import Cause, Outcome, Part, Verdict

_NO_VERDICT = Verdict(Outcome.REJECT, Cause.LATE, "no verdict when the part reached the gate")


@dataclass(slots=True)
class InFlight:
    """A part on its way. planned_ns: when its verdict becomes final and a reject switches the output."""

    part: Part
    triggered_ns: int
    planned_ns: int
    verdict: Verdict | None

    @property
    def final(self) -> Verdict:
        """The verdict at the gate: without one the part is rejected."""
        return self.verdict or _NO_VERDICT


class Schedule:
    """Parts in flight in the order of their triggers, at a fixed delay from the trigger instant; all times in ns.

    Position follows from the trigger, never from when inference finished, so verdicts may come in any order.
    """

    def __init__(self, delay_ns: int) -> None:
        if delay_ns <= 0:
            raise ValueError(f"expected a delay above 0 ns from trigger to gate, got {delay_ns}")
        self._delay_ns = delay_ns
        self._line: deque[InFlight] = deque()
        self._by_part: dict[Part, InFlight] = {}

    def __len__(self) -> int:
        return len(self._line)

    def open(self, part: Part, triggered_ns: int, verdict: Verdict | None = None) -> InFlight:
        """Puts a part on the line; with a verdict where it is known from the start."""
        in_flight = InFlight(part, triggered_ns, triggered_ns + self._delay_ns, verdict)
        self._line.append(in_flight)
        self._by_part[part] = in_flight
        return in_flight

    def tell(self, part: Part, verdict: Verdict) -> bool:
        """Gives a part its verdict; False when it has gone by or has one already: the first verdict stands."""
        in_flight = self._by_part.get(part)
        if in_flight is None or in_flight.verdict is not None:
            return False
        in_flight.verdict = verdict
        return True

    def give_up(self, verdict: Verdict) -> int:
        """Gives every part that waits for a verdict this one, because nobody is left to judge it. Returns how many."""
        waiting = [in_flight for in_flight in self._line if in_flight.verdict is None]
        for in_flight in waiting:
            in_flight.verdict = verdict
        return len(waiting)

    def due(self, now_ns: int) -> list[InFlight]:
        """Takes the parts off the line whose moment has come, first triggered first."""
        arrived: list[InFlight] = []
        while self._line and self._line[0].planned_ns <= now_ns:
            arrived.append(self._line.popleft())
            del self._by_part[arrived[-1].part]
        return arrived

    def wake_ns(self) -> int | None:
        """When the next part is due; None on an empty line."""
        return self._line[0].planned_ns if self._line else None
