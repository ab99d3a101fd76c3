"""A person judges what was kept: on a slow way, beside another person, down to the last part of a list."""

import numpy as np
import pytest
from browser import Browser, Tab
from kept_parts import fill
from page_line import CARDS
from served import Served, log_in

from agent.record.table import Worth
from agent.web.kept import PAGE

pytestmark = pytest.mark.timeout(240)  # processes and a browser are started, on a machine that may be busy

MORE = 4
IS_OPEN = "document.getElementById('part').open"
TITLE = "document.getElementById('part-title').textContent"
PHOTOGRAPH = "document.getElementById('part-photograph')"
GRID = "document.getElementById('grid').innerText"
FOUND = "document.getElementById('found').textContent"
IDS = "[...document.querySelectorAll('.card')].map((card) => Number(card.dataset.id))"
ERROR = "document.getElementById('review-error').textContent"


@pytest.fixture
def rejects(fresh: Served) -> Served:
    """A page of the list and a few more."""
    fresh.make_accounts()
    fill(fresh, [np.full((8, 8, 3), 90, np.uint8)] * (PAGE + MORE))
    return fresh


def at_the_list(opened: Browser, page: Served, kind: str = "reject", review: str = "all") -> Tab:
    tab = log_in(opened.tab(), page.port, "operator", 1024, 768)
    tab.run(f"document.querySelector('[name=kind]').value = '{kind}', document.querySelector('[name=review]').value = '{review}'")
    tab.click("#tab-rejects")
    tab.wait(CARDS)
    return tab


def open_card(tab: Tab, k: int) -> None:
    tab.run(f"document.querySelectorAll('.card button')[{k}].click()")
    tab.wait(IS_OPEN)


def save(tab: Tab, judgment: str) -> None:
    """Does not wait for the answer."""
    tab.run(f"document.querySelector('[name=judgment][value={judgment}]').checked = true")
    tab.run("document.getElementById('review-save').click()")


def test_no_photograph_of_the_part_before_stands_under_the_next_ones_title(opened: Browser, rejects: Served) -> None:
    tab = at_the_list(opened, rejects)
    open_card(tab, 0)
    tab.wait(f"!{PHOTOGRAPH}.hidden && {PHOTOGRAPH}.naturalWidth === 8")
    tab.run("document.getElementById('part').close()")

    tab.slow_network(1500)
    open_card(tab, 30)
    hidden, words = tab.run(f"[{PHOTOGRAPH}.hidden, document.getElementById('part-no-picture').textContent]")
    tab.slow_network(0)

    assert (hidden, words) == (True, "the picture is on its way")
    tab.wait(f"!{PHOTOGRAPH}.hidden && {PHOTOGRAPH}.currentSrc.endsWith('/kept/34/image.png')")
    assert tab.run("document.getElementById('part-no-picture').textContent") == ""


def test_the_answer_to_a_save_leaves_the_part_that_was_opened_meanwhile_alone(opened: Browser, rejects: Served) -> None:
    tab = at_the_list(opened, rejects)
    open_card(tab, 0)
    tab.slow_network(1000)
    save(tab, "false")
    tab.run("document.getElementById('part').close()")
    open_card(tab, 5)

    tab.wait("document.querySelector('.card .judged') !== null")
    tab.slow_network(0)

    assert tab.run(f"[{IS_OPEN}, {TITLE}]") == [True, f"Part {PAGE + MORE - 5}: rejected"]
    assert tab.run("[...document.querySelectorAll('.card:has(.judged)')].map((card) => card.dataset.id)") == [str(PAGE + MORE)]
    assert tab.errors == []


