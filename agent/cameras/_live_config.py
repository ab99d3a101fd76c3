"""What the sections of all real cameras have, and what is counted of each."""

from dataclasses import dataclass
from typing import Annotated

import msgspec


class LiveConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the sections of all real cameras have.

    timeout_ms: from the trigger until its frame must be there; shorter than the shortest time between two parts, else a lost
    frame could be taken for the next part's. delay_ms: how long a frame of the trigger's instant is on its way at least; earlier
    ones show what was before. Below 0 where Kensa hears of a trigger later than the camera: the frame may be there before it.
    same_in_a_row: so many equal images are a frozen camera; a sensor's noise makes even two impossible; None for a source that
    is drawn and not seen.
    """

    timeout_ms: Annotated[float, msgspec.Meta(gt=0, le=60_000)] = 500.0
    delay_ms: Annotated[float, msgspec.Meta(ge=-60_000, le=60_000)] = 0.0
    same_in_a_row: Annotated[int, msgspec.Meta(ge=2)] | None = 2

    def __post_init__(self) -> None:
        if self.delay_ms >= self.timeout_ms:
            raise ValueError(f"delay_ms {self.delay_ms} must be smaller than timeout_ms {self.timeout_ms}")


@dataclass(slots=True)
class Counts:
    """Since the process began. torn: came, but not whole. unasked: belonged to no trigger. missed: triggers without a frame."""

    frames: int = 0
    torn: int = 0
    unasked: int = 0
    missed: int = 0
    times_lost: int = 0
