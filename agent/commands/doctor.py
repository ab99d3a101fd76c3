"""`kensa doctor`: what is wrong with this device, and what to do about it; works before anything runs."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import msgspec

from agent.config import load_line
from agent.doctor.finding import Finding, Health, fail, ok
from agent.doctor.line import check_line
from agent.doctor.machine import check_machine
from agent.drivers import ConfigError
from agent.owner import become_owner

_MARKS = {Health.OK: "ok  ", Health.WARN: "warn", Health.FAIL: "FAIL"}


def doctor_command(arguments: list[str]) -> int:
    """Says what is wrong with this device, and with a line if its file is given; the exit status is 1 if anything fails."""
    parser = argparse.ArgumentParser(
        prog="kensa doctor", description=doctor_command.__doc__, epilog="example: kensa doctor line.yaml"
    )
    parser.add_argument("line", type=Path, nargs="?", help="the line's YAML file")
    parser.add_argument("--json", action="store_true", help="one JSON object per line, for programs")
    chosen = parser.parse_args(arguments)
    worst = Health.OK
    for finding in findings(chosen.line):
        print(msgspec.json.encode(finding).decode() if chosen.json else _for_people(finding), flush=True)
        worst = finding.health if finding.health is Health.FAIL else worst
    return 1 if worst is Health.FAIL else 0


def findings(file: Path | None) -> Iterator[Finding]:
    """Of the machine first; then of the line in `file`."""
    if file is None:
        yield from check_machine(Path.cwd())
        return
    try:
        line = load_line(file)
    except ConfigError as e:
        yield from check_machine(file.resolve().parent)
        yield fail("configuration", str(e), "correct the file; the last good configuration is used at a restart, if there is one")
        return
    become_owner(line.state)
    yield from check_machine(line.state)
    yield ok("configuration", f"{file}: station {line.station}, sha256 {line.sha256[:12]}")
    yield from check_line(line)


def _for_people(finding: Finding) -> str:
    remedy = f"\n       -> {finding.remedy}" if finding.remedy else ""
    return f"{_MARKS[finding.health]}  {finding.name}: {finding.found}{remedy}"
