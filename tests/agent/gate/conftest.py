"""Fixtures of the gate's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from virtual_gate import Output

from agent.gate.journal import Journal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal", "machine") as opened:
        yield opened


@pytest.fixture
def output() -> Output:
    return Output()
