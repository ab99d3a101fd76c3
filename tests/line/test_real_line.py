"""The two real processes, a real broker and an independent Modbus server around a simulated belt: nothing escapes."""

from pathlib import Path

import pytest
from real_line import Plan, run_line


@pytest.mark.timeout(240)  # many processes start and die; 20 s of its own, more beside other tests
def test_no_bad_part_passes_while_the_processes_and_the_broker_are_killed(tmp_path: Path) -> None:
    findings = run_line(Plan(parts=120, seed=3, kills=1, broker_kills=1, slow=0.05, lost=0.05), tmp_path)

    print(f"seed 3: {dict(findings.counts)}")
    assert findings.violations == []
    assert findings.counts["made: eject killed"] == findings.counts["made: inspect killed"] == 1
    assert findings.counts["records"] >= 119  # one may be killed with its trigger unread: the PLC takes it off
