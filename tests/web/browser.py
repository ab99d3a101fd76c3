"""A real chromium, driven through its DevTools protocol: what a person does, and what that person sees."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_START_WITHIN_S = 90.0


class LeavingError(Exception):
    """The page went to another while it was asked something."""


class Tab:
    """One page."""

    def __init__(self, channel: ClientConnection) -> None:
        self._channel = channel
        self._n = 0
        self.errors: list[str] = []
        self._ask("Runtime.enable")
        self._ask("Page.enable")
        self._ask("Log.enable")

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._n += 1
        self._channel.send(json.dumps({"id": self._n, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._channel.recv(timeout=60))
            if message.get("id") == self._n:
                if "navigated" in message.get("error", {}).get("message", ""):
                    raise LeavingError(message)
                assert "error" not in message, message
                return message["result"]
            if message.get("method") == "Runtime.exceptionThrown":
                self.errors.append(str(message["params"]["exceptionDetails"].get("exception", {}).get("description", message)))
            if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
                self.errors.append(f"{message['params']['entry']['text']} {message['params']['entry'].get('url', '')}")

    def open(self, url: str) -> None:
        self._ask("Page.navigate", url=url)

    def size(self, width: int, height: int) -> None:
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def run(self, script: str) -> Any:
        """The value of an expression; a promise is waited for."""
        found = self._ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str, timeout_s: float = 40.0) -> Any:
        """Until the expression is true; its value."""
        until_s = time.monotonic() + timeout_s
        while not (found := self._true_now(condition)):
            assert time.monotonic() < until_s, f"{condition}\n{self.errors}\n{self.run('document.body?.innerText')}"
            time.sleep(0.03)
        return found

    def _true_now(self, condition: str) -> Any:
        try:
            return self.run(f"(() => {{ try {{ return {condition} }} catch {{ return false }} }})()")
        except LeavingError:
            return False

    def type(self, selector: str, text: str) -> None:
        """Text into a field, as from a keyboard."""
        self.wait(f"document.querySelector({selector!r}) !== null")
        self.run(f"document.querySelector({selector!r}).focus()")
        self._ask("Input.insertText", text=text)

    def key(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self._ask(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                text="\r" if key == "Enter" else "",
                windowsVirtualKeyCode={"Enter": 13, "Tab": 9, "ArrowRight": 39, "Escape": 27}[key],
            )

    def click(self, selector: str) -> None:
        """A mouse click in the middle of what is there."""
        self.wait(f"document.querySelector({selector!r})?.getClientRects().length")
        self.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'nearest'}})")
        box = self.run(
            f"(() => {{ const r = document.querySelector({selector!r}).getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._ask("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def slow_network(self, latency_ms: float) -> None:
        """From now on each request takes so long; 0: as it was."""
        self._ask("Network.enable")
        conditions = {"offline": False, "latency": latency_ms, "downloadThroughput": -1, "uploadThroughput": -1}
        self._ask("Network.emulateNetworkConditions", **conditions)

    def keeps(self) -> tuple[float, int]:
        """MB of JavaScript once the garbage is gone, and nodes, also those that are no longer shown."""
        self._ask("HeapProfiler.collectGarbage")
        return self._ask("Runtime.getHeapUsage")["usedSize"] / 1e6, self._ask("Memory.getDOMCounters")["nodes"]

    def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"]))


class Browser:
    """Its tabs share their cookies: who logs in in one of them is logged in in all."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._channels: dict[str, ClientConnection] = {}

    def tab(self, url: str = "about:blank") -> Tab:
        request = Request(f"http://127.0.0.1:{self._port}/json/new?{url}", method="PUT")
        with urlopen(request, timeout=10) as answer:
            target = json.load(answer)
        channel = connect(target["webSocketDebuggerUrl"], max_size=64 << 20, open_timeout=20)
        self._channels[target["id"]] = channel
        return Tab(channel)

    def close_tabs(self) -> None:
        """All of them: a browser has six connections to one server, and each open page holds one."""
        for name, channel in self._channels.items():
            channel.close()
            with urlopen(f"http://127.0.0.1:{self._port}/json/close/{name}", timeout=10):
                pass
        self._channels.clear()


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Gone with the block. folder: of its profile."""
    assert CHROMIUM, "the tests need chromium: apt-get install chromium"
    options = (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--hide-scrollbars",
        "--disable-background-networking",
        "--remote-debugging-port=0",
        f"--user-data-dir={folder / 'profile'}",
    )
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen([CHROMIUM, *options, "about:blank"], stdout=log, stderr=log)
    try:
        opened = Browser(_port(folder / "profile" / "DevToolsActivePort"))
        yield opened
        opened.close_tabs()
    finally:
        process.terminate()
        process.wait(20)


def _port(file: Path) -> int:
    until_s = time.monotonic() + _START_WITHIN_S
    while not (file.exists() and file.read_text().count("\n")):
        assert time.monotonic() < until_s, "chromium did not start"
        time.sleep(0.05)
    return int(file.read_text().splitlines()[0])
