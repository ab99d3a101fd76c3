"""A flap over a belt with an encoder takes off a part to be rejected wherever the belt's speed brings it, and not its neighbors.

The belt has mass (100 ms from standing to full speed), its encoder is read every 5 ms, the flap follows the output a lag later.
"""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from virtual_gate import Output, told

from agent.gate.gate import Gate
from agent.gate.journal import Journal
from agent.gate.line_stop import Reason
from agent.gate.plan import GatePlan
from agent.inspection import Cause, Closed, Outcome, Part, Verdict
from agent.simulation.belt import CATCH_MS, LENGTH_MM, Flap

MS = 1_000_000
PASS = Verdict(Outcome.PASS, Cause.SCORE, "good")
REJECT = Verdict(Outcome.REJECT, Cause.SCORE, "defect")
TRAVEL_MM = 300  # one count for each mm; 1 mm per ms is nominal
RAMP_MS, READ_MS = 100, 5
WARM_MM = 150  # the belt has come to when its legs begin

Leg = tuple[float, int]
"""Of the belt's way: to which speed, mm per ms, and for how many ms."""


def plan(lead_ms: float, pulse_ms: float, **more: float) -> GatePlan:
    return GatePlan(travel_ms=TRAVEL_MM, lead_ms=lead_ms, pulse_ms=pulse_ms, travel_counts=TRAVEL_MM, window_ms=15, **more)


class RecordedFlap(Flap):
    """switched: to what, each time it was to change."""

    def __init__(self, lag_ns: int) -> None:
        super().__init__(lag_ns)
        self.switched: list[bool] = []

    def switch(self, on: bool, now_ns: int) -> None:
        super().switch(on, now_ns)
        self.switched += [on] if on != bool(self.switched and self.switched[-1]) else []


@dataclass
class OnBelt:
    """under_flap: where its front was, mm behind the gate, whenever the flap acted. caught_ms: on the part itself."""

    part: Part
    entered_mm: float
    caught_ms: int = 0
    under_flap: list[float] = field(default_factory=list)


