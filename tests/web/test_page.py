"""The page in a real browser, beside a real line: what an operator sees and does there."""

import io
import json
import os
import signal
import zipfile
from datetime import datetime

import pytest
from browser import Tab
from page_line import CARDS, Line
from waiting import wait_until


def age_of_the_shown_part_s(tab: Tab) -> float:
    """Seconds between the verdict on a part that has just appeared and now, by the one clock of this machine."""
    before = tab.run("document.getElementById('verdict').dataset.part ?? ''")
    part = "document.getElementById('verdict').dataset.part"
    shown, at_ms = tab.wait(f"{part} !== {before!r} && [{part}, Date.now()]")
    now = tab.run("fetch('/api/now').then((answer) => answer.json())")
    (time,) = (one["time"] for one in now["parts"] if one["part"] == shown)
    return at_ms / 1000 - datetime.fromisoformat(time).timestamp()


def test_a_live_part_is_seen_within_a_second_of_its_verdict_with_picture_and_heat_map(line: Line) -> None:
    tab = line.tab("viewer")
    tab.wait("document.getElementById('verdict').dataset.outcome !== 'none'")

    ages_s = [age_of_the_shown_part_s(tab) for _ in range(4)]
    tab.wait("document.getElementById('verdict').dataset.outcome === 'reject'")

    assert min(ages_s) < 1.0  # the requirement; the best of four, since the machine is shared
    assert tab.run("document.getElementById('photograph').naturalWidth") == 64
    assert tab.wait("document.getElementById('heat').naturalWidth") == 64
    assert tab.run("document.getElementById('verdict').innerText").split()[:2] == ["✕", "REJECT"]
    assert tab.errors == []


def number_in(tab: Tab, name: str) -> int:
    return int(
        tab.wait(f"document.getElementById({name!r}).textContent !== '0' && document.getElementById({name!r}).textContent")
    )


def test_the_counters_are_those_of_the_gate_and_add_up(line: Line) -> None:
    tab = line.tab("viewer")

    parts, passed, rejected = (number_in(tab, name) for name in ("n-parts", "n-pass", "n-reject"))
    tab.click("#tab-device")

    assert abs(parts - passed - rejected) <= 3  # read one after the other while parts go by
    tab.wait("document.getElementById('account').innerText.replaceAll('\\n', ' ').includes('unaccounted for 0')")


def test_an_operator_opens_a_reject_reviews_it_and_what_was_typed_stays_text(line: Line) -> None:
    tab = line.tab("operator")
    tab.click("#tab-rejects")
    tab.wait(CARDS)

    tab.click(".card button")
    tab.wait("document.getElementById('part-photograph').naturalWidth === 64")
    tab.click("[name=judgment][value=true]")
    tab.type("[name=defect]", "bright_spot")
    tab.type("[name=note]", "<img src=x onerror=alert(1)>")
    tab.click("#review-save")
    tab.wait("!document.getElementById('part').open")
    tab.run("document.querySelector('[name=review]').value = 'true'")
    tab.run("document.getElementById('filter').dispatchEvent(new Event('input'))")
    tab.wait(f"{CARDS} === 1")
    tab.click(".card button")

    assert tab.wait("document.querySelector('[name=note]').value") == "<img src=x onerror=alert(1)>"
    assert "rightly rejected, says operator" in tab.run("document.getElementById('reviewed').textContent")
    assert "bright_spot" in tab.run("document.querySelector('.card').innerText")
    assert tab.run("document.querySelectorAll('img[src=x]').length") == 0
    assert tab.errors == []


def test_an_engineer_exports_what_was_reviewed(line: Line) -> None:
    operator = line.visitor("operator")
    wait_until(lambda: operator.ask("GET", "/api/kept?kind=pass").json["total"])
    (sample, *_) = operator.ask("GET", "/api/kept?kind=pass").json["kept"]
    operator.ask("POST", "/api/review", {"id": sample["id"], "judgment": "false", "defect": "", "note": "=1+1", "reviewed": ""})
    tab = line.tab("engineer")
    tab.click("#tab-rejects")

    href = tab.wait("!document.getElementById('export').hidden && document.getElementById('export').getAttribute('href')")
    zipped = line.visitor("engineer").ask("GET", href)

    archive = zipfile.ZipFile(io.BytesIO(zipped.body))
    assert any(name.startswith("train/good/") and name.endswith(".png") for name in archive.namelist())
    assert '"\'=1+1"' in archive.read("judged.csv").decode()


