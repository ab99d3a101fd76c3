"""The gate: what is switched when, what is counted, and what a killed process leaves to the next one."""

import dataclasses
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inspector import Inspector, account_of, eject_process
from kensa_process import kensa
from line_file import write_line
from waiting import wait_until

from agent.config import Line, load_line
from agent.ejector_process import eject_forever
from agent.ejectors import EjectorError, Switched
from agent.gate.gate import Gate
from agent.gate.journal import Journal
from agent.gate.plan import GatePlan
from agent.inspection import Cause, Outcome, Part, Verdict
from agent.link import Confirm, Tell

MACHINE = "machine-boot-1"
PASS = Verdict(Outcome.PASS, Cause.SCORE, "good")
REJECT = Verdict(Outcome.REJECT, Cause.SCORE, "defect")
DELAY_NS = 1_000_000_000
PULSE_NS = 30_000_000
PLAN = GatePlan(travel_ms=1020, lead_ms=20, pulse_ms=30)


class RecordingEjector:
    """An output that remembers when it was switched."""

    def __init__(self) -> None:
        self.switched: list[bool] = []
        self.times_ns: list[int] = []
        self._answers: list[Switched] = []

    def switch(self, on: bool, now_ns: int) -> None:
        self.times_ns.append(time.monotonic_ns())
        self.switched.append(on)
        self._answers.append(Switched(on, now_ns))

    def answers(self) -> list[Switched]:
        answers, self._answers = self._answers, []
        return answers

    def problem(self) -> str | None:
        return None

    def filenos(self) -> list[int]:
        return []


class BrokenEjector(RecordingEjector):
    """An output whose wire was cut."""

    def switch(self, on: bool, now_ns: int) -> None:
        raise EjectorError("output 3 does not answer")


@dataclasses.dataclass(frozen=True)
class OpensTo:
    """An ejector's section that yields the ejector of the test."""

    ejector: RecordingEjector | BrokenEjector

    @contextmanager
    def open(self) -> Iterator[RecordingEjector | BrokenEjector]:
        yield self.ejector


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal", MACHINE) as opened:
        yield opened


@pytest.fixture
def ejector() -> RecordingEjector:
    return RecordingEjector()


@pytest.fixture
def gate(ejector: RecordingEjector, journal: Journal) -> Gate:
    return Gate("boot", PLAN, ejector, journal)


def gate_after_a_kill(folder: Path, machine: str, stack: ExitStack, triggered_ns: int, ejector: RecordingEjector) -> Gate:
    """A gate whose predecessor was killed with one part, old/1, on the belt."""
    with Journal(folder, MACHINE) as killed:
        killed.opened(Part("old", 1), triggered_ns)
    return Gate("new", PLAN, ejector, stack.enter_context(Journal(folder, machine)))


def balance(gate: Gate) -> tuple[int, int]:
    """Triggers, and what became of them."""
    return gate.account["triggers"], gate.account["pass"] + gate.account["reject"] + len(gate)


# ---------------------------------------------------------------- one part


def test_a_reject_switches_the_output_on_at_the_gate_and_off_after_the_pulse(gate: Gate, ejector: RecordingEjector) -> None:
    now_ns = time.monotonic_ns()
    in_flight = gate.trigger(now_ns, attached=True)
    gate.tell(in_flight.part, REJECT)

    early = gate.act(now_ns + DELAY_NS - 1)
    (closed,) = gate.act(now_ns + DELAY_NS)
    off_ns = gate.wake_ns()
    assert off_ns is not None
    gate.act(off_ns - 1)
    still = list(ejector.switched)
    gate.act(off_ns)

    assert early == []
    assert closed.actual_ns is not None
    assert off_ns == closed.actual_ns + PULSE_NS
    assert (still, ejector.switched) == ([True], [True, False])
    assert gate.wake_ns() is None


def test_a_pass_never_switches_the_output(gate: Gate, ejector: RecordingEjector) -> None:
    in_flight = gate.trigger(0, attached=True)
    gate.tell(in_flight.part, PASS)

    (closed,) = gate.act(DELAY_NS)

    assert (closed.verdict, closed.actual_ns) == (PASS, None)
    assert ejector.switched == []


def test_a_part_without_a_verdict_is_rejected_as_late(gate: Gate, ejector: RecordingEjector) -> None:
    gate.trigger(0, attached=True)

    (closed,) = gate.act(DELAY_NS)

    assert (closed.verdict.outcome, closed.verdict.cause) == (Outcome.REJECT, Cause.LATE)
    assert ejector.switched == [True]


