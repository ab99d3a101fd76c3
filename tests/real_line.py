"""A belt in real time around the two real processes: it sends triggers and pictures, watches a Modbus coil, and kills.

`make soak-line` runs it at length; a short run is tests/line/test_real_line.py. The truth is the belt's: which part the flap,
which follows the coil of an independent Modbus server, has taken off.
"""

import argparse
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np

TESTS = Path(__file__).parent
sys.path[:0] = [str(TESTS), str(TESTS / "agent")]

from broker import Broker, mosquitto  # noqa: E402 - a script, too
from libmodbus import Plc, plc  # noqa: E402
from small_bundle import photograph, write_bundle  # noqa: E402

from agent.gate.operator_side import GateSilentError, ask_gate  # noqa: E402
from agent.inspection import Part  # noqa: E402
from agent.simulation.belt import LENGTH_MM, MM_PER_MS, BeltPart  # noqa: E402
from agent.simulation.line import Findings  # noqa: E402
from agent.simulation.simulator import judge, told_in  # noqa: E402

TRAVEL_MS = 600.0
LAG_NS = 20_000_000  # the flap is slower than its coil
LEAD_MS = 40.0  # the flap's lag, and as much for the network and the scheduler


@dataclass(frozen=True, slots=True)
class Plan:
    """kills: of each process, spread over the run. slow, lost: shares of pictures that come late or never."""

    parts: int
    seed: int
    kills: int
    broker_kills: int = 0
    slow: float = 0.02
    lost: float = 0.02
    bad_share: float = 0.1


class RealBelt:
    """The world: one thread puts parts on the belt and triggers, one answers the camera. The belt never changes its speed."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.counts: Counter[str] = Counter()
        self.parts: dict[int, BeltPart] = {}  # by the trigger's instant
        self.is_done = threading.Event()
        self._random = Random(plan.seed)
        self._pictures = np.random.default_rng(plan.seed)
        self._folder = folder
        self._faults: deque[BaseException] = deque()
        self._stop = threading.Event()
        self._camera = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._camera.bind(str(folder / "camera.sock"))
        self._camera.listen(16)
        self._camera.settimeout(0.2)
        self._threads = [threading.Thread(target=self._guarded, args=(work,), daemon=True) for work in (self._feed, self._show)]

    def __enter__(self) -> "RealBelt":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(5)
        self._camera.close()
        if self._faults:
            raise self._faults[0]

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as e:  # noqa: BLE001 - raised when the belt is left
            self._faults.append(e)
            self.is_done.set()

    def _feed(self) -> None:
        """A part every now and then, while a PLC would see the heartbeat; then the last ones reach the gate."""
        while len(self.parts) < self.plan.parts and not self._stop.wait(self._random.uniform(0.04, 0.2)):
            if self._send(b""):
                self._trigger()
        self._stop.wait(2 * TRAVEL_MS / 1000)
        self.is_done.set()

    def _trigger(self) -> None:
        now_ns = time.monotonic_ns()
        self.parts[now_ns] = BeltPart(len(self.parts) + 1, self._random.random() < self.plan.bad_share, 0.0)
        if not self._send(str(now_ns).encode()):
            del self.parts[now_ns]
            self.counts["taken off by the PLC, trigger not acknowledged"] += 1
        elif self._random.random() < 0.02:
            self.counts["made: trigger bounced"] += 1
            self._send(str(now_ns + 200_000).encode())

    def _send(self, said: bytes) -> bool:
        """To the gate; False where nobody is there. Nothing said: only whether somebody is."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            try:
                out.connect(str(self._folder / "trigger.sock"))
                return not said or out.send(said) > 0
            except OSError:
                return False

    def _show(self) -> None:
        """Answers the camera."""
        while not self._stop.is_set():
            try:
                asked, _ = self._camera.accept()
            except TimeoutError:
                continue
            threading.Thread(target=self._answer, args=(asked,), daemon=True).start()

    def _answer(self, asked: socket.socket) -> None:
        with asked, suppress(OSError):
            part, chance = self.parts.get(int(asked.recv(64))), self._random.random()
            if part is None or chance < self.plan.lost:
                self.counts["made: picture lost"] += 1
                return
            if chance < self.plan.lost + self.plan.slow:
                self.counts["made: picture late"] += 1
                time.sleep(TRAVEL_MS / 1000)
            asked.send(photograph(self._pictures, part.is_bad).tobytes())


def acting(coupler: Plc) -> list[tuple[int, int]]:
    """From when to when the flap stood in the way, ns: the coil's times, a lag later."""
    found: list[tuple[int, int]] = []
    since_ns: int | None = None
    for (_, said), at_ns in zip(coupler.writes, coupler.written_ns, strict=True):
        is_on = said[2] == 0xFF  # of a single coil: address, then 0xFF00 or 0
        if is_on and since_ns is None:
            since_ns = at_ns
        elif not is_on and since_ns is not None:
            found.append((since_ns + LAG_NS, at_ns + LAG_NS))
            since_ns = None
    return found if since_ns is None else [*found, (since_ns + LAG_NS, time.monotonic_ns())]


