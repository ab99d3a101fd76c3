"""The one place that says what passes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from agent.inspection import Cause, Fault, Outcome, Reading, Verdict

_LONGEST_DETAIL = 500  # characters; a verdict must fit the link to the gate many times over


@dataclass(frozen=True, slots=True)
class Policy:
    """What a station tolerates.

    threshold: a part passes only below it, in the unit of the raw score; bound to the artefact that runs.
    """

    threshold: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise ValueError(f"expected a finite threshold, got {self.threshold}")


def strictest(verdicts: Sequence[Verdict]) -> int:
    """Which of the verdicts on the photographs of one part is the part's: it is rejected if any rejects, as not inspected if any
    camera could not see it. Of equals the first.

    >>> good, fault = Verdict(Outcome.PASS, Cause.SCORE, ""), Verdict(Outcome.REJECT, Cause.FAULT, "")
    >>> strictest([good, fault])
    1
    """
    ranks = [(verdict.outcome is Outcome.REJECT, verdict.cause is Cause.FAULT) for verdict in verdicts]
    return ranks.index(max(ranks))


def decide(reading: Reading, policy: Policy) -> Verdict:
    """The verdict on one reading; total: every reading gets one, and only a finite raw score below the threshold passes.

    >>> decide(Fault("camera lost"), Policy(threshold=4.0)).cause
    <Cause.FAULT: 'fault'>
    """
    if isinstance(reading, Fault):
        return Verdict(Outcome.REJECT, Cause.FAULT, reading.reason[:_LONGEST_DETAIL])
    if not math.isfinite(reading.raw):
        return Verdict(Outcome.REJECT, Cause.FAULT, f"raw score is {reading.raw}")
    passes = reading.raw < policy.threshold
    detail = f"score {reading.score:.3f}, raw {reading.raw:.6g} against {policy.threshold:.6g}"
    return Verdict(Outcome.PASS if passes else Outcome.REJECT, Cause.SCORE, detail)
