"""A broker for the demo: mosquitto where it is installed, else amqtt, which comes with the workstation install."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.end_with_parent import ending_with_me
from agent.error import InputError

HOST = "127.0.0.1"
MOSQUITTO_PATH: str | None = None  # where to look for mosquitto; None is PATH and where Debian hides it from users
_READY_WITHIN_S = 15.0


class BrokerError(InputError):
    """No broker could be started; the message says what was tried."""


@contextmanager
def broker(folder: Path) -> Iterator[tuple[str, int]]:
    """A broker on a free port of this machine, its files in `folder`: which one it is, and the port."""
    port = _free_port()
    everywhere = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    mosquitto = shutil.which("mosquitto", path=everywhere if MOSQUITTO_PATH is None else MOSQUITTO_PATH)
    name = "mosquitto" if mosquitto else "amqtt"
    if mosquitto:
        settings = f"listener {port} {HOST}\nallow_anonymous true\nuser root\n"  # heeded for root alone: see ending_with_me
        (folder / "mosquitto.conf").write_text(settings)
        command = [mosquitto, "-c", str(folder / "mosquitto.conf")]
    else:
        plugin = "amqtt.plugins.authentication.AnonymousAuthPlugin"
        bind = f"{{type: tcp, bind: '{HOST}:{port}'}}"
        (folder / "amqtt.yaml").write_text(f"listeners: {{default: {bind}}}\nplugins: {{{plugin}: {{allow_anonymous: true}}}}\n")
        command = [str(Path(sys.executable).with_name("amqtt")), "-c", str(folder / "amqtt.yaml")]
    with (folder / "broker.log").open("wb") as log:
        ending = ending_with_me(command, signal.SIGTERM)
        process = subprocess.Popen(ending, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_until_ready(process, port, folder / "broker.log")
        yield name, port
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until_s = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < until_s and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.05)
    raise BrokerError(f"{process.args!r} does not answer on port {port}: see {log}")