def test_who_judges_all_of_a_list_gets_what_is_left_and_the_count_goes_down(opened: Browser, rejects: Served) -> None:
    operator = rejects.visitor("operator")
    tab = at_the_list(opened, rejects, review="open")
    tab.wait(f"{FOUND} === '{PAGE + MORE} kept'")
    tab.run("[...document.querySelectorAll('.card')].slice(2).forEach((card) => card.remove())")  # as if they had been judged
    [operator.ask("POST", "/api/review", judged(number)) for number in range(MORE + 1, PAGE + MORE - 1)]

    open_card(tab, 0)
    save(tab, "true")
    tab.wait(f"{CARDS} === 1")
    counted = tab.run(FOUND)
    open_card(tab, 0)
    save(tab, "true")

    assert tab.wait(f"{CARDS} === {MORE} && {IDS}") == [4, 3, 2, 1]
    assert counted == f"{PAGE + MORE - 1} kept"
    assert tab.run(f"[{FOUND}, document.getElementById('more').hidden, {GRID}.includes('nothing')]") == ["4 kept", True, False]
    assert tab.errors == []


def test_older_ones_that_are_asked_for_twice_come_once(opened: Browser, rejects: Served) -> None:
    tab = at_the_list(opened, rejects)
    tab.wait(f"{CARDS} === {PAGE}")
    tab.run("document.getElementById('more').click(), document.getElementById('more').click()")

    tab.wait("document.getElementById('more').hidden")
    tab.run("new Promise((done) => setTimeout(done, 500))")

    assert tab.run(IDS) == list(range(PAGE + MORE, 0, -1))


@pytest.mark.parametrize(
    ("judgment", "said"), [("true", "✕ escaped, says operator"), ("false", "✓ rightly passed, says operator")]
)
def test_a_part_that_passed_is_asked_about_as_one(opened: Browser, fresh: Served, judgment: str, said: str) -> None:
    fresh.make_accounts()
    fill(fresh, [np.full((8, 8, 3), 90, np.uint8)], Worth.PASS)
    tab = at_the_list(opened, fresh, kind="pass")
    open_card(tab, 0)

    asked = tab.run("document.getElementById('review').innerText")
    save(tab, judgment)
    tab.wait(f"!{IS_OPEN}")
    open_card(tab, 0)

    assert "Was it right to pass it?" in asked
    assert "Defect: an escape" in asked
    assert "reject" not in asked
    assert tab.run("document.getElementById('reviewed').textContent").startswith(said)


def judged(number: int, **changes: str) -> dict[str, object]:
    return {"id": number, "judgment": "true", "defect": "scratch", "note": "claim 4711", "reviewed": "", **changes}


def test_a_judgment_is_replaced_only_by_who_has_seen_it(rejects: Served) -> None:
    operator, engineer = rejects.visitor("operator"), rejects.visitor("engineer")
    first = engineer.ask("POST", "/api/review", judged(1))

    blind = operator.ask("POST", "/api/review", judged(1, judgment="false", defect=""))
    seeing = operator.ask("POST", "/api/review", judged(1, note="looked again", reviewed=first.json["reviewed"]))

    assert (blind.status, blind.json["error"]) == (409, "engineer has judged it meanwhile")
    assert seeing.status == 200
    (row,) = operator.ask("GET", "/api/kept?after=0&before=2").json["kept"]
    assert (row["reviewer"], row["defect"], row["note"]) == ("operator", "scratch", "looked again")


def test_who_saves_what_another_person_judged_meanwhile_is_shown_that_judgment(opened: Browser, rejects: Served) -> None:
    tab = at_the_list(opened, rejects)
    rejects.visitor("engineer").ask("POST", "/api/review", judged(PAGE + MORE))
    open_card(tab, 0)

    save(tab, "false")
    told = tab.wait(ERROR)
    shown = tab.run("['judgment', 'defect', 'note'].map((name) => document.getElementById('review')[name].value)")
    card = tab.run("document.querySelector('.card .judged').textContent")
    save(tab, "true")
    tab.wait(f"!{IS_OPEN}")

    assert told == "engineer has judged it meanwhile. You had said: Good: falsely rejected"
    assert shown == ["true", "scratch", "claim 4711"]
    assert card == "✓ scratch"
