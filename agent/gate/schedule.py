"""The reject schedule: which part is where between camera and gate, and what happens when it arrives."""

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass

from agent.inspection import Cause, Outcome, Part, Verdict

_NO_VERDICT = Verdict(Outcome.REJECT, Cause.LATE, "no verdict when the part reached the gate")


@dataclass(slots=True)
class InFlight:
    """A part on its way.

    planned_ns: when its verdict becomes final and a reject switches the output; with an encoder an estimate at nominal speed
    until the part arrives. due: the same as a place: in ns, or in counts of the encoder. recipe: as Closed has it.
    came_held: the line was held when it came, which is why it is rejected.
    """

    part: Part
    triggered_ns: int
    planned_ns: int
    verdict: Verdict | None
    due: int
    recipe: int | None = 0
    came_held: bool = False

    @property
    def final(self) -> Verdict:
        """The verdict at the gate: without one the part is rejected."""
        return self.verdict or _NO_VERDICT


def _passes(verdict: Verdict) -> bool:
    return verdict.outcome is Outcome.PASS


def _judged_otherwise(recipe: int, in_flight: InFlight) -> Verdict:
    return Verdict(Outcome.REJECT, Cause.FAULT, f"judged by recipe {recipe}, but the gate goes by recipe {in_flight.recipe}")


class Schedule:
    """Parts in flight, at a fixed distance from the trigger instant: `delay_ns`, or `counts` of a belt's encoder.

    Position follows from the trigger, never from when inference finished, so verdicts may come in any order. Without an encoder
    the place on the belt is the time; with one it is its forward count, so that a belt that stands or turns back brings nothing.
    """

    def __init__(self, delay_ns: int, counts: int | None = None) -> None:
        if delay_ns <= 0:
            raise ValueError(f"expected a delay above 0 ns from trigger to gate, got {delay_ns}")
        if counts is not None and counts <= 0:
            raise ValueError(f"expected a distance above 0 counts from trigger to gate, got {counts}")
        self._delay_ns = delay_ns
        self._counts = counts
        self._line: list[InFlight] = []
        self._by_part: dict[Part, InFlight] = {}

    def __len__(self) -> int:
        return len(self._line)

    @property
    def parts(self) -> Sequence[InFlight]:
        """In the order of their arrival."""
        return self._line

    def change(self, delay_ns: int, counts: int | None) -> None:
        """The way of parts that come from now on; those on the line keep theirs."""
        self._delay_ns, self._counts = delay_ns, counts

    def open(
        self, part: Part, triggered_ns: int, verdict: Verdict | None = None, place: int = 0, recipe: int | None = 0
    ) -> InFlight:
        """Puts a part on the line; with a verdict where it is known from the start. place: of the trigger, in counts."""
        planned_ns = triggered_ns + self._delay_ns
        due = planned_ns if self._counts is None else place + self._counts
        in_flight = InFlight(part, triggered_ns, planned_ns, verdict, due, recipe)
        self.put(in_flight)
        return in_flight

    def put(self, in_flight: InFlight) -> None:
        """Puts a part on the line that has its way already."""
        insort(self._line, in_flight, key=lambda one: one.due)  # behind its equals: first triggered first
        self._by_part[in_flight.part] = in_flight

    def shift(self, in_flight: InFlight, counts: int) -> None:
        """A part is so many counts further behind than was thought when it was triggered."""
        if counts and in_flight.part in self._by_part:
            self._line.remove(in_flight)
            in_flight.due += counts
            insort(self._line, in_flight, key=lambda one: one.due)

    def tell(self, part: Part, verdict: Verdict, recipe: int = 0) -> bool:
        """Gives a part its verdict; False when it has gone by or has one already: the first verdict stands, but a pass may be
        called back.

        recipe: by which it was judged; by another than the part's own it is rejected, whatever the verdict.
        """
        in_flight = self._by_part.get(part)
        if in_flight is None:
            return False
        given = verdict if recipe == in_flight.recipe else _judged_otherwise(recipe, in_flight)
        if in_flight.verdict is not None and (_passes(given) or not _passes(in_flight.verdict)):
            return False
        in_flight.verdict = given
        return True

    def give_up(self, verdict: Verdict) -> int:
        """Gives every part that waits for a verdict this one, because nobody is left to judge it. Returns how many."""
        waiting = [in_flight for in_flight in self._line if in_flight.verdict is None]
        for in_flight in waiting:
            in_flight.verdict = verdict
        return len(waiting)

    def due(self, place: int) -> list[InFlight]:
        """Takes the parts off the line that have arrived, first triggered first. place: now in ns, or the belt's count."""
        arrived = []
        while self._line and self._line[0].due <= place:
            arrived.append(self._line.pop(0))
            del self._by_part[arrived[-1].part]
        return arrived

    def clear(self) -> list[InFlight]:
        """Takes all parts off the line: nobody knows any more where they are."""
        lost, self._line = self._line, []
        self._by_part.clear()
        return lost

    def rejects_before(self, place: int) -> bool:
        """Whether a part that is to be rejected, as things stand, arrives before that place."""
        return any(one.due < place and one.final.outcome is Outcome.REJECT for one in self._line)

    def wake_ns(self) -> int | None:
        """When the next part is due; None on an empty line, and with an encoder, whose counts wake instead."""
        return self._line[0].due if self._line and self._counts is None else None
