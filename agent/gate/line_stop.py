"""Why the line is asked to stand still until a person says that it may go on, and the rules by which rejects ask for it."""

from collections import deque
from enum import Enum

from agent.gate.plan import StopRules
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


class Rejects:
    """Of the parts that closed lately, and which rules of the line they break."""

    def __init__(self, rules: StopRules) -> None:
        self._rules = rules
        self._in_a_row = 0
        self._last: deque[bool] = deque(maxlen=rules.of_last or 0)

    def reset(self) -> None:
        """A person has looked: the counts begin anew."""
        self._in_a_row = 0
        self._last.clear()

    def broken_by(self, verdict: Verdict) -> list[tuple[Reason, str]]:
        """Which rules this closed part breaks, and how."""
        rejected = verdict.outcome is Outcome.REJECT
        self._in_a_row = self._in_a_row + 1 if rejected else 0
        self._last.append(rejected)
        broken = []
        if self._rules.in_a_row is not None and self._in_a_row >= self._rules.in_a_row:
            broken.append((Reason.REJECTS_IN_A_ROW, f"{self._in_a_row} parts in a row were rejected"))
        if self._rules.rejects is not None and sum(self._last) >= self._rules.rejects:
            broken.append((Reason.REJECTS_OF_LAST, f"{sum(self._last)} of the last {len(self._last)} parts were rejected"))
        return broken
