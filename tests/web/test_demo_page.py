"""The page that `kensa demo` serves beside its line."""

import re
import signal
import socket
from pathlib import Path

from broker import free_port
from kensa_process import kensa, running
from small_bundle import write_bundle, write_photographs
from visitor import Visitor
from waiting import wait_until

DEMO_LINE = """
import sys
from pathlib import Path
from rich.console import Console
from export.demo_line import Belt, run_line
seen, account = run_line(Belt(Path(sys.argv[1]), 8, 8.0, int(sys.argv[2])), True, Console(highlight=False, soft_wrap=True))
print(f"{len(seen.events)} events, {account['triggers']} triggers")
"""


def test_the_page_of_the_demo_opens_to_whom_it_invites_and_shows_its_parts_until_ctrl_c(tmp_path: Path) -> None:
    port = free_port()
    write_bundle(tmp_path / "bundle", openvino_too=True)
    write_photographs(tmp_path / "belt", 8)

    with running("-c", DEMO_LINE, str(tmp_path), str(port), log_file=tmp_path / "log") as demo:
        wait_until(lambda: "the page stays until Ctrl-C" in demo.text(), timeout_s=50)
        visitor = Visitor(port)
        entered = visitor.log_in("demo", re.search(r"user demo, password (\S+)", demo.text())[1]).status
        shown = visitor.ask("GET", "/api/now").json
        demo.process.send_signal(signal.SIGINT)
        status = demo.process.wait(20)

    assert (entered, status) == (200, 0), demo.text()
    assert shown["is_connected"]
    assert shown["parts"]
    assert "8 events, 8 triggers" in demo.text()


def test_a_page_where_somebody_listens_already_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])

        finished = kensa("demo", "--page", port, "--out", str(tmp_path / "d"))

    assert finished.returncode == 2
    assert f"port {port} cannot be listened on" in finished.stderr
    assert not (tmp_path / "d").exists()
