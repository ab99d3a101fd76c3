"""Why the line is asked to stand still until a person says that it may go on."""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from agent.inspection import Outcome, Verdict


class Reason(Enum):
    """REJECTS_IN_A_ROW, REJECTS_OF_LAST: the process makes bad parts. NOT_CONFIRMED: a reject did not fall into its bin.
    WENT_BY: a part to be rejected has passed the gate. EJECTOR: the output cannot be driven. OUTPUT_TOO_LONG: it was wanted on
    for longer than it may. ENCODER: nobody knows where the parts are. CRASH_LOOP: inspection was restarted too often.
    PLC_OVERRUN: the PLC does not take its results. RECIPE: the recipe that ran before a restart is not there any more.
    UNREADABLE: what was held before a restart cannot be read."""

    REJECTS_IN_A_ROW = "rejects-in-a-row"
    REJECTS_OF_LAST = "rejects-of-last"
    NOT_CONFIRMED = "reject-not-confirmed"
    WENT_BY = "part-went-by"
    EJECTOR = "ejector-failed"
    OUTPUT_TOO_LONG = "output-too-long"
    ENCODER = "encoder-lost"
    CRASH_LOOP = "crash-loop"
    PLC_OVERRUN = "plc-overrun"
    RECIPE = "recipe-gone"
    UNREADABLE = "orders-unreadable"


@dataclass(frozen=True, slots=True)
class Rules:
    """in_a_row: rejects one after the other that stop the line. of_last: (M, K): M rejects among the last K parts do."""

    in_a_row: int | None = None
    of_last: tuple[int, int] | None = None


@dataclass(slots=True)
class LineStop:
    """Latched reasons with what a person should know; while there is one, the line should stand and each part is rejected."""

    rules: Rules
    held: dict[Reason, str] = field(default_factory=dict)
    _in_a_row: int = 0
    _last: deque[bool] = field(default_factory=deque)

    def hold(self, reason: Reason, detail: str) -> bool:
        """True where it was not held for this reason already."""
        if reason in self.held:
            return False
        self.held[reason] = detail
        return True

    def reset(self) -> None:
        """A person has looked: the counts begin anew."""
        self.held.clear()
        self._in_a_row = 0
        self._last.clear()

    def broken_by(self, verdict: Verdict) -> list[tuple[Reason, str]]:
        """Which rules this closed part breaks, and how."""
        rejected = verdict.outcome is Outcome.REJECT
        self._in_a_row = self._in_a_row + 1 if rejected else 0
        broken = []
        if self.rules.in_a_row is not None and self._in_a_row >= self.rules.in_a_row:
            broken.append((Reason.REJECTS_IN_A_ROW, f"{self._in_a_row} parts in a row were rejected"))
        if self.rules.of_last is not None:
            most, window = self.rules.of_last
            self._last.append(rejected)
            if len(self._last) > window:
                self._last.popleft()
            if sum(self._last) >= most:
                broken.append((Reason.REJECTS_OF_LAST, f"{sum(self._last)} of the last {len(self._last)} parts were rejected"))
        return broken
