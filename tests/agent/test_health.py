"""The words to systemd, read from a real datagram socket."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.health import ALIVE, notify


@pytest.fixture
def systemd() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(5)
        yield listening


@pytest.mark.parametrize("message", [ALIVE, "STOPPING=1"])
def test_a_message_reaches_the_process_manager(
    systemd: socket.socket, state: Path, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    systemd.bind(str(state / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(state / "notify"))

    assert notify(message)

    assert systemd.recv(100) == message.encode()


def test_an_abstract_socket_is_reached_too(systemd: socket.socket, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemd.bind(f"\0{state.name}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{state.name}")

    assert notify("READY=1")

    assert systemd.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    "address", ["", "/nobody/listens/here", "@kensa-nobody", "x" * 200], ids=["empty", "no file", "abstract", "too long"]
)
def test_where_no_process_manager_listens_nothing_happens(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)

    assert not notify("READY=1")


def test_without_a_process_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

    assert not notify("READY=1")


def test_a_process_manager_that_hears_nothing_is_not_waited_for(
    systemd: socket.socket, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd.bind(str(state / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(state / "notify"))

    taken = [notify(ALIVE) for _ in range(2000)]  # systemd's mailbox holds 512, the kernel's own default is 10

    assert (taken[0], taken[-1]) == (True, False)
