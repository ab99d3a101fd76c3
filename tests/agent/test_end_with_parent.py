import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kensa_process import is_at_work, running
from waiting import wait_until

from agent.end_with_parent import ending_with_me

# Starts what it is told on a thread of its own that lasts, says which process it is, and lives on.
STARTER = """
import signal, subprocess, sys, threading
from agent.end_with_parent import ending_with_me
def start():
    process = subprocess.Popen(ending_with_me(sys.argv[2:], signal.Signals[sys.argv[1]]), start_new_session=True)
    print(process.pid, flush=True)
    threading.Event().wait()
threading.Thread(target=start).start()
"""
# Says so when it is told to leave, and leaves; until then it does nothing.
LEAVES_IN_ORDER = """
import signal, sys, threading
told = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: told.set())
print("ready", flush=True)
told.wait()
print("left in order", flush=True)
"""


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    file = tmp_path / "log"
    file.touch()
    return file


def test_a_program_whose_starter_is_killed_is_told_to_leave(log_file: Path) -> None:
    with running("-c", STARTER, "SIGTERM", sys.executable, "-c", LEAVES_IN_ORDER, log_file=log_file) as starter:
        wait_until(lambda: "ready" in starter.text(), 20)
        program = int(starter.text().split()[0])
        ran_before = is_at_work(program)

        starter.kill()

        wait_until(lambda: "left in order" in starter.text(), 20)
        wait_until(lambda: not is_at_work(program), 20)
    assert ran_before


def test_a_program_that_hears_nothing_is_killed_where_that_was_asked_for(log_file: Path) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
    with running("-c", STARTER, "SIGKILL", sys.executable, "-c", deaf, log_file=log_file) as starter:
        wait_until(lambda: "ready" in starter.text(), 20)
        program = int(starter.text().split()[0])

        starter.kill()

        wait_until(lambda: not is_at_work(program), 20)


def test_a_program_whose_starter_is_gone_already_is_not_started(tmp_path: Path) -> None:
    command = ending_with_me(["touch", str(tmp_path / "started")], signal.SIGTERM)

    by_another = subprocess.run(["sh", "-c", '"$@"; exit $?', "sh", *command], capture_output=True, text=True)  # sh is its parent

    assert by_another.returncode == 1
    assert f"touch is not started: the process {os.getpid()} that wanted it is gone" in by_another.stderr
    assert not (tmp_path / "started").exists()


def test_a_program_has_the_signals_streams_and_status_that_it_would_have_by_itself() -> None:
    command = ["sh", "-c", "cat; grep SigIgn /proc/self/status; exit 7"]

    plain = subprocess.run(command, input="said\n", capture_output=True, text=True)
    ended = subprocess.run(ending_with_me(command, signal.SIGTERM), input="said\n", capture_output=True, text=True)

    assert (ended.returncode, ended.stdout, ended.stderr) == (plain.returncode, plain.stdout, plain.stderr)
    assert (plain.returncode, plain.stdout.splitlines()[0]) == (7, "said")


def test_a_program_is_the_very_process_that_was_started() -> None:
    with subprocess.Popen(ending_with_me(["sh", "-c", "echo $$"], signal.SIGTERM), stdout=subprocess.PIPE, text=True) as process:
        said, _ = process.communicate()

    assert int(said) == process.pid


def test_a_program_that_is_not_there_is_named() -> None:
    finished = subprocess.run(ending_with_me(["no-such-program"], signal.SIGTERM), capture_output=True, text=True)

    assert finished.returncode == 1
    assert finished.stderr == "no-such-program cannot be started: No such file or directory\n"