def test_a_verdict_that_comes_too_late_is_counted_and_changes_nothing(gate: Gate) -> None:
    in_flight = gate.trigger(0, attached=True)
    (closed,) = gate.act(DELAY_NS)

    gate.tell(in_flight.part, PASS)

    assert closed.verdict.cause is Cause.LATE
    assert gate.account == {"triggers": 1, "reject": 1, "reject_late": 1, "verdicts_too_late": 1}


def test_a_part_triggered_while_nobody_inspects_is_rejected_as_missed(gate: Gate, ejector: RecordingEjector) -> None:
    in_flight = gate.trigger(0, attached=False)
    gate.tell(in_flight.part, PASS)

    (closed,) = gate.act(DELAY_NS)

    assert (closed.verdict.outcome, closed.verdict.cause) == (Outcome.REJECT, Cause.MISSED)
    assert "no inspection process was attached" in closed.verdict.detail
    assert ejector.switched == [True]


def test_when_inspection_is_lost_waiting_parts_are_rejected_and_judged_ones_keep_their_verdict(gate: Gate) -> None:
    judged, waiting = gate.trigger(0, attached=True), gate.trigger(1, attached=True)
    gate.tell(judged.part, PASS)

    gate.inspection_lost()

    gate.tell(waiting.part, PASS)
    of_judged, of_waiting = gate.act(DELAY_NS + 1)
    assert of_judged.verdict == PASS
    assert (of_waiting.verdict.outcome, of_waiting.verdict.cause) == (Outcome.REJECT, Cause.MISSED)


def test_neighbouring_rejects_share_one_long_pulse(gate: Gate, ejector: RecordingEjector) -> None:
    gate.trigger(0, attached=False)
    gate.trigger(1, attached=False)
    gate.act(DELAY_NS)
    first_off_ns = gate.wake_ns()

    gate.act(DELAY_NS + 1)
    last_off_ns = gate.wake_ns()

    assert first_off_ns is not None
    assert last_off_ns is not None
    assert last_off_ns >= first_off_ns
    assert False not in ejector.switched


def test_parts_are_counted_from_one_in_the_name_of_this_boot(gate: Gate) -> None:
    parts = [gate.trigger(ns, attached=True).part for ns in (0, 1, 2)]

    assert parts == [Part("boot", 1), Part("boot", 2), Part("boot", 3)]


def test_an_output_that_cannot_be_driven_is_an_error_and_leaves_the_part_in_the_journal(journal: Journal) -> None:
    gate = Gate("boot", PLAN, BrokenEjector(), journal)
    gate.trigger(0, attached=False)

    with pytest.raises(EjectorError):
        gate.act(DELAY_NS)

    assert list(journal.left_open) == [Part("boot", 1)]


# ---------------------------------------------------------------- after a kill


