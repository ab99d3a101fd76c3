"""What stands around the two real processes of a line in real time, and how each of it breaks."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from broker import Broker
from kensa_process import running
from libmodbus import Plc
from real_belt import TRAVEL_MM, Drive, RealBelt
from real_camera import Loss, RealCamera
from real_plc import IsPolled, Polls, RealPlc
from running_line import TOPIC
from small_bundle import write_bundle
from wall_clock import faked_by, step

from agent.gate.operator_side import GateSilentError, ask_gate
from agent.simulation.belt import MM_PER_MS

TRAVEL_MS = TRAVEL_MM / MM_PER_MS
LEDGER = "events.db"
_COLLECTOR = "archive"
LEAD_MS = 40.0  # the flap's lag, and as much for the network and the scheduler

# The supervisor's own clock is left alone: under libfaketime 0.9.10 its time.sleep fails with EINVAL.
RUN_WITH = "import json, os, sys; os.environ.update(json.loads(sys.argv.pop(1))); import kensa; sys.exit(kensa.main())"


@dataclass(frozen=True, slots=True)
class Plan:
    """kills: of each process. others: of each other kind of fault: broker killed, camera lost in two ways, PLC late, deaf or
    gone, coupler slow, wall clock (twice). All are spread over the run by chance.

    slow, lost: shares of pictures that come late or never.
    by_encoder: the belt changes its speed, stands and runs back, and the station is the PLC's Modbus client, not its server.
    """

    parts: int
    seed: int
    kills: int
    others: int
    by_encoder: bool = False
    slow: float = 0.02
    lost: float = 0.02
    bad_share: float = 0.1


class World:
    """What stands around the two processes; `make` breaks something. killed_ns: when an ejector process was killed."""

    def __init__(self, plan: Plan, folder: Path, broker: Broker, coupler: Plc, parts: ExitStack) -> None:
        self.counts: Counter[str] = Counter()
        self.killed_ns: list[int] = []
        self.broker = broker
        self.clock = folder / "clock"
        self._random = Random(plan.seed + 1)
        wire = IsPolled() if plan.by_encoder else Polls()
        drive = Drive(plan.by_encoder, Random(plan.seed + 2))
        self._slow_answers = 0  # still to come
        coupler.before_request = lambda: self._answer(drive, coupler)
        self.file = write_line(folder, broker, coupler, wire.section, plan.by_encoder)
        self.plc = parts.enter_context(RealPlc(wire))
        self.belt = RealBelt(drive, folder / "trigger.sock", plan.parts, plan.bad_share, self.plc.may_feed, plan.seed)
        picture = RealCamera(folder / "camera.sock", self.belt.parts, plan.slow, plan.lost, TRAVEL_MS, plan.seed)
        self.camera = parts.enter_context(picture)
        step(self.clock, "+0")
        self._run = parts.enter_context(processes(self.file, self.clock))
        parts.enter_context(self.belt)  # the last to come, and the first to go once it is empty

    @property
    def state(self) -> Path:
        return self.file.parent / "state"

    def make(self, fault: str) -> None:
        """One of `faults`."""
        seconds = self._random.uniform
        match fault:
            case "eject" | "inspect":
                self._kill(fault)
            case "broker":
                self.counts["made: broker killed"] += 1
                self.broker.kill()
                self.broker.start()
            case "camera silent":
                self.camera.lose(Loss.SILENT, seconds(1, 4))
            case "camera refuses":
                self.camera.lose(Loss.REFUSES, seconds(1, 4))
            case "plc late":
                self.plc.take_late(seconds(0.2, 0.6))
            case "plc deaf":
                self.plc.take_nothing()
            case "plc gone":
                self.plc.vanish(seconds(0.5, 3))
            case "coupler slow":
                self._slow_answers = 100
            case "clock":
                self.counts["made: wall clock stepped"] += 1
                step(self.clock, f"{self._random.choice((-1, 1)) * self._random.randint(600, 43_200):+d}")

    def help(self) -> None:
        """A person who comes when the line is held; an overrun is reset by the PLC's button."""
        with suppress(GateSilentError):
            if ask_gate(self.state, "status", timeout_s=0.5).held.keys() - {"plc-overrun"}:
                ask_gate(self.state, "reset", timeout_s=0.5)
                self.counts["a person reset the gate"] += 1

    def is_up(self) -> bool:
        """Both processes are there."""
        with suppress(GateSilentError):
            return ask_gate(self.state, "status", timeout_s=0.5).attached
        return False

    def _answer(self, drive: Drive, coupler: Plc) -> None:
        """What the coupler does before it answers: it counts, and while it is slow pauses before every tenth answer."""
        count = int(drive.place(time.monotonic_ns()) // 1) % (1 << 32)
        coupler.inputs[0], coupler.inputs[1] = count >> 16, count & 0xFFFF
        if not self._slow_answers:
            return
        self._slow_answers -= 1
        if self._slow_answers % 10 == 9:
            self.counts["made: coupler answered 80 ms late"] += 1
            time.sleep(0.08)

    def _kill(self, role: str) -> None:
        children = Path(f"/proc/{self._run.pid}/task/{self._run.pid}/children").read_text().split()
        for pid in children:
            with suppress(OSError):  # gone already
                if role in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
                    os.kill(int(pid), signal.SIGKILL)
                    self.counts[f"made: {role} killed"] += 1
                    self.killed_ns += [time.monotonic_ns()] if role == "eject" else []


def faults(plan: Plan) -> list[str]:
    others = ("broker", "camera silent", "camera refuses", "plc late", "plc deaf", "plc gone", "coupler slow", "clock", "clock")
    return ["eject", "inspect"] * plan.kills + list(others) * plan.others


def write_line(folder: Path, broker: Broker, coupler: Plc, plc_section: str, by_encoder: bool) -> Path:
    """line.yaml of the belt."""
    write_bundle(folder / "bundle")
    counts = f", travel_counts: {TRAVEL_MM:.0f}" if by_encoder else ""
    encoder = f"encoder: {{type: modbus, host: 127.0.0.1, port: {coupler.port}, counter: 0, timeout_ms: 300, lost_ms: 1000}}"
    file = folder / "line.yaml"
    file.write_text(f"""station: station-1
bundle: bundle
state: state
cameras: {{top: {{type: simulated, path: {folder}/camera.sock, timeout_ms: 1000}}}}
trigger: {{type: software, path: {folder}/trigger.sock}}
ejector: {{type: modbus, host: 127.0.0.1, port: {coupler.port}, coil: 0}}
gate: {{travel_ms: {TRAVEL_MS}, lead_ms: {LEAD_MS}, pulse_ms: 60, window_ms: 30, stop: {{part_went_by: true}}{counts}}}
plc: {plc_section}
runtime: {{type: onnxruntime, threads: 1}}
mqtt: {{host: {broker.host}, port: {broker.port}, topic: {TOPIC}, keepalive_s: 5, collector: {_COLLECTOR}}}
{encoder if by_encoder else ""}
""")
    return file


@contextmanager
def collecting(broker: Broker, folder: Path) -> Iterator[None]:
    """`kensa collect`: the central end, which asks for what a killed broker has lost."""
    words = ["--host", broker.host, "--port", str(broker.port), "--topic", TOPIC.partition("/")[0], "--name", _COLLECTOR]
    with running("-m", "kensa", "collect", *words, "--out", str(folder / LEDGER), log_file=folder / "collect.log"):
        yield


@contextmanager
def processes(file: Path, clock: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`kensa run` with a wall clock of its own, ended as a person would."""
    if (environment := faked_by(clock)) is None:
        raise RuntimeError("needs libfaketime (Debian: apt install faketime)")
    command = [sys.executable, "-c", RUN_WITH, json.dumps(environment), "run", str(file)]
    with file.with_name("line.log").open("ab") as log:
        run = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield run
    finally:
        run.send_signal(signal.SIGINT)
        run.wait(40)
