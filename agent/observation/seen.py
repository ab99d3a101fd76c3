"""One part as all its cameras saw it, on its way from the hot path to whoever may look at it later."""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.inspection import Measured, Part, Reading, Shot, Verdict
from agent.preprocess import InputContract


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Each in the order of the cameras. contracts: of the models that judged. deciding: whose verdict is the part's."""

    shots: Sequence[Shot]
    readings: Sequence[Reading]
    numbers: Sequence[Measured]
    verdicts: Sequence[Verdict]
    contracts: Sequence[InputContract]
    deciding: int

    @property
    def part(self) -> Part:
        return self.shots[0].part

    @property
    def verdict(self) -> Verdict:
        """The part's."""
        return self.verdicts[self.deciding]
