"""The page that `kensa demo` serves beside its line."""

import re
import signal
import socket
from pathlib import Path

import pytest
from broker import free_port
from kensa_process import kensa, running
from visitor import Visitor
from waiting import wait_until


@pytest.mark.timeout(240)
def test_the_page_of_the_demo_opens_to_whom_it_invites_and_shows_its_parts_until_ctrl_c(tmp_path: Path) -> None:
    port = free_port()
    sizes = ["--headless", "--parts", "8", "--rate", "8", "--train", "24"]

    with running(
        "-m", "kensa", "demo", *sizes, "--page", str(port), "--out", str(tmp_path / "d"), log_file=tmp_path / "log"
    ) as demo:
        wait_until(lambda: "the page stays until Ctrl-C" in demo.text(), timeout_s=200)
        visitor = Visitor(port)
        entered = visitor.log_in("demo", re.search(r"user demo, password (\S+)", demo.text())[1]).status
        shown = visitor.ask("GET", "/api/now").json
        demo.process.send_signal(signal.SIGINT)
        status = demo.process.wait(60)

    assert (entered, status) == (200, 0), demo.text()
    assert shown["is_connected"]
    assert shown["parts"]
    assert "everything adds up" in demo.text()


def test_a_page_where_somebody_listens_already_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])

        finished = kensa("demo", "--page", port, "--out", str(tmp_path / "d"))

    assert finished.returncode == 2
    assert f"port {port} cannot be listened on" in finished.stderr
    assert not (tmp_path / "d").exists()
