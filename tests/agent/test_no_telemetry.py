"""A station tells nobody else that it exists: no thread of a library does, and no copy of its process holds what it holds."""

from pathlib import Path

import pytest
from kensa_process import python

LOOKS = """
import sys, threading
from pathlib import Path
for name in sys.argv[1:]:
    __import__(name)
children = [file.read_text() for file in Path("/proc/self/task").glob("*/children")]
print([thread.name for thread in threading.enumerate()], "".join(children).split())
"""


@pytest.mark.parametrize("first", ["agent.runtimes.openvino", "agent.loop"])
def test_openvino_neither_starts_a_thread_nor_forks_the_process_to_tell_of_itself(first: str) -> None:
    finished = python("-c", LOOKS, first, "openvino", "openvino.tools.ovc")

    assert finished.stdout == "['MainThread'] []\n", finished.stderr


COMPUTES = """
import os, sys
from pathlib import Path
from agent.drivers import section
runtime, before = section("agent.runtimes", {"type": "onnxruntime", "threads": 1}), len(os.listdir("/proc/self/task"))
with runtime.open(Path(sys.argv[1])):
    print(len(os.listdir("/proc/self/task")) - before)
"""


def test_onnxruntime_starts_no_thread_to_tell_of_itself(small_bundle: Path) -> None:
    """From 1.31 on it would look its maker's name up nine seconds later, and again and again (seen with strace)."""
    finished = python("-c", COMPUTES, str(small_bundle / "artifacts" / "model.onnx"))

    assert finished.stdout == "0\n", finished.stderr
