"""The fault table says the truth: each test that it names exists, and each fault of the list has a row."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TABLE = (ROOT / "docs" / "faults.md").read_text()
ROWS = re.findall(r"^\| ([A-Z]\d+) \|(.*)\|$", TABLE, re.MULTILINE)
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py): (test_\w+)`", TABLE)))
EXPECTED = {"N": 15, "S": 16, "C": 16, "M": 14, "A": 14, "O": 4}


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_each_test_in_the_fault_table_exists(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text())

    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_each_fault_has_one_row() -> None:
    expected = [f"{group}{n}" for group, count in EXPECTED.items() for n in range(1, count + 1)]

    assert [fault for fault, _ in ROWS] == expected


def test_each_row_names_a_test_or_says_why_there_is_none() -> None:
    silent = [fault for fault, row in ROWS if "`tests/" not in row and "not yet (issue" not in row and "reason: " not in row]

    assert silent == []


def test_each_fault_test_is_in_the_table() -> None:
    existing = {
        (file.relative_to(ROOT).as_posix(), node.name)
        for file in sorted((ROOT / "tests" / "faults").glob("test_*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }

    assert existing - set(NAMED) == set()
