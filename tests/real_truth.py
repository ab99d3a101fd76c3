"""What happened on a belt in real time against what was told of it: flap and PLC against records, events and accounts."""

import json
import sqlite3
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

from libmodbus import Plc
from real_belt import acting, at_gate, caught_ms
from real_plc import RealPlc
from real_world import Plan, World

from agent.events.database import connect
from agent.events.store import DELIVERED
from agent.inspection import Part
from agent.simulation.belt import BeltPart
from agent.simulation.line import Findings
from agent.simulation.simulator import Told, judge, told_in

_GATE_MM = 500.0
_DELIVERED_WITHIN_S = 60.0
_AWAKE_WITHIN_NS = 5_000_000_000  # a part's result is at the PLC so soon behind the gate, or there is a reason


def compare(plan: Plan, world: World, coupler: Plc, findings: Findings) -> None:
    """Truth of belt and PLC against the records."""
    flap, told, belt = acting(coupler), told_in(world.state / "outbox.db"), world.belt
    by_instant = {one.triggered_ns: one.part for one in told}
    gone_ns = {}
    for triggered_ns, part in belt.parts.items():
        spans = at_gate(belt.drive, part, triggered_ns)
        gone_ns[triggered_ns] = spans[-1][1] if spans else time.monotonic_ns()
        part.caught_ms = caught_ms(spans, flap)
        boot, _, n = by_instant.get(triggered_ns, "").partition("/")
        part.part = Part(boot, int(n)) if boot else None
    counted = [part for part in belt.parts.values() if part.part is not None]
    findings.counts["killed before the trigger was read"] = unread = len(belt.parts) - len(counted)
    if unread > plan.kills:
        findings.violations.append(f"{unread} triggers were never counted, {plan.kills} kills explain at most one each")
    findings.violations += [
        f"{role} was killed {killed} times, expected {plan.kills}"
        for role in ("eject", "inspect")
        if (killed := world.counts[f"made: {role} killed"]) != plan.kills
    ]
    belt.count_stops()
    judge(counted, told, findings)
    judge_results(world.plc, belt.parts, told, gone_ns, world.killed_ns, findings)
    doubtful = {one.part for one in told if one.problem}
    findings.counts["bad parts that went by and were told of"] = sum(
        part.is_bad and not part.is_taken_off and str(part.part) in doubtful for part in counted
    )
    entered_mm = {str(part.part): part.entered_mm for part in counted}
    compare_order([entered_mm[one.part] for one in told if one.part in entered_mm], findings)
    if not (accounts := accounts_in(world.file.with_name("line.log"))):
        findings.violations.append("the last ejector process said no goodbye")
    findings.violations += [
        f"the account does not add up: {account}"
        for account in accounts
        if account["triggers"] != account["pass"] + account["reject"]
    ]
    for counts in (world.counts, belt.counts, world.camera.counts, world.plc.counts):
        findings.counts.update(counts)


def accounts_in(log: Path) -> list[Counter[str]]:
    """What each ejector process that could say goodbye counted."""
    entries = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [Counter(entry["account"]) for entry in entries if "account" in entry]


def compare_order(places: Sequence[float], findings: Findings) -> None:
    """Parts end in the order in which they entered, but for the length of the gate and the time of a reject."""
    furthest = 0.0
    for place in places:
        if place < furthest - _GATE_MM:
            findings.violations.append(
                f"the event of the part that entered at {place:.0f} mm is behind that of one at {furthest:.0f} mm"
            )
        furthest = max(furthest, place)


def wait_for_delivery(outbox: Path, findings: Findings) -> None:
    """Until the collector has acknowledged what there is to tell; more may come while the processes end."""
    until_s, waiting = time.monotonic() + _DELIVERED_WITHIN_S, 1
    while waiting and time.monotonic() < until_s:
        time.sleep(0.1)
        with closing(connect(outbox)) as reader:
            (waiting,) = reader.execute("SELECT count(*) FROM event WHERE state <> ?", (DELIVERED,)).fetchone()
    if waiting:
        findings.violations.append(f"{waiting} events were not delivered within {_DELIVERED_WITHIN_S:.0f} s of the last part")


def compare_events(outbox: Path, ledger: Path, findings: Findings) -> None:
    """Numbers without gaps on the disk, and at the collector each event that was taken for delivered, once, under its number."""
    with closing(connect(outbox)) as reader:
        rows = reader.execute("SELECT seq, time, state FROM event ORDER BY seq").fetchall()
    if [row[0] for row in rows] != list(range(1, len(rows) + 1)):
        findings.violations.append("the numbers of the events have gaps")
    findings.counts["events whose time is before that of the one before"] = sum(
        later[1] < earlier[1] for earlier, later in pairwise(rows)
    )
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as collected:
        kept = [seq for (seq,) in collected.execute("SELECT seq FROM event")]
    findings.counts["events"], findings.counts["events at the collector"] = len(rows), len(kept)
    if len(set(kept)) < len(kept):
        findings.violations.append("the collector has two events under one number")
    missing = {seq for seq, _, state in rows if state == DELIVERED} - set(kept)
    findings.violations += [f"event {seq} was taken for delivered, and the collector has it not" for seq in sorted(missing)]


def judge_results(
    plc: RealPlc,
    parts: Mapping[int, BeltPart],
    told: Sequence[Told],
    gone_ns: Mapping[int, int],
    killed_ns: Sequence[int],
    to: Findings,
) -> None:
    """Adds to the findings what a PLC must never see: a bad part as ok, what the record does not say, a result twice or none.

    parts: by the trigger's instant. gone_ns: by the same, when each was through the gate. killed_ns: when an ejector process was.
    """
    outcomes = {one.part: one.outcome for one in told}
    by_number: dict[int, list[int]] = {}
    for triggered_ns, part in parts.items():
        if part.part is not None:
            by_number.setdefault(part.part.n, []).append(triggered_ns)
    seen: set[int] = set()
    to.violations += plc.violations
    for shown in plc.shown:
        instants = by_number.get(shown.number, [])
        if not (before := bisect_left(instants, shown.at_ns)):
            to.violations.append(f"the PLC saw a result for a part {shown.number} that was never on the belt")
            continue
        triggered_ns = instants[before - 1]
        part = parts[triggered_ns]
        name = f"part {part.number} ({part.part})"
        if triggered_ns in seen:
            to.violations.append(f"{name}: the PLC saw its result twice")
        seen.add(triggered_ns)
        to.counts[f"the PLC saw {'ok' if shown.is_ok else 'ng'}"] += 1
        if shown.is_ok and part.is_bad:
            to.violations.append(f"{name} is bad and the PLC saw ok")
        if shown.is_ok != (outcomes.get(str(part.part)) == "pass"):
            to.violations.append(f"{name}: the PLC saw {'ok' if shown.is_ok else 'ng'}, its record says otherwise")
    reasons = sorted([*plc.deaf_ns, *killed_ns])
    for triggered_ns in sorted({ns for instants in by_number.values() for ns in instants} - seen):
        until_ns = gone_ns[triggered_ns] + _AWAKE_WITHIN_NS
        if bisect_right(reasons, until_ns) > bisect_left(reasons, triggered_ns):
            to.counts["the PLC saw no result: lost in an overrun, a kill or a lost connection"] += 1
        else:
            to.violations.append(f"part {parts[triggered_ns].number} ({parts[triggered_ns].part}): the PLC never saw its result")
