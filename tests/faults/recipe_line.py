"""A line of two products, its two real processes, and what its outbox says of which recipe judged which part."""

import io
import json
import shutil
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kensa_process import Running, running
from small_bundle import edit_manifest, write_bundle, write_photographs
from waiting import wait_until

from agent.commands.gate import gate
from agent.gate.operator_side import GateSilentError, GateState, ask_gate

DELAY_MS = {"cap": 280, "lid": 180}  # trigger to gate, less lead


def write_products(folder: Path, port: int = 1, period_ms: float = 40, more: str = "") -> Path:
    """line.yaml with recipes 1 (cap, good photographs), 2 (lid, all with a defect, a shorter way) and 3 (does not open)."""
    write_bundle(folder / "cap")
    for name in ("lid", "broken"):
        shutil.copytree(folder / "cap", folder / name)
    edit_manifest(folder / "cap", lambda manifest: manifest.update(name="cap"))
    edit_manifest(folder / "lid", lambda manifest: manifest.update(name="lid"))
    edit_manifest(folder / "broken", lambda manifest: manifest["artifacts"][0].update(golden_raw=[0.9, 0.1]))
    write_photographs(folder / "caps", 3)
    write_photographs(folder / "lids", 3, defects=frozenset({0, 1, 2}))
    file = folder / "line.yaml"
    file.write_text(
        f"""\
station: press-3
bundle: cap
state: state
cameras: {{top: {{type: folder, path: caps}}}}
trigger: {{type: timer, period_ms: {period_ms}}}
ejector: {{type: dryrun}}
gate: {{travel_ms: 300, lead_ms: 20, pulse_ms: 10}}
runtime: {{type: onnxruntime, threads: 1}}
mqtt: {{host: 127.0.0.1, port: {port}, topic: plant/press-3, commands: [recipe]}}
recipes:
  1: {{name: cap}}
  2: {{name: lid, bundle: lid, cameras: {{top: {{path: lids}}}}, gate: {{travel_ms: 200, pulse_ms: 20}}}}
  3: {{name: broken, bundle: broken}}
{more}
"""
    )
    return file


@dataclass(slots=True)
class TwoProcesses:
    """Both processes of the line; started again under the same name when they were killed."""

    file: Path
    processes: dict[str, Running]
    _stack: ExitStack

    def start(self, role: str) -> None:
        log_file = self.file.parent / f"{role}.log"
        self.processes[role] = self._stack.enter_context(running("-m", "kensa", role, str(self.file), log_file=log_file))

    def kill(self, role: str) -> None:
        """SIGKILL, also to a process that is frozen."""
        self.processes[role].kill()

    def freeze(self, role: str) -> None:
        self.processes[role].process.send_signal(signal.SIGSTOP)

    def thaw(self, role: str) -> None:
        self.processes[role].process.send_signal(signal.SIGCONT)

    def state(self) -> GateState | None:
        try:
            return ask_gate(self.file.parent / "state", "status", timeout_s=0.5)
        except GateSilentError:
            return None

    def ask(self, recipe: int) -> None:
        """Without waiting for what becomes of it."""
        ask_gate(self.file.parent / "state", "recipe", recipe=recipe)

    def wait_until_ready(self, recipe: int | None = None) -> int:
        """Until parts are judged by this recipe, or by whichever; its number."""
        wait_until(lambda: (found := self.state()) and found.ready and recipe in (None, found.recipe.number), timeout_s=30)
        found = self.state()
        assert found is not None
        assert found.recipe is not None
        return found.recipe.number

    def wait_until_judging(self, recipe: int) -> None:
        """Until parts that came under this recipe have been judged by it."""
        self.wait_until_ready(recipe)
        before = self._judged()
        wait_until(lambda: self._judged() >= before + 2)

    def _judged(self) -> int:
        found = self.state()
        return found.account.get("pass", 0) + found.account.get("reject_score", 0) if found else 0

    def command(self, recipe: int) -> tuple[int, str]:
        """`kensa gate line.yaml recipe N`, without a process of its own: exit status and what it said."""
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            status = gate([str(self.file), "recipe", str(recipe)])
        return status, said.getvalue()

    def leave(self) -> dict[str, int]:
        """Both end in order; the account of the last ejector process."""
        for role in ("eject", "inspect"):
            assert self.processes[role].terminate() == 0
        return next(entry["account"] for entry in reversed(self.processes["eject"].entries()) if "account" in entry)


@contextmanager
def two_processes(file: Path, is_ready: bool = True) -> Iterator[TwoProcesses]:
    """Ready when the block begins, unless it is not to be; gone with it."""
    with ExitStack() as stack:
        line = TwoProcesses(file, {}, stack)
        line.start("eject")
        line.start("inspect")
        wait_until(lambda: (found := line.state()) and (found.ready or not is_ready), timeout_s=30)
        yield line


def events(file: Path) -> list[dict[str, Any]]:
    """The data of all parts' events in the outbox of the line, in order."""
    with closing(sqlite3.connect(file.parent / "state" / "outbox.db")) as database:
        rows = database.execute("SELECT topic, data FROM event ORDER BY seq").fetchall()
    return [json.loads(data) for topic, data in rows if topic.startswith("result/")]


def judged_otherwise(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Parts judged by another model, or sent another way, than their recipe has."""
    return [one for one in found if one["cause"] == "score" and _judges(one) != {(one["recipe"] or {}).get("name")}]


def twice(found: list[dict[str, Any]]) -> list[str]:
    """Parts that have more than one event."""
    counted = Counter(f"{one['part']['boot']}/{one['part']['n']}" for one in found)
    return [part for part, times in counted.items() if times > 1]


def missing(found: list[dict[str, Any]]) -> list[str]:
    """Parts that were counted, as later ones show, and have no event."""
    by_boot: dict[str, set[int]] = {}
    for one in found:
        by_boot.setdefault(one["part"]["boot"], set()).add(one["part"]["n"])
    return [f"{boot}/{n}" for boot, seen in by_boot.items() for n in set(range(1, max(seen) + 1)) - seen]


def _judges(one: dict[str, Any]) -> set[str]:
    """The products whose model, whose way to the gate and whose photograph this part had."""
    way_ms = round((one["action"]["planned_ns"] - one["triggered_ns"]) / 1e6)
    by_way = {name for name, delay_ms in DELAY_MS.items() if delay_ms == way_ms}
    return {one["model"]["name"], *by_way, {"pass": "cap", "reject": "lid"}[one["outcome"]]}
