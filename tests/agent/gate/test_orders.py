"""What a person ordered outlives a restart; what cannot be read is taken for the worst."""

import os
from pathlib import Path

import pytest
from waiting import wait_until

from agent.gate.line_stop import Reason
from agent.gate.orders import UNREADABLE, OrderBook, Orders

SOME = Orders(maintenance=True, held={Reason.EJECTOR: "coil 3 does not answer", Reason.REJECTS_IN_A_ROW: "8 parts"})


def test_without_a_file_nothing_was_ordered(tmp_path: Path) -> None:
    assert OrderBook(tmp_path / "orders.json").read() == Orders()


def test_what_was_written_is_read_by_the_next(tmp_path: Path) -> None:
    OrderBook(tmp_path / "orders.json").write(SOME)

    assert OrderBook(tmp_path / "orders.json").read() == SOME


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"held": {"sunspots": "yes"}}', b'{"maintenence": true}', b"\xff"], ids=str
)
def test_a_file_that_cannot_be_understood_holds_the_line_with_inert_outputs(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "orders.json").write_bytes(content)

    found = OrderBook(tmp_path / "orders.json").read()

    assert found == UNREADABLE
    assert (found.maintenance, list(found.held)) == (True, [Reason.UNREADABLE])


def test_a_disk_that_refuses_is_loud_and_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    OrderBook(tmp_path / "not there" / "orders.json").write(SOME)

    assert "a restart will not know of this" in caplog.text


def test_a_disk_that_hangs_is_not_waited_for_and_what_is_written_once_it_goes_on_is_kept(tmp_path: Path) -> None:
    book, hangs = OrderBook(tmp_path / "orders.json"), tmp_path / "orders.new"
    os.mkfifo(hangs)  # opening it waits until somebody reads
    refused = [book.write(SOME), book.write(SOME)]
    with os.fdopen(os.open(hangs, os.O_RDONLY | os.O_NONBLOCK)):
        wait_until(lambda: not hangs.exists())
    (tmp_path / "orders.json").unlink()  # the pipe, which now has its name

    wait_until(lambda: book.write(SOME))

    assert refused == [False, False]
    assert OrderBook(tmp_path / "orders.json").read() == SOME