def test_a_viewer_is_offered_neither_review_nor_export_and_refused_both(line: Line) -> None:
    tab = line.tab("viewer")
    tab.click("#tab-rejects")
    tab.wait(CARDS)
    tab.click(".card button")

    refused = tab.run(
        "import('/static/ask.js').then((m) => m.whoAmI().then(() => m.ask('/api/review', 'POST', {id: 1}))).catch(String)"
    )

    assert tab.wait("document.getElementById('part').open")
    assert tab.run("document.getElementById('review-save').hidden && document.getElementById('export').hidden")
    assert "this is for the role operator, you are viewer" in refused
    assert line.visitor("viewer").ask("GET", "/api/export").status == 403


def test_a_wrong_password_is_told_at_the_door(line: Line) -> None:
    tab = line.browser.tab()
    tab.open(f"http://127.0.0.1:{line.port}/login")
    tab.wait("!document.querySelector('button.first').disabled")
    tab.type("[name=name]", "viewer")
    tab.type("[name=password]", "wrong")
    tab.click("button.first")

    assert tab.wait("document.getElementById('error').textContent") == "name or password is wrong"
    line.visitor("viewer")  # forgives this address its wrong guess


def test_when_inspection_dies_the_page_says_what_that_means_and_comes_back_by_itself(line: Line) -> None:
    tab = line.tab("viewer")
    tab.wait("document.getElementById('state').textContent === 'Running'")

    line.running.kill("inspect", line.file)

    tab.wait("document.getElementById('state').textContent === 'Inspection does not run: every part is rejected'")
    tab.wait("document.getElementById('state').textContent === 'Running'", timeout_s=30)


def test_when_inspection_hangs_the_page_says_so_and_shows_no_verdict_of_before(line: Line) -> None:
    tab = line.tab("viewer")
    tab.wait("document.getElementById('state').textContent === 'Running'")
    inspection = int((line.file.parent / "state" / "inspect.lock").read_text())

    os.kill(inspection, signal.SIGSTOP)
    tab.wait("document.getElementById('state').textContent === 'Inspection does not answer: parts are rejected'", timeout_s=60)
    shown = tab.run("document.getElementById('verdict').dataset.outcome")
    os.kill(inspection, signal.SIGCONT)

    assert shown == "none"
    tab.wait("document.getElementById('state').textContent === 'Running'", timeout_s=60)
    tab.wait("document.getElementById('verdict').dataset.outcome !== 'none'", timeout_s=60)


@pytest.mark.parametrize(
    ("width", "height"),
    [(1280, 800), (820, 1180), (1180, 820), (390, 844)],
    ids=["panel", "tablet", "tablet turned", "telephone"],
)
def test_nothing_is_cut_off_on_a_panel_or_a_tablet(line: Line, width: int, height: int) -> None:
    tab = line.tab("viewer", width, height)
    tab.wait("document.getElementById('verdict').dataset.outcome !== 'none'")
    views = ("rejects", "gate", "alerts", "device", "live")

    too_wide = [
        tab.run(f"document.getElementById('tab-{view}').click(), document.documentElement.scrollWidth - innerWidth")
        for view in views
    ]

    assert max(too_wide) <= 0
    assert tab.run("document.getElementById('verdict-word').getBoundingClientRect().height") > 50  # px: 13 mm on a 10 inch panel


def test_the_live_view_fits_a_panel_without_scrolling(line: Line) -> None:
    tab = line.tab("viewer", 1280, 800)
    tab.wait("document.getElementById('verdict').dataset.outcome !== 'none'")

    assert tab.run("document.documentElement.scrollHeight") <= 800