class Line:
    """A part at each of these places, mm, with its verdict; the belt comes to full speed, runs its legs, then at full
    speed until it is empty.

    silent: from which ms on the encoder says nothing, and for how long.
    """

    def __init__(
        self, gate_plan: GatePlan, lag_ms: int, parts: dict[int, Verdict], legs: list[Leg], silent: tuple[int, int] = (0, 0)
    ) -> None:
        self.flap = RecordedFlap(lag_ms * MS)
        self.parts: list[OnBelt] = []
        self.closed: dict[Part, Closed] = {}
        self._moved_mm = self._speed = self._now_ms = 0.0
        self._coming = sorted(parts.items())
        self._silent = range(silent[0], sum(silent))
        with TemporaryDirectory(prefix="k") as folder, Journal(Path(folder), "machine") as journal:
            self.gate = Gate("boot", gate_plan, self.flap, journal)
            for speed, ms in [(1.0, RAMP_MS // 2 + WARM_MM), *legs]:
                self._run(speed, ms)
            for _ in range(20):
                self._run(1.0, 100)

    def _run(self, speed: float, ms: int) -> None:
        for _ in range(ms):
            self._now_ms += 1
            self._speed += max(-1 / RAMP_MS, min(1 / RAMP_MS, speed - self._speed))
            self._moved_mm += self._speed
            self._turn(int(self._now_ms))

    def _turn(self, ms: int) -> None:
        gate, belt = self.gate, self.gate.belt
        assert belt is not None
        is_read = ms % READ_MS == 0 and ms not in self._silent
        if is_read:
            belt.moved(int(self._moved_mm // 1) + (self._speed == 0.0 and ms % 2), ms * MS)  # where it stands it trembles
        if self._coming and self._moved_mm >= self._coming[0][0]:
            _, verdict = self._coming.pop(0)
            self.parts.append(OnBelt(gate.trigger(ms * MS, attached=True).part, self._moved_mm))
            gate.tell(self.parts[-1].part, verdict)
        if is_read or (gate.wake_ns() or ms * MS + 1) <= ms * MS:
            self.closed |= {closed.part: closed for closed in gate.act(ms * MS)}
        self.flap.follow(ms * MS)
        for part in self.parts if self.flap.is_acting else []:
            part.under_flap.append(self._moved_mm - part.entered_mm - TRAVEL_MM)
            part.caught_ms += 0 <= part.under_flap[-1] <= LENGTH_MM


legs = st.lists(st.tuples(st.sampled_from([1.0, 0.6, 0.2, 0.05, 0.0, -0.1]), st.integers(20, 500)), max_size=8)
places = st.lists(st.integers(100, 600), max_size=8, unique_by=lambda mm: mm // 30)
plans = st.sampled_from([(20.0, 40.0, 20), (40.0, 60.0, 20), (40.0, 60.0, 40), (40.0, 30.0, 40), (30.0, 10.0, 25)])


@settings(max_examples=60)
@given(plans, places, places, legs, st.tuples(st.integers(300, 1500), st.integers(0, 25)))
def test_no_part_to_be_rejected_goes_by_untouched_unless_its_record_says_so(
    widths: tuple[float, float, int], bad: list[int], good: list[int], legs: list[Leg], silent: tuple[int, int]
) -> None:
    lead_ms, pulse_ms, lag_ms = widths

    line = Line(plan(lead_ms, pulse_ms), lag_ms, dict.fromkeys(good, PASS) | dict.fromkeys(bad, REJECT), legs, silent)

    records = [(line.closed[part.part], part) for part in line.parts]
    rejected = [(closed, part) for closed, part in records if closed.verdict.outcome is Outcome.REJECT]
    assert len(rejected) == len(set(bad))
    assert [part for closed, part in rejected if part.caught_ms < CATCH_MS and not closed.problem] == []
    assert line.gate.is_at_rest


slow_legs = st.lists(st.tuples(st.sampled_from([1.0, 0.2, 0.05, 0.02, 0.0, -0.1]), st.integers(20, 2500)), max_size=4)


@settings(max_examples=40)
@given(plans, places, slow_legs, st.sampled_from([60, 100, 400, 2000]))
@example((40.0, 30.0, 40), [200], [(1.0, 290), (0.02, 2500), (0.02, 2500)], 400)  # cut just before the front is at the gate
def test_no_part_whose_output_was_cut_goes_by_untouched_unless_its_record_says_so(
    widths: tuple[float, float, int], bad: list[int], legs: list[Leg], longest_on_ms: int
) -> None:
    lead_ms, pulse_ms, lag_ms = widths

    line = Line(plan(lead_ms, pulse_ms, longest_on_ms=longest_on_ms), lag_ms, dict.fromkeys(bad, REJECT), legs)

    assert [part for part in line.parts if part.caught_ms < CATCH_MS and not line.closed[part.part].problem] == []
    assert line.gate.is_at_rest


STEADY = pytest.mark.parametrize("speed", [1.0, 0.6, 0.2, 0.05])
READ_COUNTS = 3  # of a place: the trigger's and two of the encoder are whole counts


@STEADY
@pytest.mark.parametrize(("lead_ms", "pulse_ms"), [(20, 40), (40, 60), (40, 40)])
def test_the_flap_acts_from_the_parts_front_to_the_pulses_width_behind_it_at_any_steady_speed(
    speed: float, lead_ms: int, pulse_ms: int
) -> None:
    line = Line(plan(lead_ms, pulse_ms), lead_ms, {100: REJECT}, [(speed, round(500 / speed))])

    (part,) = line.parts
    assert -lead_ms - READ_COUNTS <= part.under_flap[0] <= READ_COUNTS + READ_MS * speed
    assert pulse_ms - READ_COUNTS <= part.under_flap[-1] <= pulse_ms + READ_COUNTS + READ_MS * speed


@STEADY
def test_a_good_part_a_pulses_width_behind_a_bad_one_is_not_taken_with_it(speed: float) -> None:
    line = Line(plan(40, 60), 40, {100: REJECT, 168: PASS}, [(speed, round(600 / speed))])

    bad, good = line.parts
    assert bad.caught_ms >= CATCH_MS
    assert good.caught_ms == 0


def test_the_output_is_not_off_before_the_front_is_at_the_gate_even_where_the_lead_is_longer_than_the_pulse() -> None:
    """Else a belt that stops dead within the lead would bring the part after its pulse."""
    line = Line(plan(lead_ms=40, pulse_ms=5), 40, {100: REJECT}, [])

    assert line.parts[0].under_flap[-1] >= 40 - READ_COUNTS


@pytest.mark.parametrize("stands_ms", [20, 300, 3000])
@pytest.mark.parametrize("at_mm", range(255, 330, 15))
def test_a_part_is_taken_off_wherever_in_its_stretch_the_belt_stands_still_and_goes_on(at_mm: int, stands_ms: int) -> None:
    until_ms = at_mm - (WARM_MM - 100) - RAMP_MS // 2  # it needs half of that way to stand

    line = Line(plan(20, 40), 20, {100: REJECT}, [(1.0, until_ms), (0.0, RAMP_MS + stands_ms)])

    (part,) = line.parts
    assert part.caught_ms >= CATCH_MS
    assert line.closed[part.part].problem == ""
    assert line.gate.held == {}


@pytest.mark.parametrize("at_mm", range(255, 360, 15))
def test_a_part_is_taken_off_wherever_in_its_stretch_the_belt_turns_back(at_mm: int) -> None:
    until_ms = at_mm - (WARM_MM - 100) - RAMP_MS // 2  # it needs half of that way to stand

    line = Line(plan(20, 40), 20, {100: REJECT}, [(1.0, until_ms), (-0.1, RAMP_MS + 300)])

    (part,) = line.parts
    assert part.caught_ms >= CATCH_MS
    assert line.closed[part.part].problem == ""


@pytest.mark.parametrize(
    ("pitch_mm", "switches"),
    [(50, [True, False]), (75, [True, False]), (95, [True, False, True, False])],
    ids=["within the pulse", "within the gap", "beyond it"],
)
def test_rejects_closer_than_pulse_and_gap_share_one_pulse(pitch_mm: int, switches: list[bool]) -> None:
    line = Line(plan(40, 60, gap_ms=20), 40, {100: REJECT, 100 + pitch_mm: REJECT}, [])

    assert line.flap.switched == switches
    assert [part.caught_ms >= CATCH_MS for part in line.parts] == [True, True]


def test_within_the_gap_nothing_is_held_for_a_good_part() -> None:
    line = Line(plan(40, 60, gap_ms=20), 40, {100: REJECT, 175: PASS}, [])

    assert line.parts[0].under_flap[-1] <= 60 + READ_COUNTS + READ_MS


def test_an_output_that_the_belt_wants_on_for_too_long_goes_off_and_holds_the_line() -> None:
    line = Line(plan(40, 60, longest_on_ms=200), 40, dict.fromkeys(range(100, 500, 40), REJECT), [])

    assert line.flap.switched[:2] == [True, False]
    assert Reason.OUTPUT_TOO_LONG in line.gate.held
    assert not line.flap.is_acting


@pytest.mark.parametrize("falls", [True, False])
def test_a_belt_that_stops_before_the_gate_does_not_use_up_the_time_to_the_sensor_behind_it(
    journal: Journal, output: Output, falls: bool
) -> None:
    sensed = GatePlan(travel_ms=600, travel_counts=12_000, lead_ms=40, pulse_ms=30, confirm_ms=400)
    gate = Gate("boot", sensed, output, journal, confirms=True)

    def count(ms: int) -> int:  # 20 a ms, and none between 570 and 2570 ms
        return 20 * (ms if ms < 570 else max(570, ms - 2000))

    held_ms = []
    for ms in range(0, 4000, 5):
        gate.belt_read(count(ms), ms * MS, ms * MS)
        if ms == 0:
            told(gate, 0, REJECT)
        if falls and ms == 2700:  # 100 ms behind the gate
            gate.confirmation.seen(ms * MS)
        gate.act(ms * MS)
        held_ms += [ms] * (Reason.NOT_CONFIRMED in gate.held)

    assert held_ms[:1] == ([] if falls else [3035])  # through the gate with the pulse's width at 2630
