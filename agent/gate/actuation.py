"""The gate's output: what was asked of it, what it answered, and when its pulse ends."""

from collections import deque
from dataclasses import dataclass

from agent.ejectors import Ejector
from agent.gate.lateness import Lateness
from agent.gate.plan import GatePlan
from agent.gate.pulse import Pulse
from agent.gate.schedule import InFlight

_OFF_AGAIN_NS = 100_000_000  # after an output did not go off


@dataclass(frozen=True, slots=True)
class Ejected:
    """The answer of the output. in_flight: the part it was for; None for other switches. on: what was asked for. error: why it
    may not have happened."""

    in_flight: InFlight | None
    on: bool
    at_ns: int
    error: str


class Actuation:
    """One output and its pulse; `now_ns` is an argument. len: parts whose pulse was asked for and not answered."""

    def __init__(self, ejector: Ejector, plan: GatePlan) -> None:
        self.pulse = Pulse(round(plan.pulse_ms * 1e6), round(plan.gap_ms * 1e6), round(plan.longest_on_ms * 1e6))
        self.lateness = Lateness()
        self._ejector = ejector
        self._asked: deque[InFlight | None] = deque()
        self._off_again_ns: int | None = None  # when it is told to go off once more; None while it has not failed to

    def __len__(self) -> int:
        return sum(asked is not None for asked in self._asked)

    @property
    def is_at_rest(self) -> bool:
        """Off, and no answer to come."""
        return not self._asked and not self.pulse.is_on

    def eject(self, in_flight: InFlight | None, now_ns: int) -> None:
        """Asks for a pulse; None: once more, for parts that have been ejected already as far as anybody knows.

        Raises EjectorError.
        """
        self._ejector.switch(on=True, now_ns=now_ns)
        self._asked.append(in_flight)
        self._off_again_ns = None
        self.pulse.reject(now_ns)

    def switch_off(self, now_ns: int) -> None:
        self.pulse.ended(now_ns)
        self._off_again_ns = None
        self._asked.append(None)
        self._ejector.switch(on=False, now_ns=now_ns)

    def answers(self) -> list[Ejected]:
        """What became of what was asked, since the last call."""
        heard = []
        for answer in self._ejector.answers():
            asked = self._asked.popleft()
            if asked is not None and not answer.error:
                self.pulse.confirmed(answer.at_ns)
                self.lateness.add(answer.at_ns - asked.planned_ns)
            if answer.error and not answer.on and not self.pulse.is_on:
                self._off_again_ns = answer.at_ns + _OFF_AGAIN_NS
            heard.append(Ejected(asked, answer.on, answer.at_ns, answer.error))
        return heard

    def has_to_end(self, now_ns: int) -> bool:
        """Whether the pulse is over, or the output did not go off at its end.

        Asked to go off before it has said that it is on, the output would give no pulse at all.
        """
        if self._off_again_ns is not None:
            return now_ns >= self._off_again_ns
        return self.pulse.is_over(now_ns) and (not len(self) or self.pulse.is_too_long(now_ns))

    def wake_ns(self) -> int | None:
        """When the pulse ends, as far as it is known, or the output is told once more to go off."""
        if self._off_again_ns is not None:
            return self._off_again_ns
        return None if len(self) else self.pulse.off_ns
