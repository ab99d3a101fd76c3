"""Faults N2, N3, N4, N11 together, in small: the soak of `make soak` with every phase and every kind of kill."""

from pathlib import Path

import pytest
from soak import Plan, soak


@pytest.mark.timeout(240)  # many processes start and die; 20 s of its own, more beside other tests
def test_n2_n3_n4_n11_no_event_is_lost_or_there_twice_or_out_of_its_place_through_an_outage_and_kills(tmp_path: Path) -> None:
    plan = Plan(events=8000, broker=2, station=2, collector=1)

    found = soak(tmp_path / "soak", plan)

    assert (found.account.durable, found.account.collected) == (8000, 8000)
    assert found.account.is_clean
    assert found.disk_mb <= plan.disk_mb
    assert found.passed_by < 1500  # of some 7000 that waited: what is on its way to the collector, and what the broker keeps
