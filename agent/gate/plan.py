"""The section `gate` of a line: the way from camera to gate, the pulse, and when the line has to stand."""

import math
from typing import Annotated

import msgspec

Positive = Annotated[float, msgspec.Meta(gt=0, le=3_600_000)]
NotNegative = Annotated[float, msgspec.Meta(ge=0, le=3_600_000)]


class StopRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When the line is asked to stand until a person resets the gate. in_a_row: so many rejects one after the other.

    rejects, of_last: so many rejects among the last so many parts. part_went_by: a part to be rejected may have passed the gate.
    no_inspection: as long as no inspection process is attached; ends by itself. Some faults stop the line without being asked:
    an ejector that fails, a lost encoder, a reject not confirmed, inspection restarted five times in ten minutes.
    """

    in_a_row: Annotated[int, msgspec.Meta(ge=1)] | None = None
    rejects: Annotated[int, msgspec.Meta(ge=1)] | None = None
    of_last: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    part_went_by: bool = False
    no_inspection: bool = False

    def __post_init__(self) -> None:
        if (self.rejects is None) != (self.of_last is None):
            raise ValueError("rejects and of_last belong together: give both or none")
        if self.rejects is not None and self.of_last is not None and self.rejects > self.of_last:
            raise ValueError(f"rejects {self.rejects} cannot be more than of_last {self.of_last}")


class GatePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The way from camera to reject gate, in ms.

    travel_ms: trigger to gate. lead_ms: how long before the part's arrival the output must switch; a part without a
    verdict by then is rejected. pulse_ms: how long the output stays on.
    travel_counts: the same way by the section `encoder`, below zero where that counts down; travel_ms, lead_ms and pulse_ms are
    then ways of the belt too, those at nominal speed. gap_ms: shortest time off between pulses. longest_on_ms: the output is
    never on for longer.
    window_ms: a pulse later than this may have missed its part. late_ms: an alarm when the 99th percentile is later.
    debounce_ms: edges closer than this are one part, where trigger or sensor can bounce. stuck_ms: an input that is active for
    longer is told of. confirm_ms: how long a rejected part may need to the section `confirm`.
    """

    travel_ms: Positive
    lead_ms: NotNegative = 20.0
    pulse_ms: Positive = 30.0
    travel_counts: int | None = None
    gap_ms: NotNegative = 0.0
    longest_on_ms: Positive = 2000.0
    window_ms: Positive = 50.0
    debounce_ms: Positive = 1.0
    stuck_ms: Positive = 2000.0
    late_ms: Positive = 5.0
    confirm_ms: Positive = 500.0
    stop: StopRules = StopRules()

    def __post_init__(self) -> None:
        if self.lead_ms >= self.travel_ms:
            raise ValueError(f"lead_ms {self.lead_ms} must be smaller than travel_ms {self.travel_ms}")
        if self.longest_on_ms < self.pulse_ms:
            raise ValueError(f"longest_on_ms {self.longest_on_ms} must not be smaller than pulse_ms {self.pulse_ms}")
        if self.travel_counts is not None and self.longest_on_ms < self.lead_ms:  # on until the part's front is at the gate
            found = f"longest_on_ms {self.longest_on_ms} must not be smaller than lead_ms {self.lead_ms}"
            raise ValueError(f"{found}: with an encoder the output is on for so long before a part is at the gate")
        if self.travel_counts == 0:
            raise ValueError("travel_counts must not be 0")

    @property
    def delay_ns(self) -> int:
        """Trigger to the moment in which the output must switch."""
        return round((self.travel_ms - self.lead_ms) * 1e6)

    @property
    def delay_counts(self) -> int | None:
        """The same in forward counts of the encoder; None without one."""
        if self.travel_counts is None:
            return None
        return max(1, round(abs(self.travel_counts) * (1 - self.lead_ms / self.travel_ms)))

    @property
    def fastest_counts(self) -> float:
        """Counts of the encoder in a ns that no belt exceeds, either way: four times the nominal speed; 0 without one."""
        return 4 * abs(self.travel_counts or 0) / (self.travel_ms * 1e6)

    @property
    def lead_counts(self) -> int:
        """Forward counts of the encoder in lead_ms at nominal speed; 0 without one."""
        return abs(self.travel_counts or 0) - (self.delay_counts or 0)

    @property
    def window_counts(self) -> int:
        """From where the output switches to the pulse's width behind where the part's front is at the gate. 0 without one."""
        return math.ceil(abs(self.travel_counts or 0) * (self.lead_ms + self.pulse_ms) / self.travel_ms)
