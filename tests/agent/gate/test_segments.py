"""The files of the journal on a disk that hangs: nobody waits for it for long, and what it takes in the end is whole."""

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from waiting import wait_until

from agent.gate.segments import Segments

HANGS = 1  # a segment that is a pipe: opening it waits until somebody reads
PATIENCE_S = 0.2


@pytest.fixture
def segments(tmp_path: Path) -> Iterator[Segments]:
    os.mkfifo(tmp_path / "00000001.journal")
    with closing(Segments(tmp_path, b"header", PATIENCE_S)) as opened:
        yield opened


@contextmanager
def disk_takes_again(folder: Path) -> Iterator[int]:
    """What it takes can be read here."""
    reader = os.open(folder / "00000001.journal", os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield reader
    finally:
        os.close(reader)


def lines(reader: int, most: int) -> list[bytes]:
    """The first lines that come."""
    read: list[bytes] = []

    def enough() -> bool:
        with suppress(BlockingIOError):  # nothing yet
            read.append(os.read(reader, 1 << 20))
        return len(b"".join(read).split()) >= most

    wait_until(enough)
    return b"".join(read).split()


def test_a_disk_that_hangs_is_waited_for_once(segments: Segments, caplog: pytest.LogCaptureFixture) -> None:
    began_s = time.monotonic()

    [segments.append(HANGS, b"%d" % n) for n in range(200)]

    assert time.monotonic() - began_s < 100 * PATIENCE_S  # of 200 that each had waited
    assert caplog.text.count("the disk hangs") == 1


def test_what_a_disk_did_not_take_while_it_hung_is_there_in_order_once_it_does(segments: Segments, tmp_path: Path) -> None:
    [segments.append(HANGS, b"%d" % n) for n in range(100)]

    with disk_takes_again(tmp_path) as reader:
        taken = lines(reader, 101)

    assert taken == [b"header", *(b"%d" % n for n in range(100))]


def test_of_what_a_disk_that_hangs_does_not_take_the_oldest_is_given_up(segments: Segments, tmp_path: Path) -> None:
    [segments.append(HANGS, b"%d" % n) for n in range(3000)]

    with disk_takes_again(tmp_path) as reader:
        taken = lines(reader, 1002)

    assert taken == [b"header", b"0", *(b"%d" % n for n in range(2000, 3000))]  # the first was under way


def test_segments_are_deleted_before_the_one_that_is_written(tmp_path: Path) -> None:
    with closing(Segments(tmp_path, b"header", PATIENCE_S)) as segments:
        segments.append(1, b"first")
        segments.append(2, b"second")
        segments.delete(1)
        segments.delete(2)
        segments.append(2, b"third")

    assert [file.name for file in tmp_path.iterdir()] == ["00000002.journal"]
