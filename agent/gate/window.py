"""Where the belt has to be for the output to be on, for a gate that goes by an encoder; and whether it was."""

from dataclasses import dataclass

from agent.gate.schedule import InFlight


@dataclass(slots=True)
class Stretch:
    """The way of one part to be rejected through the gate, in forward counts.

    unguarded: of it, on which the belt moved while the output was off. at_ns, problem: what the output answered, once it has.
    """

    in_flight: InFlight
    first: int
    last: int
    unguarded: int = 0
    at_ns: int | None = None
    problem: str = ""


class Windows:
    """By time alone a slow belt would bring the part after its pulse, so the output follows the belt: it is on
    as long as the belt moves within a stretch, and comes on again when a belt that stood there goes on.

    counts: length of a stretch. spare: of it, so much may go by with the output off, which is what it needs to come on.
    """

    def __init__(self, counts: int, spare: int) -> None:
        self._counts = counts
        self._spare = spare
        self._open: list[Stretch] = []
        self._place: int | None = None

    def __len__(self) -> int:
        return len(self._open)

    @property
    def parts(self) -> list[InFlight]:
        """On their way through the gate."""
        return [stretch.in_flight for stretch in self._open]

    def change(self, counts: int, spare: int) -> None:
        """For parts that come to the gate from now on."""
        self._counts, self._spare = counts, spare

    def reject(self, in_flight: InFlight) -> None:
        """A part to be rejected is at the gate, where the output switches for it."""
        self._open.append(Stretch(in_flight, in_flight.due, in_flight.due + self._counts))

    def answered(self, in_flight: InFlight, at_ns: int, problem: str) -> None:
        """The output is on for this part since then."""
        for stretch in self._open:
            if stretch.in_flight is in_flight:
                stretch.at_ns, stretch.problem = at_ns, problem

    def moved(self, place: int, is_on: bool) -> bool:
        """Whether the output has to be on: the belt moves within a stretch. place: its forward count. is_on: until now."""
        before, self._place = self._place if self._place is not None else place, place
        for stretch in self._open:
            if not is_on:
                stretch.unguarded += max(0, min(place, stretch.last) - max(before, stretch.first))
        return place != before and any(stretch.first <= place < stretch.last for stretch in self._open)

    def gone(self) -> list[Stretch]:
        """Takes off the list the parts that have gone through the gate and whose output has answered."""
        place = self._place or 0
        gone = [stretch for stretch in self._open if stretch.last <= place and stretch.at_ns is not None]
        self._open = [stretch for stretch in self._open if stretch not in gone]
        for stretch in gone:
            if stretch.unguarded > self._spare and not stretch.problem:
                stretch.problem = f"the belt moved {stretch.unguarded} counts through the gate with the output off"
        return gone

    def clear(self, in_flight: InFlight | None = None) -> list[InFlight]:
        """Takes all off the list, or one: its output has failed, or nobody knows where the belt is."""
        cleared = [one.in_flight for one in self._open if in_flight in (None, one.in_flight)]
        self._open = [one for one in self._open if one.in_flight not in cleared]
        return cleared
