"""`make bench`: what the device costs beside the network, printed beside its budget. Exit 1 where a budget is broken.

Runs the device's own environment (.venv-device, no torch) for import, memory and size.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench_outbox import outbox_beside_paho, print_cost
from bench_page import page_cost, told
from broker import mosquitto
from pulse_lateness import lateness
from running_line import RunningLine, Subscriber, write_line
from small_bundle import write_bundle, write_photographs

from agent.calibration import calibrate
from agent.decide import Policy, decide
from agent.inspection import AnomalyMap, Image, Part, Shot
from agent.loop import measured, read
from agent.model import Model
from agent.preprocess import InputContract, prepare

ROOT = Path(__file__).parent.parent
DEVICE = ROOT / ".venv-device" / "bin" / "python"
MB = 1 << 20


class NoNetwork:
    """A runtime that answers at once: what is left is all that is not the network."""

    executed_precision = "none"
    answer = np.zeros((32, 32), np.float32)

    def infer(self, image: Image) -> tuple[float, AnomalyMap]:
        return 0.5, self.answer


def frame_to_verdict() -> tuple[float, float]:
    """Median ms from a 1280x1024 frame to its verdict without the network, and of the resize alone, in turn."""
    contract = InputContract(256, 256, 640, 2560, 512, 2048, 1.0, 2.0)
    model = Model(contract, NoNetwork(), calibrate(np.linspace(0, 1, 300), 0.01))
    policy, random = Policy(model.calibration.threshold), np.random.default_rng(0)
    frames = [random.integers(0, 256, (1024, 1280, 3), np.uint8) for _ in range(8)]

    def whole(image: Image) -> None:
        shot = Shot(Part("bench", 1), "top", time.monotonic_ns(), image)
        reading = read(model, shot)
        decide(reading, policy)
        measured(shot, reading)

    def resize(image: Image) -> None:
        prepare(image, contract)

    def ms(function: Callable[[Image], None], image: Image) -> float:
        start = time.perf_counter()
        function(image)
        return 1000 * (time.perf_counter() - start)

    pairs = [(ms(whole, frames[k % 8]), ms(resize, frames[k % 8])) for k in range(400)][20:]
    return statistics.median(w for w, _ in pairs), statistics.median(r for _, r in pairs)


def import_s() -> float:
    """Median seconds of a device interpreter that imports the whole inspection process, less an empty one."""

    def once(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([str(DEVICE), "-c", code], check=True, cwd="/")
        return time.perf_counter() - start

    pairs = [(once("import agent.loop, agent.ejector_process, agent.commands.line"), once("pass")) for _ in range(7)]
    return statistics.median(a - b for a, b in pairs)


def pss_mb(process_id: int) -> float:
    rollup = Path(f"/proc/{process_id}/smaps_rollup").read_text()
    (line,) = (row for row in rollup.splitlines() if row.startswith("Pss:"))
    return int(line.split()[1]) / 1024


def process_of(role: str, file: Path) -> int:
    return int(subprocess.check_output(["pgrep", "-f", f"kensa.py {role} {file}"], text=True).split()[0])


def running_line(runtime: str) -> tuple[float, list[float]]:
    """PSS of both processes after 200 parts of a one-convolution bundle, and how late each pulse was, ms."""
    with tempfile.TemporaryDirectory(prefix="k") as name:
        folder = Path(name)
        (folder / "broker").mkdir()
        write_bundle(folder / "bundle", openvino_too=True)
        write_photographs(folder / "parts", 50, frozenset(range(0, 50, 2)))
        with mosquitto(folder / "broker") as broker:
            file = write_line(folder, broker, folder / "bundle", folder / "parts", count=200, period_ms=30)
            file.write_text(file.read_text().replace("{type: onnxruntime, threads: 1}", f"{{type: {runtime}, threads: 1}}"))
            subscriber = Subscriber(broker)
            line = RunningLine(file, folder / "line.log", python=str(DEVICE))
            subscriber.wait_for(200, timeout_s=60)
            memory = sum(pss_mb(process_of(role, file)) for role in ("eject", "inspect"))
            line.stop()
            subscriber.close()
            late = [event["data"]["action"]["late_ms"] for event in subscriber.by_id.values()]
    return memory, sorted(ms for ms in late if ms is not None)


def install_mb() -> float:
    """Everything in the device's site-packages but pip, setuptools and the test tools."""
    code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    site = Path(subprocess.check_output([str(DEVICE), "-c", code], text=True).strip())
    tools = ("pip", "setuptools", "pytest", "_pytest", "hypothesis", "pygments", "pkg_resources", "_distutils_hack")
    files = (f for entry in site.iterdir() if not entry.name.lower().startswith(tools) for f in [entry, *entry.rglob("*")])
    return sum(f.stat().st_size for f in files if f.is_file()) / MB


def main() -> int:
    """Prints one line per budget."""
    broken = 0

    def tell(what: str, found: float, unit: str, budget: float, more: str = "") -> None:
        nonlocal broken
        broken += found > budget
        print(f"{what:58s} {found:8.2f} {unit:3s} budget {budget:g}  {'ok' if found <= budget else 'BROKEN'}  {more}")

    whole_ms, resize_ms = frame_to_verdict()
    tell(
        "1280x1024 frame to verdict, outside the network", whole_ms, "ms", 2.0, f"({whole_ms / resize_ms:.2f} x the resize alone)"
    )
    tell("import of the agent", import_s(), "s", 1.0)
    for runtime in ("onnxruntime", "openvino"):
        memory, late = running_line(runtime)
        tell(f"PSS of both processes, one convolution, {runtime}", memory, "MB", 190.0)
        p50, p99 = late[len(late) // 2], late[int(0.99 * len(late))]
        print(
            f"  pulse lateness in the ejector process: p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {late[-1]:.2f} ms of {len(late)}"
        )
    for where, late in lateness():
        figures = ", ".join(f"{name} {late[f'{name}_ms']:.2f} ms" for name in ("p50", "p99", "max"))
        print(f"  pulse lateness, {where:55s} {figures} of {late['pulses']:.0f}")
    ratio, words = told(*page_cost())
    tell("trigger to verdict at p99, 3 pages open over none", ratio, "x", 1.1, words)
    print_cost(outbox_beside_paho())
    tell("device install with both runtimes", install_mb(), "MB", 530.0)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
