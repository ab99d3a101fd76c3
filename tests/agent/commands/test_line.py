"""The device's sub-commands, as they are typed."""

import shutil
from pathlib import Path

import pytest
from kensa_process import kensa, python, running
from line_file import write_line
from small_bundle import edit_manifest
from waiting import wait_until

from agent.commands.line import reporting
from agent.drivers import ConfigError

DEVICE_COMMANDS = ["selftest", "check", "run", "inspect", "eject"]


def test_without_a_command_the_table_is_shown() -> None:
    ended = kensa()

    assert ended.returncode == 0
    assert all(f"\n  {name} " in ended.stdout for name in DEVICE_COMMANDS)


def test_an_unknown_command_is_an_error_that_shows_the_table() -> None:
    ended = kensa("inspekt")

    assert ended.returncode == 2
    assert ended.stderr.startswith("kensa: no command 'inspekt'")
    assert "inspect" in ended.stderr


HELP = """
import sys, kensa
try:
    kensa.main([sys.argv[1], "--help"])
except SystemExit:
    pass
print("loaded:", *{name.partition(".")[0] for name in sys.modules})
"""


@pytest.mark.parametrize("name", DEVICE_COMMANDS)
def test_each_command_has_help_with_an_example_and_waits_for_no_runtime(name: str) -> None:
    ended = python("-c", HELP, name)

    text, _, loaded = ended.stdout.partition("loaded:")
    assert f"example: kensa {name} " in text
    assert "kensa" in loaded.split()
    assert {"onnxruntime", "openvino", "torch"}.isdisjoint(loaded.split())


@pytest.mark.parametrize("name", DEVICE_COMMANDS)
def test_a_command_without_its_argument_says_what_is_missing(name: str) -> None:
    ended = kensa(name)

    assert ended.returncode == 2
    assert "the following arguments are required" in ended.stderr


@pytest.mark.parametrize("name", ["check", "run", "inspect", "eject"])
def test_a_line_that_is_not_there_is_one_line_on_stderr(name: str, tmp_path: Path) -> None:
    ended = kensa(name, str(tmp_path / "gone.yaml"))

    assert ended.returncode == 2
    assert ended.stderr == f"kensa {name}: {tmp_path}/gone.yaml: cannot be read: No such file or directory\n"


def test_selftest_runs_each_artefact_and_says_how_far_it_is_from_export(small_bundle: Path) -> None:
    ended = kensa("selftest", str(small_bundle))

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "onnx-f32                 computes in f32: ok" in ended.stdout
    assert "openvino-f32             computes in f32: ok" in ended.stdout
    assert ended.stdout.count("deviation") == 4


def test_selftest_refuses_a_damaged_bundle_in_one_line(own_bundle: Path) -> None:
    (own_bundle / "artifacts/model.bin").write_bytes(b"damaged")

    ended = kensa("selftest", str(own_bundle))

    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "model.bin: sha256" in ended.stderr


def test_selftest_goes_on_after_an_artefact_that_does_not_run_here(own_bundle: Path) -> None:
    edit_manifest(own_bundle, lambda manifest: manifest["artifacts"][0].update(golden_raw=[0.1, 0.1]))

    ended = kensa("selftest", str(own_bundle))

    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("kensa selftest: ")
    assert "onnx-f32 gives raw score" in ended.stderr
    assert ended.stdout.endswith("openvino-f32             computes in f32: ok\n")


@pytest.mark.parametrize(("broken", "status"), [("bundle", 2), ("photographs", 1), ("outbox", 1)])
def test_inspect_that_cannot_start_says_why_in_one_line_and_whether_trying_again_may_help(
    state: Path, small_bundle: Path, broken: str, status: int
) -> None:
    file = write_line(state, small_bundle)
    says = {"bundle": "no readable manifest.json", "photographs": "has no images", "outbox": "cannot be opened as an outbox"}[
        broken
    ]
    {"bundle": break_bundle, "photographs": break_photographs, "outbox": break_outbox}[broken](file)

    ended = kensa("inspect", str(file))

    said = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert ended.returncode == status
    assert len(said) == 1
    assert says in said[0]


def test_an_expected_error_is_reported_and_an_unexpected_one_comes_through(capsys: pytest.CaptureFixture[str]) -> None:
    def expected(arguments: list[str]) -> int:
        raise ConfigError("line.yaml:3: what is this?")

    def unexpected(arguments: list[str]) -> int:
        raise ZeroDivisionError

    status = reporting(expected, [])

    assert (status, capsys.readouterr().err) == (2, "kensa expected: line.yaml:3: what is this?\n")
    with pytest.raises(ZeroDivisionError):
        reporting(unexpected, [])


def test_an_inspection_process_alone_starts_without_gate_and_broker_and_leaves_at_sigterm(
    state: Path, small_bundle: Path
) -> None:
    file = write_line(state, small_bundle)
    with running("-m", "kensa", "inspect", str(file), log_file=state / "log") as process:
        wait_until(lambda: "inspection ready" in process.messages())

        assert process.terminate() == 0

    assert "Traceback" not in process.text()


def break_bundle(line_file: Path) -> None:
    line_file.write_text(line_file.read_text().replace("bundle: ", "bundle: no/"))


def break_photographs(line_file: Path) -> None:
    shutil.rmtree(line_file.parent / "photographs")
    (line_file.parent / "photographs").mkdir()


def break_outbox(line_file: Path) -> None:
    (line_file.parent / "state").mkdir()
    (line_file.parent / "state" / "outbox.db").mkdir()  # nobody could know what to do with it
