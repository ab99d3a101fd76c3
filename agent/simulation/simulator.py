"""A line in virtual time: faults, kills and people around the gate, the decision, the journal and the outbox that are shipped.

What happened to a part is read from the simulated belt, what Kensa says of it from the outbox; `judge` compares both.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from agent.events.database import connect
from agent.simulation.belt import BeltPart
from agent.simulation.line import Findings, Plan, Shipped, SimulatedLine


class Told(NamedTuple):
    """What the outbox tells of one part. problem: why, rejected, it may have gone by all the same."""

    part: str
    outcome: str
    cause: str
    problem: str
    triggered_ns: int = 0


def simulate(plan: Plan, folder: Path, shipped: Shipped | None = None) -> Findings:
    """Runs the plan's parts over a line whose journal and outbox are in `folder`, and judges what came out."""
    line = SimulatedLine(plan, folder, shipped or Shipped())
    while len(line.belt.gone) < plan.parts:
        line.step()
    findings = line.finish()
    judge(line.belt.gone, told_in(folder / "outbox.db"), findings)
    return findings


def judge(parts: Sequence[BeltPart], told: Sequence[Told], findings: Findings) -> None:
    """Adds to the findings what must never be: an escape, a part without its record, a record that tells another story."""
    by_part: dict[str, list[Told]] = {}
    for one in told:
        by_part.setdefault(one.part, []).append(one)
    findings.counts.update({"parts": len(parts), "bad parts": sum(part.is_bad for part in parts), "records": len(told)})
    for part in parts:
        records = by_part.pop(str(part.part), [])
        if len(records) != 1:
            findings.violations.append(f"part {part.number} ({part.part}) has {len(records)} records")
            continue
        findings.counts[f"{records[0].outcome} by {records[0].cause}"] += 1
        findings.counts["told of: may have gone by"] += bool(records[0].problem)
        findings.counts["good parts taken off beside a reject"] += records[0].outcome == "pass" and part.is_taken_off
        if wrong := _wrong(part, records[0]):
            findings.violations.append(f"part {part.number} ({part.part}) {wrong}: {records[0]}")
    findings.violations += [f"{key} has a record and never was on the belt" for key in by_part]


def _wrong(part: BeltPart, record: Told) -> str:
    """Empty where the record tells what happened and no fault has let a bad part pass."""
    if record.problem or part.is_taken_off:
        return ""
    if record.outcome == "reject":
        return "is told as rejected and went by"
    excused = part.misjudged and record.cause == "score"
    return "is bad and went by" if part.is_bad and not excused else ""


def told_in(outbox: Path) -> list[Told]:
    """What the outbox tells of each part, in its order."""
    with closing(connect(outbox)) as reader:
        rows = reader.execute("SELECT key, data FROM event WHERE topic LIKE 'result/%' ORDER BY seq").fetchall()
    decoded = [(key, json.loads(data)) for key, data in rows]
    return [Told(key, data["outcome"], data["cause"], data["action"]["problem"], data["triggered_ns"]) for key, data in decoded]


def simulate_command(arguments: list[str]) -> int:
    """`kensa simulate`: 0 where nothing escaped and all adds up, 1 with a sentence for each violation."""
    parser = argparse.ArgumentParser(
        prog="kensa simulate",
        description="Runs parts over a simulated line, with faults and kills by chance, through the gate, the decision and the "
        "outbox that are shipped, and compares what happened to each part with what was told of it.",
        epilog="example: kensa simulate --parts 100000 --seed 7 --encoder",
    )
    parser.add_argument("--parts", type=int, default=10_000, metavar="N", help="default: %(default)s, some seconds")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all chance; the same seed is the same run")
    parser.add_argument("--encoder", action="store_true", help="the belt changes its speed, stops and runs back")
    options = parser.parse_args(arguments)
    if options.parts < 1:
        parser.error(f"--parts {options.parts}: expected at least 1, or nothing is shown")
    logging.disable(logging.CRITICAL)  # thousands of faults are made on purpose
    try:
        with TemporaryDirectory() as folder:
            findings = simulate(Plan(options.parts, options.seed, options.encoder), Path(folder))
    finally:
        logging.disable(logging.NOTSET)
    print(f"seed {options.seed}, {'by encoder' if options.encoder else 'by time'}")
    print("\n".join(f"{count:10d}  {what}" for what, count in sorted(findings.counts.items())))
    print(f"{len(findings.violations):10d}  violations", *findings.violations[:20], sep="\n")
    return 1 if findings.violations else 0
