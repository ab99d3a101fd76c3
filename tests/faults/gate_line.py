"""A gate in a thread of the test, with real parts around it: libmodbus as PLC, a socket that triggers, inspection's end."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from inspector import Inspector
from libmodbus import Plc
from waiting import wait_until

from agent.config import load_line
from agent.ejector_process import eject_forever
from agent.gate.operator_side import Action, GateSilentError, GateState, ask_gate
from agent.inspection import Cause, Closed, Outcome, Part, Verdict
from agent.link import Tell, digest_of

PASS = Verdict(Outcome.PASS, Cause.SCORE, "good")
REJECT = Verdict(Outcome.REJECT, Cause.SCORE, "defect")
COIL = 3  # of the ejector
PERMIT = 4  # on while the line may run


def write_gate_line(
    folder: Path,
    port: int,
    gate: str = "",
    more: str = "",
    trigger: str = "{type: software, path: trigger}",
    debounce_ms: float = 0.001,
) -> Path:
    """line.yaml of a gate 300 ms behind its trigger, its ejector at coil 3 of a Modbus PLC. gate, more: further keys."""
    file = folder / "line.yaml"
    file.write_text(
        f"""\
station: press-3
bundle: none
state: state
cameras:
  top: {{type: folder, path: none}}
trigger: {trigger}
ejector: {{type: modbus, host: 127.0.0.1, port: {port}, coil: {COIL}, timeout_ms: 300, within_ms: 1000}}
gate: {{travel_ms: 320, lead_ms: 20, pulse_ms: 100, window_ms: 3000, late_ms: 3000, debounce_ms: {debounce_ms}{gate}}}
runtime: {{type: onnxruntime}}
mqtt: {{host: 127.0.0.1, port: 1, topic: plant/press-3}}
{more}
"""
    )
    return file


@dataclass(slots=True)
class GateLine:
    """The gate as the test sees it."""

    folder: Path
    inspector: Inspector

    def trigger(self, parts: int = 1) -> list[Part]:
        """So many parts, one after the other; their names as inspection hears them."""
        before = len(self.inspector.triggered)
        for n in range(1, parts + 1):
            send_trigger(self.folder)
            self.inspector.listen_until(lambda n=n: len(self.inspector.triggered) >= before + n)
        return self.inspector.triggered[before:]

    def tell(self, part: Part, verdict: Verdict) -> None:
        self.inspector.send(Tell(part, verdict))

    def closed(self, parts: Sequence[Part]) -> list[Closed]:
        """How these parts ended, waiting for it."""
        self.inspector.listen_until(lambda: set(parts) <= self.inspector.closed_parts())
        return [next(closed for closed in self.inspector.closed if closed.part == part) for part in parts]

    def rejected(self, parts: int = 1) -> list[Closed]:
        """Triggers so many parts, rejects each, and waits for their ends."""
        triggered = self.trigger(parts)
        for part in triggered:
            self.tell(part, REJECT)
        return self.closed(triggered)

    def ask(self, action: Action = "status") -> GateState:
        return ask_gate(self.folder / "state", action)

    def wait_for_alarm(self, name: str) -> None:
        self.inspector.listen_until(lambda: name in self.inspector.alarms)


def send_trigger(folder: Path, name: str = "trigger") -> None:
    """One part at the light barrier, or at another sensor of that name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"", str(folder / name))


def state_of(folder: Path) -> GateState | None:
    """How the gate of a folder stands; None while nobody answers."""
    try:
        return ask_gate(folder / "state", "status", timeout_s=0.5)
    except GateSilentError:
        return None


@contextmanager
def ejecting(file: Path) -> Iterator[None]:
    """`eject_forever` in a thread, whose devices are all well when the block begins; ended with it."""
    stop = threading.Event()
    failures: list[Exception] = []

    def run() -> None:
        try:
            eject_forever(load_line(file), stop)
        except Exception as e:  # noqa: BLE001 - the test fails of it when the block is left
            failures.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_until(lambda: failures or ((state := state_of(file.parent)) and not state.problems))
        yield
    finally:
        stop.set()
        thread.join(timeout=20)
    assert failures == []


@contextmanager
def gate_line(folder: Path, plc: Plc, gate: str = "", more: str = "", **others: object) -> Iterator[GateLine]:
    """The gate running, inspection attached. others: as `write_gate_line` has them."""
    file = write_gate_line(folder, plc.port, gate, more, **others)
    with ejecting(file), closing(Inspector(folder / "state" / "gate.sock", digest_of(load_line(file)))) as inspector:
        wait_until(lambda: (state := state_of(folder)) and state.attached)
        yield GateLine(folder, inspector)


def pulses(plc: Plc) -> list[bool]:
    """What was written to the ejector's coil, in order."""
    address = bytes([0, COIL])
    return [content[2:4] == b"\xff\x00" for function, content in plc.writes if function == 5 and content[:2] == address]
