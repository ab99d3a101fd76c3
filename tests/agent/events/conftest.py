"""Fixtures of the outbox's tests."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from small_outbox import Durable

from agent.events.outbox import Outbox


@pytest.fixture
def durable() -> Durable:
    return Durable()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "outbox.db"


@pytest.fixture
def locked(file: Path) -> Iterator[sqlite3.Connection]:
    """An outbox file that another connection holds for writing: commits fail until it lets go."""
    with Outbox(file):
        pass
    with closing(sqlite3.connect(file, timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other