def test_the_page_is_used_with_keys_alone_and_each_control_has_a_name(line: Line) -> None:
    tab = line.tab("operator")
    tab.run("document.getElementById('tab-live').focus()")
    tab.key("ArrowRight")
    tab.wait("!document.getElementById('rejects').hidden")
    tab.wait(CARDS)
    tab.run("document.querySelector('.card button').focus()")
    tab.key("Enter")

    nameless = tab.run(
        "[...document.querySelectorAll('button, input, select, a')].filter((one) =>"
        " !(one.textContent.trim() || one.getAttribute('aria-label') || one.labels?.length)).map((one) => one.outerHTML)"
    )

    assert tab.wait("document.getElementById('part').open")
    assert nameless == []
    assert tab.run("[...document.images].filter((one) => !one.hasAttribute('alt')).length") == 0
    tab.key("Escape")
    tab.wait("!document.getElementById('part').open")


def contrast(tab: Tab, selector: str) -> float:
    """Of text and ground, as WCAG 2.1 defines it."""
    return tab.run(
        "(() => { const light = (rgb) => { const [r, g, b] = rgb.match(/[\\d.]+/g).map((v) => (v /= 255) <= 0.03928 ? v / 12.92 :"
        " ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };"
        f" const one = document.querySelector({selector!r}); let ground = one;"
        " while (getComputedStyle(ground).backgroundColor === 'rgba(0, 0, 0, 0)') ground = ground.parentElement;"
        " const both = [light(getComputedStyle(one).color), light(getComputedStyle(ground).backgroundColor)];"
        " const [a, b] = both.sort((x, y) => y - x);"
        " return (a + 0.05) / (b + 0.05); })()"
    )


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_text_stands_out_from_its_ground_in_the_dark_and_in_the_light(line: Line, theme: str) -> None:
    tab = line.tab("viewer")
    tab.wait("document.getElementById('verdict').dataset.outcome !== 'none'")
    tab.run(f"document.documentElement.dataset.theme = {theme!r}")

    found = {one: contrast(tab, one) for one in ("#verdict-word", "#n-pass", "#n-reject", "#state", "h2", ".small", "#tab-live")}

    assert min(found.values()) >= 4.5, found  # WCAG 2.1 AA


def test_where_pictures_are_long_on_their_way_verdicts_are_told_all_the_same_and_no_picture_beside_them(line: Line) -> None:
    """Three pictures a second on a way that takes three seconds: each one took the place of the one before it, none ever came."""
    tab = line.tab("viewer")
    tab.wait("document.getElementById('verdict').dataset.outcome !== 'none'")

    tab.slow_network(latency_ms=3000)
    tab.wait("document.getElementById('no-picture').textContent.includes('too long on its way')", timeout_s=40)
    ages = [age_of_the_shown_part_s(tab) for _ in range(3)]
    hidden = tab.run("document.getElementById('photograph').hidden")
    tab.slow_network(latency_ms=0)

    assert min(ages) < 6.5  # its way takes three seconds, and so does asking for its time
    assert hidden
    tab.wait("!document.getElementById('photograph').hidden", timeout_s=40)


def test_an_old_picture_does_not_stand_beside_a_newer_verdict(line: Line) -> None:
    tab = line.tab("viewer")
    tab.wait("document.getElementById('photograph').naturalWidth === 64")
    view = {"camera": "top", "outcome": "reject", "cause": "score", "detail": "", "score": 2.0, "has_picture": False}
    about = {"part": "boot/9999", "time": "2026-11-21T09:30:00Z", "latency_ms": 900.0, "is_shown": False}
    part = {**about, "views": [view], "deciding": 0}

    judged = f"Date.now = () => performance.timeOrigin + 1e9; live.judged({json.dumps(part)})"
    seen = "[photograph.hidden && heat.hidden, verdict.dataset.part, document.getElementById('no-picture').textContent]"
    found = tab.run(f"import('/static/live.js').then((live) => {{ {judged}; return {seen} }})")

    assert found == [True, "boot/9999", "picture paused: the line needs the processor"]
