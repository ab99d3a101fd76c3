"""What the documents say of the code holds; these tests read the repository, not a running program."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent.config import load_line
from agent.drivers import names
from kensa import COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
TRAVELS = (ROOT / "docs" / "how-a-part-travels.md").read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_in_the_readme(name: str) -> None:
    assert f"`kensa {name}`" in README


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_an_example(name: str) -> None:
    finished = subprocess.run([sys.executable, "-m", "kensa", name, "--help"], capture_output=True, text=True, timeout=60)

    assert finished.returncode == 0, finished.stderr
    assert "example:" in finished.stdout
    assert f"kensa {name}" in finished.stdout


@pytest.mark.parametrize(
    "package",
    ["agent.cameras", "agent.triggers", "agent.ejectors", "agent.encoders", "agent.plc", "agent.runtimes", "training.methods"],
)
def test_each_driver_is_in_the_readme(package: str) -> None:
    missing = [name for name in names(package) if f"`{name}`" not in README]

    assert missing == []


@pytest.mark.parametrize("file", sorted((ROOT / "deploy" / "lines").glob("*.yaml")), ids=lambda p: p.name)
def test_each_shipped_line_is_valid(file: Path) -> None:
    assert load_line(file).station


@pytest.mark.parametrize(("file", "name"), sorted(set(re.findall(r"`([\w/]+\.py): ([\w.]+)`", TRAVELS))))
def test_each_name_in_how_a_part_travels_exists(file: str, name: str) -> None:
    found = {
        (f"{node.name}.{child.name}" if child is not node else node.name)
        for node in ast.parse((ROOT / file).read_text()).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        for child in [node, *(c for c in getattr(node, "body", []) if isinstance(c, ast.FunctionDef))]
        if child is node or isinstance(node, ast.ClassDef)
    }

    assert name in found


def test_the_hot_path_fits_on_one_screen() -> None:
    (loop,) = (
        node
        for node in ast.parse((ROOT / "agent" / "loop.py").read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == "inspect_forever"
    )

    assert loop.end_lineno is not None
    assert loop.end_lineno - loop.lineno < 20


def test_nothing_of_one_machine_and_no_index_is_in_the_repository() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    texts = {name: (ROOT / name).read_bytes() for name in tracked if (ROOT / name).is_file()}
    forbidden = re.compile(rb"--(?:extra-)?index-url|find-links|/(?:home|root|work|farm)/\w")

    assert [name for name, text in texts.items() if forbidden.search(text) and name != "tests/test_architecture.py"] == []


def test_nowhere_is_kensa_installed_by_its_name_alone() -> None:
    """On the public index that is a stranger's (docs/decisions.md, 29)."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    texts = {name: (ROOT / name).read_bytes() for name in tracked if (ROOT / name).is_file()}
    by_name = re.compile(rb"pip3? install[^\n|;&`]*[\s'\"]kensa(?![-\w/.])")

    assert [name for name, text in texts.items() if by_name.search(text)] == []
