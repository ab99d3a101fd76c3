"""A gate in virtual time: its plans, an output that does what the test says, and what happened to its parts."""

from agent.ejectors import Switched
from agent.gate.gate import Gate
from agent.gate.plan import GatePlan
from agent.inspection import Cause, Closed, Outcome, Part, Verdict

MS = 1_000_000
PASS = Verdict(Outcome.PASS, Cause.SCORE, "good")
REJECT = Verdict(Outcome.REJECT, Cause.SCORE, "defect")
BY_TIME = GatePlan(travel_ms=120, lead_ms=20, pulse_ms=30, gap_ms=10, longest_on_ms=200, window_ms=50)
BY_COUNTS = GatePlan(travel_ms=120, lead_ms=20, pulse_ms=30, longest_on_ms=200, travel_counts=-1200)
DELAY_NS = 100 * MS  # of both plans: travel less lead


class Output:
    """An output in virtual time. answers_after: turns until it answers. error: what it answers with."""

    def __init__(self) -> None:
        self.on_since_ns: int | None = None
        self.longest_ns = 0
        self.on_at: list[int] = []
        self.off_at: list[int] = []
        self.error = ""
        self.is_slow = False
        self._answers: list[Switched] = []

    def switch(self, on: bool, now_ns: int) -> None:
        if not self.error:
            (self.on_at if on else self.off_at).append(now_ns)
            if on and self.on_since_ns is None:
                self.on_since_ns = now_ns
            if not on and self.on_since_ns is not None:
                self.longest_ns = max(self.longest_ns, now_ns - self.on_since_ns)
                self.on_since_ns = None
        self._answers.append(Switched(on, now_ns, self.error))

    def answers(self) -> list[Switched]:
        if self.is_slow:
            return []
        answers, self._answers = self._answers, []
        return answers

    def answer_at(self, ns: int) -> None:
        """A slow one has done what it was asked for, only now."""
        self.is_slow = False
        self._answers = [Switched(answer.on, ns) for answer in self._answers]

    def problem(self) -> str | None:
        return self.error or None

    def filenos(self) -> list[int]:
        return []


def told(gate: Gate, ns: int, verdict: Verdict | None) -> Part:
    """A part triggered then, and its verdict."""
    part = gate.trigger(ns, attached=True).part
    if verdict is not None:
        gate.tell(part, verdict)
    return part


def alarms(gate: Gate) -> list[str]:
    """Takes all that wait."""
    names = []
    while (alarm := gate.alarms.next()) is not None:
        names.append(alarm.name)
        gate.alarms.taken()
    return names


def acted(gate: Gate, until_ns: int, step_ns: int = MS) -> list[Closed]:
    """What closes while the gate is looked at every millisecond."""
    return [closed for ns in range(0, until_ns + 1, step_ns) for closed in gate.act(ns)]
