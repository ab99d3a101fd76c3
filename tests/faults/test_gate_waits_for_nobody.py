"""What the gate could have to wait for, S2, S9, S13: a disk that hangs, a systemd that hears nothing, a descriptor."""

import itertools
import os
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest
from gate_line import GateLine, gate_line, state_of, write_gate_line
from inspector import Inspector, eject_process
from libmodbus import Plc
from waiting import wait_until

SHUT_OUT = "inspection-shut-out"


def test_s2_a_journal_whose_disk_hangs_keeps_no_part_from_being_ejected(line: GateLine, folder: Path) -> None:
    os.mkfifo(folder / "state" / "journal" / "00000001.journal")  # opening it waits until somebody reads

    closed = line.rejected(3)

    assert [(one.actual_ns is not None, one.problem) for one in closed] == [(True, "")] * 3
    assert (folder / "state" / "journal" / "00000001.journal").is_fifo()


def test_s2_a14_a_disk_that_hangs_keeps_nobody_from_beginning_maintenance_and_is_told_of(line: GateLine, folder: Path) -> None:
    os.mkfifo(folder / "state" / "orders.new")

    begun = line.ask("maintenance")

    line.wait_for_alarm("orders-not-kept")
    (closed,) = line.rejected()
    assert begun.maintenance
    assert closed.problem == "maintenance: the outputs are inert"


@contextmanager
def full_mailbox(path: Path) -> Iterator[None]:
    """Of a systemd that reads nothing."""
    with ExitStack() as sockets:
        mailbox = sockets.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        mailbox.bind(str(path))
        with suppress(BlockingIOError):
            for _ in itertools.count():
                sender = sockets.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
                sender.setblocking(False)
                sender.sendto(b"WATCHDOG=1", str(path))
        yield


def test_s9_a_systemd_that_hears_nothing_holds_up_no_part(folder: Path, machine: Plc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "systemd"))
    with full_mailbox(folder / "systemd"), gate_line(folder, machine) as line:
        closed = line.rejected(3)

    assert [(one.actual_ns is not None, one.problem) for one in closed] == [(True, "")] * 3


def cpu_s(process: int) -> float:
    """Processor time that a process has used."""
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_s13_a_gate_without_a_descriptor_says_so_idles_and_lets_inspection_in_once_it_can(folder: Path, machine: Plc) -> None:
    with eject_process(write_gate_line(folder, machine.port)) as gate:
        wait_until(lambda: (state := state_of(folder)) and not state.problems)
        process, limits = gate.process.pid, resource.prlimit(gate.process.pid, resource.RLIMIT_NOFILE)
        next_one = next(n for n in itertools.count() if not Path(f"/proc/{process}/fd/{n}").exists())
        resource.prlimit(process, resource.RLIMIT_NOFILE, (next_one, limits[1]))
        with closing(Inspector(folder / "state" / "gate.sock")) as shut_out:
            wait_until(lambda: f"{SHUT_OUT}: an inspection process cannot be let in: Too many open files" in gate.messages())
            before_s, seconds = cpu_s(process), 2.0
            threading.Event().wait(seconds)  # in which it has nothing to do
            used = (cpu_s(process) - before_s) / seconds
            resource.prlimit(process, resource.RLIMIT_NOFILE, limits)
            wait_until(lambda: (state := state_of(folder)) and state.attached)
            shut_out.listen_until(lambda: SHUT_OUT in shut_out.alarms)

    assert used < 0.5  # of a core; one that asks again and again uses all of one
