"""The demo's line: both processes, a broker, a subscriber that knows nothing of the line, and the page where it is asked for."""

import importlib.util
import json
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event as Stop
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from rich.console import Console
from rich.live import Live
from rich.table import Table

from agent.events.event import parse
from agent.stop_signal import stop_on_signal
from agent.supervisor import run_both
from agent.web.accounts import Accounts, Role
from export.broker import HOST, BrokerError, broker

_START_MS = 6000.0  # the inspection process opens its model meanwhile
_TRAVEL_MS, _LEAD_MS = 800.0, 40.0
_GRACE_S = 30.0
_TOPIC = "demo/line-1/station-1"


@dataclass(frozen=True, slots=True)
class Belt:
    """What goes over it. folder: with `belt`, the pictures of the parts, and `bundle`. rate: parts per second. page: its port."""

    folder: Path
    parts: int
    rate: float
    page: int | None = None


@dataclass(slots=True)
class Seen:
    """What an independent subscriber got, by event id; copies of an event count once."""

    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    copies: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, message: bytes) -> None:
        event = parse(message)
        with self.lock:
            self.copies += event["id"] in self.events
            self.events[event["id"]] = event

    def all(self) -> list[dict[str, Any]]:
        with self.lock:
            return sorted(self.events.values(), key=lambda event: int(event["seq"]))


def run_line(belt: Belt, headless: bool, console: Console) -> tuple[Seen, dict[str, int]]:
    """Runs the line's processes until each part's event has come; returns what was seen and the gate's own account."""
    folder = belt.folder
    with broker(folder) as (name, port):
        console.print(f"broker: {name} on port {port}")
        line = folder / "line.yaml"
        line.write_text(_line_yaml(belt, port))
        stop, seen = Stop(), Seen()
        with _subscriber(port, seen), (folder / "line.log").open("wb") as log:
            beside = () if belt.page is None else ("web",)
            if belt.page is not None:
                console.print(_invitation(folder / "state", belt.page))
            runner = threading.Thread(target=run_both, args=(line, _TRAVEL_MS, stop, log, beside), name="line")
            runner.start()
            try:
                _watch(seen, belt, headless, runner, console)
                if belt.page is not None:
                    _stay(runner, console)
            finally:
                stop.set()
                runner.join()
    return seen, _account(folder / "line.log")


def page_trouble(port: int) -> str:
    """Why no page can be served there; empty where it can."""
    if importlib.util.find_spec("uvicorn") is None:
        return "package uvicorn is not installed: pip install starlette uvicorn prometheus-client"
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as e:
            return f"port {port} cannot be listened on ({e}): choose another one"
    return ""


def _invitation(state: Path, port: int) -> str:
    """Makes the page's first account; says where the page is and how to come in."""
    password = secrets.token_urlsafe(9)
    Accounts(state / "web").put("demo", password, Role.ENGINEER)
    return f"page: [bold]http://{HOST}:{port}[/bold], user demo, password {password}"


def _stay(runner: threading.Thread, console: Console) -> None:
    """Until Ctrl-C, which ends the line in order."""
    told = stop_on_signal()
    console.print("all parts have gone by; the page stays until Ctrl-C")
    while runner.is_alive() and not told.wait(0.2):
        pass


def _line_yaml(belt: Belt, port: int) -> str:
    page = "" if belt.page is None else f"web: {{port: {belt.page}}}\nrecord: {{mb: 100, leave_free_mb: 0}}\n"
    return f"""station: demo
bundle: bundle
state: state
cameras:
  top: {{type: folder, path: belt, repeat: false}}
trigger: {{type: timer, period_ms: {1000 / belt.rate:.3f}, count: {belt.parts}, delay_ms: {_START_MS}}}
ejector: {{type: dryrun}}
gate: {{travel_ms: {_TRAVEL_MS}, lead_ms: {_LEAD_MS}}}
runtime: {{type: openvino}}
mqtt: {{host: {HOST}, port: {port}, topic: {_TOPIC}}}
{page}"""


@contextmanager
def _subscriber(port: int, seen: Seen) -> Iterator[None]:
    """A client that knows nothing of the line but the broker's address."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="demo-subscriber")
    subscribed = threading.Event()
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = lambda _, __, message: seen.take(bytes(message.payload))
    client.connect(HOST, port)
    client.subscribe(f"{_TOPIC}/result/+", qos=1)
    client.loop_start()
    if not subscribed.wait(10):
        raise BrokerError("the demo's subscriber was not accepted by the broker")
    try:
        yield
    finally:
        client.disconnect()
        client.loop_stop()


def _watch(seen: Seen, belt: Belt, headless: bool, runner: threading.Thread, console: Console) -> None:
    """Shows events as they come, until there is one for each part or it has taken far too long."""
    parts = belt.parts
    until_s = time.monotonic() + _START_MS / 1000 + parts / belt.rate + _TRAVEL_MS / 1000 + _GRACE_S
    live = Live(console=console, refresh_per_second=5) if console.is_terminal and not headless else None
    shown = 0
    with live or nullcontext():
        while time.monotonic() < until_s and runner.is_alive() and len(seen.events) < parts:
            time.sleep(0.2)
            events = seen.all()
            if live:
                live.update(_latest(events[-12:], Counter(_label(event) for event in events), parts))
            elif len(events) - shown >= max(1, parts // 6):
                shown = len(events)
                console.print(f"{shown} of {parts} parts: {_counts(Counter(_label(event) for event in events))}")


def _latest(events: list[dict[str, Any]], counts: Counter[str], parts: int) -> Table:
    rows = Table(title=f"{sum(counts.values())} of {parts} parts: {_counts(counts)}", expand=False)
    for column in ("part", "verdict", "cause", "score", "p-value", "latency ms"):
        rows.add_column(column, justify="right")
    for event in events:
        data, reading = event["data"], (event["data"]["readings"] or [{}])[0]
        color = "green" if data["outcome"] == "pass" else "bold red"
        cells = (f"{reading.get(key):.3f}" if reading.get(key) is not None else "-" for key in ("score", "p_value", "latency_ms"))
        rows.add_row(str(data["part"]["n"]), f"[{color}]{data['outcome']}[/]", data["cause"], *cells)
    return rows


def _label(event: dict[str, Any]) -> str:
    outcome, cause = event["data"]["outcome"], event["data"]["cause"]
    return outcome if outcome == "pass" else f"{outcome} ({cause})"


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {label}" for label, n in sorted(counts.items()))


def _account(log: Path) -> dict[str, int]:
    """The gate's own last word in the log."""
    accounts = [json.loads(line)["account"] for line in log.read_text().splitlines() if '"account"' in line]
    return dict(accounts[-1]) if accounts else {}
