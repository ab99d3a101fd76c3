"""The order of a change-over, and what holds whatever is lost, late, killed or refused in the midst of it."""

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.gate.change_over import WITHIN_NS, ChangeOver, Keep, Phase, Tell
from agent.gate.schedule import Schedule
from agent.inspection import Cause, Outcome, Part, Verdict

S = 1_000_000_000
NAMES = {1: "cap", 2: "lid", 3: "ring"}


class Asker:
    """Somebody who wishes a recipe, and what he hears of it."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def __call__(self, refusal: str) -> None:
        self.heard.append(refusal)


def attached_line() -> ChangeOver:
    """Recipe 1 runs and the inspection process judges by it."""
    changes = ChangeOver(NAMES, 1)
    changes.attached(1)
    return changes


def preparing(asker: Asker) -> ChangeOver:
    """On its way to recipe 2: the inspection process has been told."""
    changes = attached_line()
    changes.ask(2, "the PLC", asker, 0)
    changes.step(0, 0)
    changes.was_told(True)
    return changes


def test_a_change_over_sees_parts_out_tells_inspection_keeps_the_number_and_only_then_runs() -> None:
    changes, asker = attached_line(), Asker()
    changes.ask(2, "the PLC", asker, 0)

    draining = changes.step(3, 1)
    told = changes.step(0, 2)
    changes.was_told(True)
    waiting = changes.step(0, 3)
    changes.answered(2, 2, "", 4)
    kept = changes.step(0, 5)
    before = (changes.current, changes.of_new_part, bool(changes.unsettled), asker.heard[:])
    run = changes.was_kept("")

    assert (draining, told, waiting, kept, run) == (None, Tell(2, "the PLC"), None, Keep(2), True)
    assert before == (1, None, True, [])
    assert (changes.current, changes.of_new_part, changes.unsettled, asker.heard) == (2, 2, "", [""])


def test_from_the_wish_on_no_part_may_be_judged() -> None:
    changes = attached_line()
    settled = changes.unsettled

    changes.ask(2, "the PLC", Asker(), 0)

    assert settled == ""
    assert changes.unsettled.startswith("change-over to recipe 2 (lid): ")
    assert changes.of_new_part is None


@pytest.mark.parametrize(
    ("names", "says"),
    [(NAMES, "there is no recipe 9, this line has 1 (cap), 2 (lid), 3 (ring)"), ({}, "none: its file has no `recipes`")],
    ids=["unknown", "no recipes"],
)
def test_a_number_that_is_not_there_is_refused_at_once_with_those_that_are(names: dict[int, str], says: str) -> None:
    changes, asker = ChangeOver(names, min(names, default=0)), Asker()

    changes.ask(9, "the PLC", asker, 0)

    assert says in asker.heard[0]
    assert (changes.unsettled, changes.phase) == ("", Phase.RUNS)
    assert [name for name, _ in changes.alarms] == ["recipe-unknown"]


def test_the_recipe_that_runs_already_is_acknowledged_and_nothing_changes() -> None:
    changes, asker = attached_line(), Asker()

    changes.ask(1, "the PLC", asker, 0)

    assert (asker.heard, changes.unsettled) == ([""], "")


def test_the_recipe_that_should_run_and_is_not_there_is_answered_with_the_reason() -> None:
    changes, asker = attached_line(), Asker()
    changes.attached(2)
    changes.step(0, 0)
    changes.was_told(True)
    changes.answered(1, 2, "manifest.json is missing", 1)

    changes.ask(1, "a person", asker, 2)

    assert asker.heard == ["recipe 1 is not there yet: manifest.json is missing"]


def test_an_inspection_process_with_another_file_is_told_nothing_and_no_part_is_judged() -> None:
    changes, asker = attached_line(), Asker()

    changes.attached(2, knows_the_same=False)
    changes.ask(2, "the PLC", asker, 0)

    assert changes.unsettled == "the inspection process has another file than the gate: restart both"
    assert changes.step(0, 10**12) is None
    assert (changes.current, asker.heard) == (1, [changes.unsettled])
    assert [name for name, _ in changes.alarms] == ["recipe-refused", "recipe-refused"]
    changes.attached(1)
    assert changes.unsettled == ""


def test_a_wish_ends_where_the_inspection_process_comes_with_another_file() -> None:
    changes, asker = ChangeOver(NAMES, 1), Asker()
    changes.ask(2, "the PLC", asker, 0)

    changes.attached(1, knows_the_same=False)

    assert asker.heard == ["the inspection process has another file than the gate: restart both; recipe 1 stays"]
    assert (changes.wanted, changes.until_ns) == (0, 0)


def test_a_change_over_is_given_up_so_long_after_the_wish_and_not_after_inspection_was_told() -> None:
    changes = ChangeOver(NAMES, 1)
    changes.ask(2, "the PLC", Asker(), 5 * S)

    changes.attached(1)
    changes.step(0, 60 * S)

    assert changes.until_ns == 5 * S + WITHIN_NS


def test_a_second_wish_during_a_change_over_is_refused_and_the_first_one_goes_on() -> None:
    first, second = Asker(), Asker()
    changes = preparing(first)

    changes.ask(3, "a person", second, 1)
    changes.answered(2, 2, "", 2)
    changes.step(0, 3)
    changes.was_kept("")

    assert second.heard == ["a change-over to recipe 2 is under way, asked for by the PLC"]
    assert (changes.current, first.heard) == (2, [""])


def test_what_inspection_cannot_prepare_leaves_the_recipe_before_and_is_told_to_people_and_who_asked() -> None:
    asker = Asker()
    changes = preparing(asker)

    changes.answered(2, 1, "model.onnx: broken", 1)

    assert asker.heard == ["model.onnx: broken; recipe 1 stays"]
    assert (changes.current, changes.unsettled) == (1, "")
    assert list(changes.alarms) == [("recipe-refused", "recipe 2, asked for by the PLC: model.onnx: broken; recipe 1 stays")]


def test_an_inspection_process_that_dies_while_it_prepares_is_not_asked_for_the_same_again() -> None:
    asker = Asker()
    changes = preparing(asker)

    changes.lost()
    changes.attached(1)

    assert asker.heard == ["the inspection process was lost while it prepared recipe 2; recipe 1 stays"]
    assert (changes.step(0, 1), changes.unsettled) == (None, "")


def test_a_wish_before_there_is_an_inspection_process_waits_for_it() -> None:
    """Station and PLC are switched on together: the PLC is there first."""
    changes, asker = ChangeOver(NAMES, 1), Asker()
    changes.ask(2, "the PLC", asker, 0)
    nobody = changes.step(0, 1 * S)

    changes.attached(1)

    assert nobody is None
    assert changes.step(0, 5 * S) == Tell(2, "the PLC")
    assert asker.heard == []


@pytest.mark.parametrize(
    ("is_attached", "parts", "says"),
    [(True, 4, "4 parts are still between camera and gate"), (False, 0, "no inspection process is attached")],
    ids=["belt stands", "nobody there"],
)
def test_a_change_over_that_is_not_done_in_time_is_refused(is_attached: bool, parts: int, says: str) -> None:
    changes, asker = attached_line(), Asker()
    [changes.lost for _ in range(1) if not is_attached and changes.lost() is None]
    changes.ask(2, "the PLC", asker, 0)

    changes.step(parts, WITHIN_NS + 1)

    assert says in asker.heard[0]
    assert (changes.current, changes.of_new_part) == (1, 1)


def test_inspection_that_answers_nothing_is_given_up_and_set_right_when_it_does() -> None:
    asker = Asker()
    changes = preparing(asker)
    changes.step(0, WITHIN_NS + 1)

    changes.answered(2, 2, "", WITHIN_NS + 2)

    assert "the inspection process did not answer" in asker.heard[0]
    assert "recipe 1 is not there yet" in changes.unsettled
    assert changes.step(0, WITHIN_NS + 3) == Tell(1, "the gate")


def test_a_number_that_cannot_be_kept_leaves_the_recipe_before_and_inspection_goes_back_to_it() -> None:
    asker = Asker()
    changes = preparing(asker)
    changes.answered(2, 2, "", 1)
    changes.step(0, 2)

    run = changes.was_kept("no space left on device")
    told = changes.step(0, 3)
    changes.was_told(True)
    changes.answered(1, 1, "", 4)

    assert (run, told) == (False, Tell(1, "the gate"))
    assert "no space left on device; recipe 1 stays" in asker.heard[0]
    assert (changes.current, changes.unsettled) == (1, "")


def test_inspection_that_comes_with_another_recipe_is_told_and_no_part_is_judged_until_it_has_the_running_one() -> None:
    changes = ChangeOver(NAMES, 2)
    changes.attached(1)
    unsettled = changes.unsettled

    told = changes.step(5, 0)
    changes.was_told(True)
    changes.answered(2, 2, "", 1)

    assert unsettled == "recipe 2 is not there yet: the inspection process is told"
    assert told == Tell(2, "the gate")
    assert changes.unsettled == ""


def test_inspection_that_cannot_have_the_running_recipe_is_asked_again_later_and_people_may_choose_another() -> None:
    changes, asker = ChangeOver(NAMES, 2), Asker()
    changes.attached(1)
    changes.step(0, 0)
    changes.was_told(True)
    changes.answered(2, 1, "golden image scores otherwise", 1 * S)
    soon, later, why = changes.step(0, 2 * S), changes.step(0, 12 * S), changes.unsettled

    changes.ask(1, "a person", asker, 13 * S)
    chosen = changes.step(0, 13 * S)

    assert (soon, later, chosen) == (None, Tell(2, "the gate"), Tell(1, "a person"))
    assert "golden image scores otherwise" in why
    assert changes.alarms[0][0] == "recipe-refused"


class Line(RuleBasedStateMachine):
    """A gate with real parts of ours, and a model of the inspection process: messages are late, it dies, disks fail."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = ChangeOver(NAMES, 1)
        self.on_disk = self.gate_goes_by = 1
        self.judges_by: int | None = None
        self.to_inspection: deque[object] = deque()
        self.to_gate: deque[tuple[str, int, int]] = deque()
        self.schedule = Schedule(10 * S)
        self.askers: list[Asker] = []
        self.now_ns = self.n = 0
        self.inspection_starts()
        self.gate_hears()

    @precondition(lambda self: not self.changes.wanted)
    @rule(recipe=st.integers(1, 4))
    def ask(self, recipe: int) -> None:
        self.askers.append(Asker())
        self.changes.ask(recipe, "somebody", self.askers[-1], self.now_ns)

    @precondition(lambda self: self.changes.wanted)
    @rule(recipe=st.integers(1, 4))
    def ask_meanwhile(self, recipe: int) -> None:
        self.ask(recipe)

    @rule(seconds=st.sampled_from([1, 1, 1, 11, 200]))
    def time_goes_by(self, seconds: int) -> None:
        self.now_ns += seconds * S
        self.schedule.due(self.now_ns)

    @rule(can_be_kept=st.sampled_from([True, True, False]), can_be_told=st.sampled_from([True, True, False]))
    def gate_turns(self, can_be_kept: bool, can_be_told: bool) -> None:
        waiting = sum(part.recipe is not None for part in self.schedule.parts)
        match self.changes.step(waiting, self.now_ns):
            case Tell(recipe=recipe):
                told = can_be_told and self.judges_by is not None
                self.to_inspection.extend([recipe] * told)
                self.changes.was_told(told)
            case Keep(recipe=recipe):
                self.on_disk = recipe if can_be_kept else self.on_disk
                runs = self.changes.was_kept("" if can_be_kept else "disk full")
                self.gate_goes_by = recipe if runs else self.gate_goes_by

    @rule()
    def all_goes_well(self) -> None:
        """One round of everybody."""
        if self.judges_by is None:
            self.inspection_starts()
        self.gate_turns(True, True)
        if self.to_inspection:
            self.inspection_obeys(True)
        if self.to_gate:
            self.gate_hears()

    @precondition(lambda self: self.judges_by is None)
    @rule()
    def inspection_starts(self) -> None:
        """With what stands on the disk."""
        self.judges_by = self.on_disk
        self.to_gate.append(("attach", self.judges_by, 0))

    @precondition(lambda self: self.judges_by is not None)
    @rule()
    def inspection_dies(self) -> None:
        self.judges_by = None
        self.to_inspection.clear()
        self.to_gate.clear()
        self.changes.lost()

    @rule()
    def gate_dies(self) -> None:
        """Its parts are rejected by the next one, which reads its number; inspection reconnects with what it judges by now."""
        self.changes = ChangeOver(NAMES, self.on_disk)
        self.gate_goes_by = self.on_disk
        self.schedule = Schedule(10 * S)
        self.askers.clear()
        self.to_gate.clear()
        self.to_gate.extend([("attach", self.judges_by, 0)] if self.judges_by is not None else [])

    @precondition(lambda self: self.to_inspection and self.judges_by is not None)
    @rule(works=st.sampled_from([True, True, False]))
    def inspection_obeys(self, works: bool) -> None:
        message = self.to_inspection.popleft()
        if isinstance(message, Part):
            self.to_gate.append(("verdict", self.judges_by or 0, message.n))
        else:
            assert isinstance(message, int)
            self.judges_by = message if works else self.judges_by
            self.to_gate.append(("changed", self.judges_by or 0, message))

    @precondition(lambda self: self.to_gate)
    @rule()
    def gate_hears(self) -> None:
        what, recipe, about = self.to_gate.popleft()
        {"attach": self._attached, "changed": self._changed, "verdict": self._verdict}[what](recipe, about)

    @rule()
    def a_part_comes(self) -> None:
        self.n += 1
        recipe, unsettled = self.changes.of_new_part, self.changes.unsettled
        foregone = Verdict(Outcome.REJECT, Cause.FAULT, unsettled) if unsettled or self.changes._judges_by is None else None
        in_flight = self.schedule.open(Part("boot", self.n), self.now_ns, foregone, recipe=recipe)
        self.to_inspection.extend([in_flight.part] * (foregone is None and self.judges_by is not None))

    def _attached(self, recipe: int, about: int) -> None:
        self.changes.attached(recipe)

    def _changed(self, recipe: int, about: int) -> None:
        self.changes.answered(about, recipe, "" if recipe == about else "it does not open", self.now_ns)

    def _verdict(self, recipe: int, about: int) -> None:
        self.changes.judged_by(recipe)
        self.schedule.tell(Part("boot", about), Verdict(Outcome.PASS, Cause.SCORE, str(recipe)), recipe)

    @invariant()
    def no_part_passes_by_another_recipe_than_the_gates(self) -> None:
        passing = [part for part in self.schedule.parts if part.final.outcome is Outcome.PASS]
        assert all(part.final.detail == str(part.recipe) == str(self.gate_goes_by) for part in passing)

    @invariant()
    def parts_of_the_recipe_before_are_gone_when_another_one_runs(self) -> None:
        assert {part.recipe for part in self.schedule.parts} <= {None, self.gate_goes_by}

    @invariant()
    def nobody_is_answered_twice(self) -> None:
        assert all(len(asker.heard) <= 1 for asker in self.askers)

    @invariant()
    def gate_and_disk_agree(self) -> None:
        assert self.changes.current == self.gate_goes_by == self.on_disk

    def teardown(self) -> None:
        """Left in peace, it settles on one recipe and everybody has his answer."""
        for _ in range(40):
            self.time_goes_by(11)
            self.all_goes_well()
        assert self.judges_by == self.changes.current == self.on_disk
        assert self.changes.unsettled == ""
        assert all(len(asker.heard) == 1 for asker in self.askers)


TestLine = Line.TestCase
TestLine.settings = settings(max_examples=100, stateful_step_count=50)
