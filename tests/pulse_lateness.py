"""How late pulses are: in the ejector process, and in a thread beside one that computes, on an idle and on a loaded machine.

`make bench` prints it; the two alternatives are measured in turn on the same machine. A pulse every 20 ms, all rejected.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event as Stop

PARTS = 300
PERIOD_MS = 20
_LINE = f"""\
station: bench
bundle: none
state: state
cameras: {{top: {{type: folder, path: none}}}}
trigger: {{type: timer, period_ms: {PERIOD_MS}, count: {PARTS}, delay_ms: 500}}
ejector: {{type: dryrun}}
gate: {{travel_ms: 100, lead_ms: 20, pulse_ms: 5, window_ms: 60000, late_ms: 60000}}
runtime: {{type: onnxruntime}}
mqtt: {{host: 127.0.0.1, port: 1, topic: bench}}
"""


def lateness() -> list[tuple[str, dict[str, float]]]:
    """(where, and on which machine; figures of its pulses)."""
    found = []
    for load, burners in (("idle", 0), ("both cores loaded", os.cpu_count() or 2)):
        with loaded(burners):
            found.append((f"ejector process, {load}", _measure(["-m", "kensa", "eject"])))
            found.append((f"the same without real-time priority, {load}", _measure([__file__, "ordinary"])))
            found.append((f"a thread beside one that computes, {load}", _measure([__file__, "thread"])))
    return found


@contextmanager
def loaded(burners: int) -> Iterator[None]:
    """So many processes that compute without end."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(burners)]
    try:
        yield
    finally:
        for one in started:
            one.kill()
            one.wait()


def _measure(program: Sequence[str]) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="k") as name:
        file = Path(name) / "line.yaml"
        file.write_text(_LINE)
        process = subprocess.Popen([sys.executable, *program, str(file)], stderr=subprocess.PIPE, text=True)
        try:
            process.wait(timeout=5 + PARTS * PERIOD_MS / 1000)
        except subprocess.TimeoutExpired:
            process.terminate()
        _, log = process.communicate(timeout=30)
    (figures,) = [entry["pulses"] for line in log.splitlines() if "pulses" in (entry := json.loads(line))]
    return dict(figures)


def _run(file: Path, beside_a_thread: bool) -> None:
    """The gate's loop; and what one process for all would be: one more thread, which computes in Python as inspection does."""
    from agent.config import load_line
    from agent.ejector_process import eject_forever
    from agent.log import start_log

    stop = Stop()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    start_log("bench")

    def compute() -> None:
        while not stop.is_set():
            sum(range(1000))

    if beside_a_thread:
        threading.Thread(target=compute, daemon=True).start()
    gate = threading.Thread(target=eject_forever, args=(load_line(file), stop))
    gate.start()
    gate.join()


if __name__ == "__main__":
    _run(Path(sys.argv[2]), beside_a_thread=sys.argv[1] == "thread")
