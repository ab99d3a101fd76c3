"""The one command: what nobody has caught is told in one line where it names a file."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from interruptible import heed_ctrl_c
from small_bundle import write_bundle, write_photographs

from kensa import COMMANDS, main


def test_a_file_in_the_way_is_one_line_and_no_stack_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(tmp_path / "bundle")
    write_photographs(tmp_path / "good", 4)
    (tmp_path / "state").touch()

    status = main(["calibrate", str(tmp_path / "bundle"), "--images", str(tmp_path / "good"), "--state", str(tmp_path / "state")])

    said = capsys.readouterr().err
    assert status in (1, 2)
    assert said.startswith("kensa calibrate: ")
    assert str(tmp_path / "state") in said
    assert said.count("\n") == 1


HELD_IMPORT = """
import sys, time, kensa

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "agent.commands.check":
            print("importing", flush=True)
            time.sleep(60)

sys.meta_path.insert(0, Slow())
sys.exit(kensa.main(["check", "line.yaml"]))
"""

WITHOUT = """
import sys, kensa

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == sys.argv[1]:
            raise ImportError(sys.argv[2], name=name) if sys.argv[2] else ModuleNotFoundError("none", name=name)

sys.meta_path.insert(0, Missing())
sys.exit(kensa.main(sys.argv[3:]))
"""


ALL_HELP = """
import sys, kensa

for name in kensa.COMMANDS:
    try:
        kensa.main([name, "--help"])
    except SystemExit as ended:
        assert not ended.code, name
    assert "torch" not in sys.modules, name
"""


def test_how_a_command_is_called_is_told_at_once_without_loading_torch() -> None:
    ended = subprocess.run([sys.executable, "-c", ALL_HELP], capture_output=True, text=True, timeout=50, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert all(f"usage: kensa {name}" in ended.stdout for name in COMMANDS)
    assert "example:\n  kensa fit --method patchcore" in ended.stdout


def test_ctrl_c_while_a_command_is_still_imported_is_one_line() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HELD_IMPORT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)

    assert (process.returncode, said) == (130, "kensa check: stopped\n")


@pytest.mark.timeout(180)  # numpy and what else comes before it are read from the disk of a machine that others use
@pytest.mark.parametrize(
    ("package", "why", "words", "says"),
    [
        ("cv2", "", ["doctor"], "package cv2 is not installed; install Kensa's packages again"),
        ("cv2", "libGL.so.1: no such file", ["doctor"], "package cv2 cannot be used: libGL.so.1: no such file"),
        ("torch", "", ["export", "run", "--out", "bundle"], "this is a workstation command: `make setup` in Kensa's checkout"),
    ],
    ids=["a device's package", "a library of it", "a workstation's package"],
)
def test_a_package_that_is_missing_is_one_line_that_says_what_brings_it(
    package: str, why: str, words: list[str], says: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT, package, why, *words], capture_output=True, text=True, timeout=150, check=False
    )

    assert ended.returncode == 2
    assert ended.stderr.startswith(f"kensa {words[0]}: package {package} ")
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        "capture line.yaml --out photographs --parts 0",
        "capture line.yaml --out photographs --parts -3",
        "export run --out bundle --within-ms nan",
        "export run --out bundle --within-ms inf",
        "export run --out bundle --within-ms 0",
    ],
)
def test_a_number_that_means_nothing_is_refused_with_its_option(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split())

    assert ended.value.code == 2
    assert f"argument {words.split()[-2]}: must be " in capsys.readouterr().err


@pytest.mark.parametrize("command", ["doctor", "--help"])
def test_what_is_not_read_to_its_end_is_no_stack_trace(tmp_path: Path, command: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "kensa", command], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as doctor:
        assert doctor.stdout is not None
        assert doctor.stderr is not None
        doctor.stdout.close()  # as `| head` does once it has seen enough
        said = doctor.stderr.read()

    assert (doctor.wait(), said) == (141, b"")
