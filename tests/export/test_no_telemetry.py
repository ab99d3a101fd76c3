import subprocess
import sys


def test_openvino_starts_no_thread_to_tell_of_itself_where_export_imports_it() -> None:
    looks = "import export.to_openvino, threading; print([thread.name for thread in threading.enumerate()])"

    finished = subprocess.run([sys.executable, "-c", looks], capture_output=True, text=True, timeout=60)

    assert finished.stdout == "['MainThread']\n", finished.stderr
