"""The list of rejects grows while it is looked at, and never under somebody's hand."""

import pytest
from browser import Tab
from page_line import CARDS, Line
from waiting import wait_until

NEWEST = "Number(document.querySelector('.card')?.dataset.id)"


def at_the_rejects(line: Line, height: int = 800) -> Tab:
    """A list with something in it, which this test will know again should it be loaded anew."""
    tab = line.tab("operator", height=height)
    tab.click("#tab-rejects")
    tab.wait(CARDS)
    tab.run("window.isTheSamePage = true")
    return tab


def test_new_rejects_come_into_the_list_by_themselves(line: Line) -> None:
    tab = at_the_rejects(line)
    newest = tab.run(NEWEST)

    tab.wait(f"{NEWEST} > {newest}")

    numbers = tab.run("[...document.querySelectorAll('.card')].map((card) => Number(card.dataset.id))")
    assert numbers == sorted(set(numbers), reverse=True)  # newest first, each once
    assert tab.run("isTheSamePage && document.getElementById('fresh').hidden")
    assert tab.errors == []


@pytest.mark.parametrize(
    ("begin", "still"),
    [
        ("document.querySelector('.card button').focus()", "document.activeElement.closest('.card').dataset.id == {first}"),
        ("document.body.style.minHeight = '3000px', scrollTo(0, 60)", "scrollY === 60"),
        ("document.querySelector('.card button').click()", "part.open && document.getElementById('part-title').textContent"),
    ],
    ids=["keyboard", "scrolled", "open picture"],
)
def test_while_somebody_is_at_the_list_nothing_moves_and_a_button_says_how_many_are_new(
    line: Line, begin: str, still: str
) -> None:
    tab = at_the_rejects(line)
    first = tab.run(f"({begin}, {NEWEST})")
    before = tab.run(still.format(first=first))

    tab.wait("!document.getElementById('fresh').hidden")

    assert tab.run(NEWEST) == first
    assert tab.run(still.format(first=first)) == before
    assert before
    assert tab.run("/^↑ \\d+ new$/.test(document.getElementById('fresh').textContent)")
    tab.run("document.getElementById('part').close(), document.getElementById('fresh').click()")
    tab.wait(f"{NEWEST} > {first} && scrollY === 0 && document.getElementById('fresh').hidden")
    assert tab.run("isTheSamePage")


def test_only_new_ones_that_fit_the_filter_come(line: Line) -> None:
    tab = at_the_rejects(line)
    newest = tab.run(NEWEST)
    operator = line.visitor("operator")

    tab.wait(f"{NEWEST} > {newest}")
    wait_until(lambda: operator.ask("GET", "/api/kept?kind=pass").json["total"], timeout_s=30)  # there are others, too

    labels = tab.run("[...document.querySelectorAll('.card button')].map((one) => one.ariaLabel)")
    assert {label.rpartition(", ")[2] for label in labels} == {"rejected"}


def test_new_rejects_are_told_to_a_screen_reader_politely(line: Line) -> None:
    tab = at_the_rejects(line)
    news = "document.getElementById('news')"

    told = tab.wait(f"/^\\d+ new, \\d+ kept$/.test({news}.textContent) && {news}.textContent")

    assert int(told.split()[0]) >= 1
    assert tab.run(f"{news}.getAttribute('role')") == "status"


def test_each_camera_of_a_part_is_shown_and_the_deciding_one_at_large(line: Line) -> None:
    tab = at_the_rejects(line)
    tab.click(".card button")
    tab.wait("document.querySelectorAll('#part-cameras button').length === 2")
    cameras = tab.run(
        "[...document.querySelectorAll('#part-cameras button')].map((one) => [one.dataset.outcome, one.ariaPressed])"
    )
    large = tab.run("document.getElementById('part-photograph').src")

    tab.click("#part-cameras button:nth-child(2)")

    assert cameras[0] == ["reject", "true"]
    assert cameras[1][1] == "false"
    assert tab.wait(f"document.getElementById('part-photograph').src !== {large!r}")
    assert tab.wait("document.getElementById('part-photograph').naturalWidth === 64")


def test_the_live_view_shows_each_camera_and_a_chosen_one_stays(line: Line) -> None:
    tab = line.tab("viewer")
    tab.wait("document.querySelectorAll('#cameras button img').length === 2")
    tab.wait("[...document.querySelectorAll('#cameras img')].every((one) => one.naturalWidth === 64)")

    tab.click("#cameras button:nth-child(2)")
    tab.wait("document.getElementById('shown-part').textContent.includes('side (chosen)')")
    part = tab.run("document.getElementById('verdict').dataset.part")
    tab.wait(f"document.getElementById('verdict').dataset.part !== {part!r}")

    assert "side (chosen)" in tab.run("document.getElementById('shown-part').textContent")
    assert tab.run("document.querySelector('#cameras button:nth-child(2)').ariaPressed") == "true"
    assert tab.run("document.getElementById('photograph').src").endswith("/1.jpg")
    assert tab.errors == []


def test_where_there_is_one_camera_no_thumbnails_are_shown(line: Line) -> None:
    tab = line.tab("viewer")
    one = "[{camera: 'top', outcome: 'pass', src: ''}]"

    hidden = tab.run(
        "import('/static/cameras.js').then((m) => { const list = document.createElement('div');"
        f" m.showCameras(list, {one}, 0, null); return list.hidden; }})"
    )

    assert hidden
