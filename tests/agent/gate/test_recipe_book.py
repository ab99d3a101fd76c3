"""The number of the running recipe on the disk: what a restart finds there, and what it does where it finds nothing good."""

from pathlib import Path

import pytest
from line_file import write_line
from waiting import wait_until

from agent.config import Line, load_line
from agent.gate.recipe_book import RecipeBook, recipe_of

RECIPES = """recipes:
  3: {name: lid}
  2: {name: cap}
"""


@pytest.fixture
def line(tmp_path: Path) -> Line:
    file = write_line(tmp_path, tmp_path / "bundle")
    file.write_text(file.read_text() + RECIPES)
    return load_line(file)


@pytest.fixture
def book(tmp_path: Path) -> RecipeBook:
    return RecipeBook(tmp_path / "recipe.json")


def test_what_was_kept_is_found_by_the_next_process(line: Line, book: RecipeBook, tmp_path: Path) -> None:
    book.keep(3)
    wait_until(lambda: book.outcome is not None)

    assert book.outcome == ""
    assert recipe_of(line, RecipeBook(tmp_path / "recipe.json")) == (3, "")


def test_until_one_was_chosen_the_lowest_number_runs(line: Line, book: RecipeBook) -> None:
    assert recipe_of(line, book) == (2, "")


@pytest.mark.parametrize(
    ("content", "says"),
    [(b'{"recipe": 7}', "recipe 7 ran and is not in"), (b"\xff", "cannot be read"), (b"", "cannot be read")],
    ids=["gone", "garbage", "empty"],
)
def test_a_number_that_is_gone_or_cannot_be_read_is_trouble_for_a_person(
    line: Line, book: RecipeBook, tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "recipe.json").write_bytes(content)

    number, trouble = recipe_of(line, book)

    assert number == 2
    assert says in trouble
    assert "recipe 2 is set now" in trouble


def test_a_line_without_recipes_asks_for_no_file(tmp_path: Path, book: RecipeBook) -> None:
    (tmp_path / "recipe.json").write_bytes(b"\xff")

    assert recipe_of(load_line(write_line(tmp_path, tmp_path / "bundle")), book) == (0, "")


def test_a_disk_that_refuses_the_number_leaves_the_one_before(line: Line, book: RecipeBook, tmp_path: Path) -> None:
    book.keep(3)
    wait_until(lambda: book.outcome is not None)
    (tmp_path / ".recipe.json.part").mkdir()

    book.keep(2)
    wait_until(lambda: book.outcome is not None)

    assert "Is a directory" in (book.outcome or "")
    assert recipe_of(line, book) == (3, "")
