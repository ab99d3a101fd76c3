"""What a PLC must never see is found when it does: the judge of the line in real time, with a PLC that says what we want."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from real_plc import Polls, RealPlc, Shown
from real_truth import compare_events, judge_results

from agent.inspection import Part
from agent.simulation.belt import BeltPart
from agent.simulation.line import Findings
from agent.simulation.simulator import Told

SECOND = 1_000_000_000
PARTS = {
    1 * SECOND: BeltPart(1, is_bad=False, entered_mm=0.0, part=Part("boot1", 1)),
    2 * SECOND: BeltPart(2, is_bad=True, entered_mm=1000.0, part=Part("boot1", 2)),
    30 * SECOND: BeltPart(3, is_bad=False, entered_mm=29_000.0, part=Part("boot2", 1)),
}
TOLD = [Told("boot1/1", "pass", "score", ""), Told("boot1/2", "reject", "score", ""), Told("boot2/1", "pass", "score", "")]
SEEN = [Shown(2 * SECOND, 1, True), Shown(3 * SECOND, 2, False), Shown(31 * SECOND, 1, True)]


def judged(
    shown: list[Shown], told: list[Told] = TOLD, deaf_ns: tuple[int, ...] = (), killed_ns: tuple[int, ...] = ()
) -> list[str]:
    plc, findings = RealPlc(Polls()), Findings()
    plc.shown, plc.deaf_ns = shown, list(deaf_ns)
    judge_results(plc, PARTS, told, {triggered_ns: triggered_ns + SECOND for triggered_ns in PARTS}, killed_ns, findings)
    return findings.violations


def test_a_number_that_begins_anew_belongs_to_the_newest_part_of_that_number() -> None:
    assert judged(SEEN) == []


@pytest.mark.parametrize(
    ("shown", "told", "violation"),
    [
        ([SEEN[0], Shown(3 * SECOND, 2, True), SEEN[2]], TOLD, "is bad and the PLC saw ok"),
        ([Shown(2 * SECOND, 1, False), *SEEN[1:]], TOLD, "its record says otherwise"),
        ([*SEEN, Shown(32 * SECOND, 1, True)], TOLD, "saw its result twice"),
        ([*SEEN, Shown(33 * SECOND, 7, True)], TOLD, "was never on the belt"),
        (SEEN[:2], TOLD, "never saw its result"),
    ],
    ids=["bad as ok", "another outcome", "twice", "of no part", "none"],
)
def test_what_a_plc_must_never_see_is_found(shown: list[Shown], told: list[Told], violation: str) -> None:
    assert any(violation in found for found in judged(shown, told))


def test_a_result_that_a_deaf_plc_or_a_killed_process_lost_has_a_reason() -> None:
    assert judged(SEEN[:2], deaf_ns=(31 * SECOND,)) == []
    assert judged(SEEN[:2], killed_ns=(31 * SECOND,)) == []
    assert judged(SEEN[:2], deaf_ns=(60 * SECOND,)) != []


@pytest.mark.parametrize(
    ("kept", "violations"),
    [
        ([("a", 1), ("b", 2)], []),
        ([("a", 1)], ["event 2 was taken for delivered, and the collector has it not"]),
        ([("a", 1), ("b", 2), ("b again", 2)], ["the collector has two events under one number"]),
    ],
    ids=["each", "one lost", "one twice"],
)
def test_each_event_that_was_taken_for_delivered_must_be_at_the_collector_once(
    tmp_path: Path, kept: list[tuple[str, int]], violations: list[str]
) -> None:
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as outbox, closing(sqlite3.connect(tmp_path / "events.db")) as ledger:
        outbox.execute("CREATE TABLE event (seq INTEGER, time TEXT, state INTEGER)")
        outbox.executemany("INSERT INTO event VALUES (?, '', ?)", [(1, 1), (2, 1), (3, 0)])  # the third one waits
        ledger.execute("CREATE TABLE event (id TEXT, seq INTEGER)")
        ledger.executemany("INSERT INTO event VALUES (?, ?)", kept)
        outbox.commit()
        ledger.commit()
    findings = Findings()

    compare_events(tmp_path / "outbox.db", tmp_path / "events.db", findings)

    assert findings.violations == violations
