"""The page runs beside the line, and the line without the page."""

from pathlib import Path

from broker import free_port
from kensa_process import running
from line_file import write_line
from waiting import wait_until


def test_a_page_that_cannot_start_ends_no_line(folder: Path, small_bundle: Path) -> None:
    (folder / "state" / "web").mkdir(parents=True)
    (folder / "state" / "web" / "accounts.json").write_text("{")
    line = write_line(folder, small_bundle)
    line.write_text(f"{line.read_text()}web: {{port: {free_port()}}}\n")

    with running("-m", "kensa", "run", str(line), log_file=folder / "run.log") as process:
        wait_until(lambda: "accounts cannot be read" in process.text(), timeout_s=30)
        wait_until(lambda: "inspection ready" in process.messages(), timeout_s=30)
        is_running = process.process.poll() is None
        status = process.terminate()

    assert is_running
    assert status == 0
    assert process.text().count("accounts cannot be read") == 1  # it is not started again: that would not help