def caught_ms(triggered_ns: int, flap: list[tuple[int, int]]) -> float:
    """How long the flap acted on the part of a trigger."""
    here, gone = triggered_ns + round(TRAVEL_MS * 1e6), triggered_ns + round((TRAVEL_MS + LENGTH_MM / MM_PER_MS) * 1e6)
    return sum(max(0, min(gone, until) - max(here, since)) for since, until in flap) / 1e6


def write_line(folder: Path, broker: Broker, coupler: Plc) -> Path:
    """line.yaml of the belt."""
    write_bundle(folder / "bundle")
    file = folder / "line.yaml"
    file.write_text(f"""station: station-1
bundle: bundle
state: state
cameras: {{top: {{type: simulated, path: {folder}/camera.sock, timeout_ms: 1000}}}}
trigger: {{type: software, path: {folder}/trigger.sock}}
ejector: {{type: modbus, host: 127.0.0.1, port: {coupler.port}, coil: 0}}
gate: {{travel_ms: {TRAVEL_MS}, lead_ms: {LEAD_MS}, pulse_ms: 60, window_ms: 30}}
runtime: {{type: onnxruntime, threads: 1}}
mqtt: {{host: {broker.host}, port: {broker.port}, topic: test/line-1, keepalive_s: 5}}
""")
    return file


@contextmanager
def processes(file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`kensa run`, ended as a person would."""
    with file.with_name("line.log").open("ab") as log:
        run = subprocess.Popen([sys.executable, "-m", "kensa", "run", str(file)], stdout=log, stderr=log)
    try:
        yield run
    finally:
        run.send_signal(signal.SIGINT)
        run.wait(40)


def run_line(plan: Plan, folder: Path) -> Findings:
    """Parts through the real processes, with kills by chance; what happened against what was told."""
    random, broken = Random(plan.seed + 1), Findings()
    with mosquitto(folder) as broker, plc() as coupler:
        file = write_line(folder, broker, coupler)
        with RealBelt(plan, folder) as belt, processes(file):
            to_kill = ["eject", "inspect"] * plan.kills + ["broker"] * plan.broker_kills
            random.shuffle(to_kill)
            moments = sorted(random.uniform(0.1, 0.9) * plan.parts for _ in to_kill)
            while not belt.is_done.wait(0.2):
                _help(folder / "state", belt.counts)
                if moments and len(belt.parts) >= moments[0] and _is_up(folder / "state"):
                    moments.pop(0)
                    _kill(to_kill.pop(), file, broker, belt.counts)
        flap = acting(coupler)
    told = told_in(folder / "state" / "outbox.db")
    by_instant = {one.triggered_ns: one.part for one in told}
    for triggered_ns, part in belt.parts.items():
        part.caught_ms = caught_ms(triggered_ns, flap)
        boot, _, n = by_instant.get(triggered_ns, "").partition("/")
        part.part = Part(boot, int(n)) if boot else None
    unread = [part for part in belt.parts.values() if part.part is None]
    belt.counts["killed before the trigger was read"] = len(unread)
    if len(unread) > plan.kills:
        broken.violations.append(f"{len(unread)} triggers were never counted, {plan.kills} kills explain at most one each")
    judge([part for part in belt.parts.values() if part.part is not None], told, broken)
    broken.counts.update(belt.counts)
    return broken


def _is_up(state: Path) -> bool:
    """Both processes are there."""
    with suppress(GateSilentError):
        return ask_gate(state, "status", timeout_s=0.5).attached
    return False


def _help(state: Path, counts: Counter[str]) -> None:
    """A person who comes when the line is held."""
    with suppress(GateSilentError):
        if ask_gate(state, "status", timeout_s=0.5).held:
            ask_gate(state, "reset", timeout_s=0.5)
            counts["a person reset the gate"] += 1


def _kill(role: str, file: Path, broker: Broker, counts: Counter[str]) -> None:
    counts[f"made: {role} killed"] += 1
    if role == "broker":
        broker.kill()
        broker.start()
    else:
        subprocess.run(["pkill", "-KILL", "-f", f"kensa.py {role} {file}"], check=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=20, help="of each process")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        findings = run_line(Plan(options.parts, options.seed, options.kills, broker_kills=5), Path(folder))
    print(f"seed {options.seed}")
    print("\n".join(f"{count:10d}  {what}" for what, count in sorted(findings.counts.items())))
    print(f"{len(findings.violations):10d}  violations", *findings.violations[:20], sep="\n")
    return 1 if findings.violations else 0


if __name__ == "__main__":
    sys.exit(main())