def test_a_part_still_before_the_gate_after_a_kill_is_rejected_there(tmp_path: Path, ejector: RecordingEjector) -> None:
    with ExitStack() as stack:
        gate = gate_after_a_kill(tmp_path, MACHINE, stack, triggered_ns=0, ejector=ejector)

        gate.recover(now_ns=DELAY_NS // 2)

        gate.tell(Part("old", 1), PASS)
        assert gate.act(DELAY_NS - 1) == []
        (closed,) = gate.act(DELAY_NS)
        assert (closed.part, closed.verdict.outcome, closed.verdict.cause) == (Part("old", 1), Outcome.REJECT, Cause.MISSED)
        assert closed.actual_ns is not None
        assert ejector.switched == [True]


def test_a_part_left_on_the_belt_keeps_its_way_and_recipe_though_another_one_runs_by_now(
    tmp_path: Path, ejector: RecordingEjector
) -> None:
    with Journal(tmp_path, MACHINE) as journal:
        Gate("old", PLAN, ejector, journal).trigger(0, attached=True, recipe=1)

    with Journal(tmp_path, MACHINE) as journal:
        gate = Gate("new", GatePlan(travel_ms=640), ejector, journal)
        gate.recover(now_ns=1, recipe=2)
        gate.trigger(2, attached=False, recipe=2)
        (own,) = gate.act(2 + 620_000_000)
        (left,) = gate.act(DELAY_NS)

    assert (own.part, own.planned_ns, own.recipe) == (Part("new", 1), 2 + 620_000_000, 2)
    assert (left.part, left.planned_ns, left.recipe) == (Part("old", 1), DELAY_NS, 1)


def test_a_journal_that_cannot_be_read_is_told_of_and_the_gate_starts(tmp_path: Path, ejector: RecordingEjector) -> None:
    (tmp_path / "00000001.journal").symlink_to("00000001.journal")  # whoever reads it gets an error of the system

    with Journal(tmp_path, MACHINE) as journal:
        gate = Gate("new", PLAN, ejector, journal)
        gate.recover(now_ns=0)
        alarm = gate.alarms.next()

    assert alarm is not None
    assert (alarm.name, alarm.detail[:40]) == ("maybe-not-ejected", "00000001.journal of the journal cannot b")


def test_a_part_that_went_by_while_no_process_ran_is_closed_without_a_pulse(tmp_path: Path, ejector: RecordingEjector) -> None:
    with ExitStack() as stack:
        gate = gate_after_a_kill(tmp_path, MACHINE, stack, triggered_ns=0, ejector=ejector)

        gate.recover(now_ns=DELAY_NS + 1)

        assert len(gate) == 0
        assert ejector.switched == []
        assert balance(gate) == (1, 1)


@pytest.mark.parametrize("triggered_ns", [0, 10**15], ids=["seconds after the other boot", "after eleven days of it"])
def test_a_part_from_before_a_reboot_is_closed_at_once_and_holds_up_nobody(
    tmp_path: Path, ejector: RecordingEjector, triggered_ns: int
) -> None:
    with ExitStack() as stack:
        gate = gate_after_a_kill(tmp_path, "machine-boot-2", stack, triggered_ns, ejector)

        gate.recover(now_ns=5)

        assert len(gate) == 0
        gate.trigger(10, attached=True)
        (closed,) = gate.act(10 + DELAY_NS)
        assert closed.part == Part("new", 1)
        assert ejector.switched == [True]


def test_parts_gone_by_are_reported_like_any_other(tmp_path: Path, ejector: RecordingEjector) -> None:
    with ExitStack() as stack:
        gate = gate_after_a_kill(tmp_path, MACHINE, stack, triggered_ns=0, ejector=ejector)

        gate.recover(now_ns=DELAY_NS * 3)

    with Journal(tmp_path, MACHINE) as journal:
        (closed,) = journal.unconfirmed.values()
        assert (closed.part, closed.actual_ns, closed.planned_ns) == (Part("old", 1), None, DELAY_NS)


# ---------------------------------------------------------------- the account

steps = st.lists(
    st.one_of(
        st.tuples(st.just("trigger"), st.booleans()),
        st.tuples(st.just("tell"), st.integers(1, 12), st.sampled_from([PASS, REJECT])),
        st.tuples(st.just("act"), st.integers(1, 2 * DELAY_NS)),
        st.tuples(st.just("lost")),
    ),
    max_size=40,
)


def balances(done: list[tuple], ejector: RecordingEjector) -> list[tuple[int, int]]:
    """The balance after each step of a line on which these happen, and at its end after everything has come through."""
    now_ns, seen = 0, []
    with TemporaryDirectory(prefix="k") as folder, Journal(Path(folder), MACHINE) as journal:
        gate = Gate("boot", PLAN, ejector, journal)
        for step in [*done, ("act", 2 * DELAY_NS)]:
            match step:
                case ("trigger", attached):
                    gate.trigger(now_ns, attached)
                case ("tell", n, verdict):
                    gate.tell(Part("boot", n), verdict)
                case ("act", later_ns):
                    now_ns += later_ns
                    gate.act(now_ns)
                case ("lost",):
                    gate.inspection_lost()
            seen.append(balance(gate))
        causes = [gate.account[f"reject_{cause.value}"] for cause in Cause]
        seen.append((gate.account["reject"], sum(causes)))
        seen.append((len(gate), 0))
        seen.append((gate.account["triggers"], len(journal.unconfirmed)))
    return seen


@given(steps)
def test_triggers_are_always_pass_plus_reject_plus_in_flight(done: list[tuple]) -> None:
    seen = balances(done, RecordingEjector())

    assert all(left == right for left, right in seen)


# ---------------------------------------------------------------- the loop, in a thread


def written(journal: Path) -> bytes:
    """All bytes of a journal so far."""
    return b"".join(file.read_bytes() for file in sorted(journal.glob("*.journal")))


@contextmanager
def ejecting(line: Line, stop: threading.Event) -> Iterator[threading.Thread]:
    """`eject_forever` in a thread that has ended when the block is left."""
    thread = threading.Thread(target=eject_forever, args=(line, stop))
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(timeout=20)


def test_the_last_pulse_is_not_cut_short_when_the_process_leaves(state: Path, ejector: RecordingEjector) -> None:
    file = write_line(state, state / "bundle", trigger="{type: timer, period_ms: 10, count: 1}", travel_ms=300, pulse_ms=250)
    stop = threading.Event()

    with ejecting(dataclasses.replace(load_line(file), ejector=OpensTo(ejector)), stop):
        wait_until(lambda: b"opened" in written(state / "state" / "journal"))
        stop.set()

    assert ejector.switched[-1] is False
    on_ns, off_ns = (ejector.times_ns[ejector.switched.index(on)] for on in (True, False))
    assert off_ns - on_ns >= 250e6


# ---------------------------------------------------------------- the process


def test_the_process_announces_parts_obeys_verdicts_and_forgets_what_is_confirmed(state: Path) -> None:
    file = write_line(state, state / "bundle", trigger="{type: timer, period_ms: 30, count: 3, delay_ms: 700}", travel_ms=800)
    with eject_process(file) as process, closing(Inspector(state / "state" / "gate.sock")) as inspector:
        inspector.listen_until(lambda: len(inspector.triggered) == 3)
        first, second, third = inspector.triggered

        inspector.send(Tell(first, PASS))
        inspector.send(Tell(second, REJECT))
        inspector.listen_until(lambda: len(inspector.closed_parts()) == 3)

        assert [closed.verdict.cause for closed in inspector.closed] == [Cause.SCORE, Cause.SCORE, Cause.LATE]
        assert [closed.verdict.outcome for closed in inspector.closed] == [Outcome.PASS, Outcome.REJECT, Outcome.REJECT]
        inspector.send(Confirm((first, second, third)))
        assert process.terminate() == 0
        assert account_of(process)["unconfirmed"] == 0


def test_unconfirmed_parts_are_reported_again_to_the_next_inspection_process(state: Path) -> None:
    file = write_line(state, state / "bundle", trigger="{type: timer, period_ms: 100, count: 2, delay_ms: 700}")
    with eject_process(file):
        with closing(Inspector(state / "state" / "gate.sock")) as dies:
            dies.listen_until(lambda: len(dies.closed_parts()) == 2)

        with closing(Inspector(state / "state" / "gate.sock")) as next_one:
            next_one.listen_until(lambda: next_one.closed_parts() == dies.closed_parts())


def test_a_report_that_is_never_confirmed_comes_again(state: Path) -> None:
    file = write_line(state, state / "bundle", trigger="{type: timer, period_ms: 100, count: 1}")
    with eject_process(file), closing(Inspector(state / "state" / "gate.sock")) as inspector:
        inspector.listen_until(lambda: len(inspector.closed) >= 2)

        assert inspector.closed[0] == inspector.closed[1]


def test_a_report_that_is_never_confirmed_comes_again_though_those_of_other_parts_are_all_the_time(state: Path) -> None:
    """A belt that never pauses must not keep a part's event from coming."""
    file = write_line(state, state / "bundle", trigger="{type: timer, period_ms: 200}", travel_ms=100)
    with eject_process(file), closing(Inspector(state / "state" / "gate.sock")) as inspector:
        inspector.listen_until(lambda: inspector.closed)
        forgotten = inspector.closed[0].part

        def is_told_of_again() -> bool:
            inspector.send(Confirm(tuple(inspector.closed_parts() - {forgotten})))
            return [closed.part for closed in inspector.closed].count(forgotten) >= 2

        inspector.listen_until(is_told_of_again)


def test_sigterm_takes_no_more_triggers_sees_the_parts_through_and_logs_the_account(state: Path) -> None:
    file = write_line(state, state / "bundle", travel_ms=600)
    with eject_process(file) as process:
        with closing(Inspector(state / "state" / "gate.sock")) as inspector:
            inspector.listen_until(lambda: len(inspector.triggered) >= 3)
            inspector.send(Tell(inspector.triggered[-1], PASS))
            process.process.terminate()

        status = process.process.wait(20)
        account = account_of(process)

    assert status == 0
    assert account["triggers"] == account["pass"] + account["reject"]
    assert account["pass"] == 1
    assert account["unconfirmed"] == account["triggers"]


def test_a_second_ejector_process_is_refused_with_the_first_ones_id(state: Path) -> None:
    file = write_line(state, state / "bundle")
    with eject_process(file) as first:
        wait_until(lambda: "ejector ready" in first.messages())

        second = kensa("eject", str(file))

        assert second.returncode == 2
        assert f"a `kensa eject` runs here already (process {first.process.pid})" in second.stderr
        assert first.process.poll() is None


def test_parts_in_flight_when_the_process_is_killed_are_rejected_by_the_next(state: Path) -> None:
    file = write_line(state, state / "bundle", travel_ms=900)
    with eject_process(file) as killed, closing(Inspector(state / "state" / "gate.sock")) as before:
        before.listen_until(lambda: len(before.triggered) >= 3)
        killed.kill()

    with eject_process(file, "again"), closing(Inspector(state / "state" / "gate.sock")) as after:
        after.listen_until(lambda: set(before.triggered) <= after.closed_parts())

    of_killed = [closed for closed in after.closed if closed.part in before.triggered]
    assert {closed.verdict.outcome for closed in of_killed} == {Outcome.REJECT}
    assert {part.boot for part in after.closed_parts()} >= {before.triggered[0].boot}
