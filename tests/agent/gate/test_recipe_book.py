"""The number of the running recipe on the disk: what a restart finds there, and what it does where it finds nothing good."""

import threading
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
def book(line: Line) -> RecipeBook:
    line.state.mkdir()
    return RecipeBook(line.state)


def kept(book: RecipeBook, number: int) -> str:
    """What came of it."""
    told: list[str] = []
    wait_until(lambda: (why_not := book.keep(number)) is not None and told.append(why_not) is None)
    return told[0]


def test_what_was_kept_is_found_by_the_next_process(line: Line, book: RecipeBook) -> None:
    told = kept(book, 3)

    assert (told, recipe_of(line)) == ("", (3, ""))


def test_until_one_was_chosen_the_lowest_number_runs(line: Line) -> None:
    assert recipe_of(line) == (2, "")


@pytest.mark.parametrize("times", range(20))
def test_a_number_that_is_still_being_written_never_takes_the_place_of_the_one_chosen_since(
    line: Line, book: RecipeBook, times: int
) -> None:
    """At its start the gate keeps the number that runs; a disk that is slow then may not have it when another is wished."""
    book.keep(2)

    told = kept(book, 3)

    wait_until(lambda: "recipe" not in {thread.name for thread in threading.enumerate()})
    assert (told, recipe_of(line)) == ("", (3, ""))


@pytest.mark.parametrize(
    ("content", "says"),
    [(b'{"recipe": 7}', "recipe 7 ran and is not in"), (b"\xff", "cannot be read"), (b"", "cannot be read")],
    ids=["gone", "garbage", "empty"],
)
def test_a_number_that_is_gone_or_cannot_be_read_is_trouble_for_a_person(
    line: Line, book: RecipeBook, content: bytes, says: str
) -> None:
    (line.state / "recipe.json").write_bytes(content)

    number, trouble = recipe_of(line)

    assert number == 2
    assert says in trouble
    assert "recipe 2 is set now" in trouble


def test_a_line_without_recipes_asks_for_no_file(line: Line, book: RecipeBook, tmp_path: Path) -> None:
    (line.state / "recipe.json").write_bytes(b"\xff")

    assert recipe_of(load_line(write_line(tmp_path, tmp_path / "bundle"))) == (0, "")


def test_a_disk_that_refuses_the_number_leaves_the_one_before(line: Line, book: RecipeBook) -> None:
    kept(book, 3)
    in_the_way = line.state / ".recipe.json.part"
    in_the_way.mkdir()

    refused = kept(book, 2)
    in_the_way.rmdir()
    again = kept(book, 2)

    assert "Is a directory" in refused
    assert (again, recipe_of(line)) == ("", (2, ""))
