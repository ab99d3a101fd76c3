"""The parts that are to be rejected, from the gate on: when they are through, and by an encoder where the belt has to be for the
output to be on, and whether it was."""

from dataclasses import dataclass
from enum import Enum

from agent.gate.schedule import InFlight


class Wish(Enum):
    """What the output has to do for the parts that are to be rejected. STAY: as it is, the belt stands."""

    ON = "on"
    STAY = "stay"
    OFF = "off"


@dataclass(slots=True)
class Stretch:
    """The way of one part to be rejected through the gate, in forward counts.

    first: the output switches. arrival: the part's front is at the gate. last: the pulse's width behind that.
    is_let_go: the output may go off, what it still does until it has obeyed is enough for the rest.
    unguarded: of the way, on which the belt moved while the output was off and ought not to be; unguarded_part: behind arrival.
    is_answered: the output has said since when it is on (at_ns; None where nobody can say), and why the part may not be ejected.
    """

    in_flight: InFlight
    first: int
    arrival: int
    last: int
    is_let_go: bool = False
    unguarded: int = 0
    unguarded_part: int = 0
    is_answered: bool = False
    at_ns: int | None = None
    problem: str = ""

    def came(self, before: int, place: int, why_off: str) -> None:
        """The belt came from there to here with the output off. why_off: it was kept off; empty where it was not."""
        counts = max(0, min(place, self.last) - max(before, self.first))
        self.unguarded += counts
        self.unguarded_part += max(0, min(place, self.last) - max(before, self.arrival))
        if counts:
            self.problem = self.problem or why_off

    @property
    def is_unguarded(self) -> bool:
        """More went by than the lead, which the output needs to come on, or than half of the way on which it does its work; one
        count goes by whenever a belt that stood goes on."""
        return self.unguarded > self.arrival - self.first or self.unguarded_part > max(1, (self.last - self.arrival) // 2)


class Windows:
    """By time alone a slow belt would bring the part after its pulse, so the output follows the belt: it is on
    as long as the belt moves within a stretch, and comes on again when a belt that stood there goes on.

    What drives the gate obeys the lead later. So the output goes off as far before the end as the belt came in that time lately,
    and never before the part's front is at the gate: a belt that stops within the lead would bring the part after its pulse.

    counts: length of a stretch. lead: of it, until the part's front is at the gate.
    """

    def __init__(self, counts: int, lead: int) -> None:
        self._counts = counts
        self._lead = lead
        self._open: list[Stretch] = []
        self._place: int | None = None

    def __len__(self) -> int:
        return len(self._open)

    @property
    def parts(self) -> list[InFlight]:
        """On their way through the gate."""
        return [stretch.in_flight for stretch in self._open]

    def change(self, counts: int, lead: int) -> None:
        """For parts that come to the gate from now on."""
        self._counts, self._lead = counts, lead

    def reject(self, in_flight: InFlight) -> None:
        """A part to be rejected is at the gate, where the output switches for it."""
        due = in_flight.due
        self._open.append(Stretch(in_flight, due, due + self._lead, due + self._counts))

    @property
    def place(self) -> int:
        """Where the belt is, less its trembling."""
        return self._place or 0

    def answered(self, in_flight: InFlight, at_ns: int | None, problem: str) -> None:
        """The output is on for this part since then, or has failed. Of one that is not on the list this says nothing."""
        for stretch in self._open:
            if stretch.in_flight is in_flight:
                stretch.is_answered, stretch.at_ns, stretch.problem = True, at_ns, stretch.problem or problem

    def failed(self, problem: str) -> None:
        """Nobody knows whether the output is on for the parts in the gate."""
        for stretch in self._open:
            if stretch.first <= self.place and not stretch.is_let_go:
                stretch.problem = stretch.problem or problem

    def moved(self, place: int, coming: int, is_on: bool, why_off: str = "") -> Wish:
        """What the output has to do. place: the belt's forward count. coming: how far it comes in the lead. is_on: until now.

        why_off: it is kept off, whatever is wanted; a part that moves meanwhile is told of, however short its way.
        """
        before = self._place if self._place is not None else place
        place = self._place = max(place, min(before, place + 1))  # where a belt stands, its encoder trembles by a count
        wanted = False
        for stretch in self._open:
            if not is_on and not stretch.is_let_go:
                stretch.came(before, place, why_off)
            stretch.is_let_go = place >= stretch.arrival and place + coming >= stretch.last
            wanted = wanted or (stretch.first <= place and not stretch.is_let_go)
        if not wanted:
            return Wish.OFF
        return Wish.ON if place != before else Wish.STAY

    def gone(self, place: int) -> list[Stretch]:
        """Takes off the list the parts whose output has failed, and those that are through and whose output was on. place: of the
        belt, or now in ns."""
        gone = [one for one in self._open if one.is_answered and (one.at_ns is None or one.last <= place)]
        self._open = [stretch for stretch in self._open if stretch not in gone]
        for stretch in gone:
            if stretch.is_unguarded and not stretch.problem:
                stretch.problem = f"the belt moved {stretch.unguarded} counts through the gate with the output off"
        return gone

    def clear(self) -> list[InFlight]:
        """Takes all off the list: nobody knows where the belt is."""
        cleared, self._open = self.parts, []
        return cleared
