"""The log: whatever is said, one JSON object per line."""

import json
import logging
import os
import select
import subprocess
import sys
from subprocess import PIPE

import pytest
from kensa_process import python

from agent.log import JsonFormatter, Repeats


def formatted(message: str, *arguments: object, **record: object) -> str:
    return JsonFormatter("eject").format(
        logging.makeLogRecord(
            {"name": "agent.link", "levelno": 30, "levelname": "WARNING", "msg": message, "args": arguments, **record}
        )
    )


def exc_info_of(error: Exception) -> object:
    try:
        raise error
    except Exception:  # noqa: BLE001 - only to have its traceback
        return sys.exc_info()


def test_an_entry_says_when_how_bad_who_where_and_what() -> None:
    entry = json.loads(formatted("part %s: %d ms late", "boot/7", 12))

    assert entry.pop("time").endswith("Z")
    assert entry == {"level": "warning", "role": "eject", "where": "agent.link", "message": "part boot/7: 12 ms late"}


def test_data_become_fields() -> None:
    entry = json.loads(formatted("account", data={"account": {"triggers": 3}}))

    assert entry["account"] == {"triggers": 3}


@pytest.mark.parametrize("message", ["two\nlines", 'tab\tquote"', "Größe 画像", "\x00\x1b[31m", "\u2028 separator"], ids=repr)
def test_every_message_is_one_line_and_comes_back_as_it_was(message: str) -> None:
    line = formatted(message)

    assert "\n" not in line
    assert json.loads(line)["message"] == message


def test_a_traceback_is_part_of_its_line() -> None:
    line = formatted("died", exc_info=exc_info_of(ValueError("expected 3")))

    assert "\n" not in line
    assert "ValueError: expected 3" in json.loads(line)["traceback"]


def test_what_json_cannot_say_is_written_as_text() -> None:
    entry = json.loads(formatted("configuration", data={"kind": ValueError}))

    assert entry["kind"] == str(ValueError)


def test_a_process_logs_json_lines_and_nothing_else_on_stderr() -> None:
    ended = python(
        "-c",
        "import logging; from agent.log import start_log; start_log('inspect');"
        "logging.getLogger('x').info('first'); logging.getLogger('x').debug('not this'); logging.getLogger('y').error('second')",
    )

    entries = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [(entry["role"], entry["level"], entry["message"]) for entry in entries] == [
        ("inspect", "info", "first"),
        ("inspect", "error", "second"),
    ]


# ---------------------------------------------------------------- what repeats


def line_of(message: str = "frame %d lost", number: int = 1) -> logging.LogRecord:
    return logging.LogRecord("agent.cameras", logging.ERROR, "", 0, message, (number,), None)


def test_s12_of_a_line_that_repeats_twenty_a_minute_are_written_and_the_others_counted() -> None:
    repeats = Repeats()

    written = [repeats.take(line_of(number=k), now_s=k * 0.01)[0] for k in range(1000)]
    after, (summary,) = repeats.take(line_of(), now_s=61)

    assert written == [True] * 20 + [False] * 980
    assert after is True
    assert summary.getMessage() == "980 more like this were not written: frame %d lost"


def test_s12_another_line_is_written_amid_a_flood() -> None:
    repeats = Repeats()
    [repeats.take(line_of(), now_s=0) for _ in range(1000)]

    is_written, _ = repeats.take(line_of("gate %d held"), now_s=0)

    assert is_written is True


def test_s12_lines_of_endlessly_many_kinds_are_bounded_too() -> None:
    repeats = Repeats()

    written = [repeats.take(line_of(f"camera {k} lost %d"), now_s=0)[0] for k in range(3000)]
    _, told = repeats.take(line_of(), now_s=61)

    assert sum(written) == 1000
    assert "2000 more like this were not written" in told[-1].getMessage()


def test_s12_a_process_that_fails_at_each_part_writes_little() -> None:
    ended = python(
        "-c",
        "import logging; from agent.log import start_log; start_log('inspect')\n"
        "for part in range(100_000): logging.getLogger('x').error('part %d not inspected: %s', part, 'camera lost')",
    )

    assert len(ended.stderr.splitlines()) == 20


FLOODS = """
import logging, sys
from agent.log import start_log
start_log("eject")
for n in range(3000):
    logging.getLogger("agent.gate").warning(f"kind {n // 20}: %d {'x' * int(sys.argv[1])}", n)
print("went on", flush=True)
sys.stdin.readline()
logging.getLogger("agent.gate").warning("read again")
"""


def test_a_log_that_nobody_reads_makes_nobody_wait_and_says_later_what_it_lacks() -> None:
    """The gate writes here: a terminal that nobody looks at would let parts by."""
    with subprocess.Popen([sys.executable, "-c", FLOODS, "200"], stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) as process:
        assert process.stdout is not None
        went_on = bool(select.select([process.stdout], [], [], 20)[0])

        _, came_later = process.communicate("\n", timeout=20)

    *messages, last = [json.loads(line)["message"] for line in came_later.splitlines()]
    told, lacking = 0, 0
    for message in messages:
        if message.endswith(" lines were not written: nobody read what stood before them"):  # more than once where it is slow
            lacking += int(message.split()[0])
        else:
            assert int(message.split()[2]) == told + lacking
            told += 1
    assert went_on
    assert (told + lacking, lacking > 0) == (3000, True)
    assert last == "read again"


@pytest.mark.parametrize("size", [10, 6000], ids=["short lines", "lines longer than a pipe takes at once"])
def test_a_terminal_that_nobody_reads_keeps_no_process_from_its_work_nor_from_leaving(size: int) -> None:
    left, terminal = os.openpty()
    with subprocess.Popen([sys.executable, "-c", FLOODS, str(size)], stdin=PIPE, stdout=PIPE, stderr=terminal) as process:
        said, _ = process.communicate(b"\n", timeout=20)
    os.close(left)
    os.close(terminal)

    assert said == b"went on\n"
    assert process.returncode == 0
