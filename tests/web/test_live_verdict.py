"""The live view beside a gate that rejects: what the gate did with a part is what is shown, drawn and counted."""

import socket
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from answering_gate import answering
from browser import Browser, Tab
from fake_gate import ALL_WELL, FakeGate, replaced
from fake_inspection import FakeInspection, ended, inspecting, judged
from served import Served, log_in
from waiting import wait_until

from agent.gate.operator_side import RecipeState
from agent.observation.shown import PAGE_SOCKET, Ended, Judged

pytestmark = pytest.mark.timeout(240)  # processes and a browser are started, on a machine that may be busy

VERDICT = "document.getElementById('verdict').innerText.replaceAll('\\n', ' ').trim()"
OUTCOME = "document.getElementById('verdict').dataset.outcome"
RATE = "`${document.getElementById('rate').textContent} of ${document.getElementById('rate-of').textContent}`"
TREND = "['pass', 'reject', 'fault'].map((kind) => document.querySelectorAll(`#trend .${kind}`).length)"
CAPTION = "document.getElementById('shown-part').textContent"
LATE = ("reject", "late")
MISSED = ("reject", "missed")


@pytest.fixture
def inspection(page: Served) -> Iterator[FakeInspection]:
    """Of which the page has heard nothing yet."""
    viewer = page.visitor("viewer")
    with inspecting(page.state) as one:
        wait_until(lambda: (now := viewer.ask("GET", "/api/now").json)["is_connected"] and not now["parts"])
        yield one


@pytest.fixture
def gate(page: Served) -> Iterator[FakeGate]:
    fake = FakeGate()
    with answering(page.state, fake.obey):
        yield fake


def at_the_line(opened: Browser, page: Served) -> Tab:
    tab = log_in(opened.tab(), page.port, "viewer")
    tab.wait("document.getElementById('state').textContent === 'Running'")
    return tab


@pytest.mark.parametrize(
    "happened",
    [[judged("boot/1"), ended("boot/1", *LATE)], [ended("boot/1", *LATE), judged("boot/1")]],
    ids=["judged first", "ended first"],
)
def test_a_part_that_was_judged_too_late_is_a_reject(
    opened: Browser, page: Served, gate: FakeGate, inspection: FakeInspection, happened: list[Judged | Ended]
) -> None:
    tab = at_the_line(opened, page)

    inspection.happened += happened
    tab.wait(f"{OUTCOME} === 'reject' && {TREND}.join() === '0,1,0'")

    assert tab.run(f"[{VERDICT}, {RATE}]") == ["✕ REJECT verdict too late", "100.0 % of 1"]
    assert tab.errors == []


@pytest.mark.parametrize(
    "happened",
    [[judged("boot/1"), ended("boot/1", *LATE)], [ended("boot/1", *LATE), judged("boot/1")], [ended("boot/1", *LATE)]],
    ids=["judged first", "ended first", "ended only"],
)
def test_a_page_that_is_loaded_anew_goes_by_the_end_too(
    opened: Browser, page: Served, gate: FakeGate, inspection: FakeInspection, happened: list[Judged | Ended]
) -> None:
    tab = at_the_line(opened, page)
    inspection.happened += happened
    tab.wait(f"{OUTCOME} === 'reject'")

    tab.run("location.reload()")

    tab.wait(f"{VERDICT} === '✕ REJECT verdict too late' && {RATE} === '100.0 % of 1'")


def test_a_verdict_stands_until_its_end_and_the_end_of_a_part_that_nobody_inspected_is_a_reject(
    opened: Browser, page: Served, gate: FakeGate, inspection: FakeInspection
) -> None:
    tab = at_the_line(opened, page)

    inspection.happened.append(judged("boot/1"))
    tab.wait(f"{VERDICT} === '✓ PASS score 0.10'")
    inspection.happened += [ended("boot/1"), ended("boot/2", *MISSED)]
    tab.wait(f"{VERDICT} === '✕ REJECT nobody inspected' && {TREND}.join() === '1,0,1'")

    assert tab.run(RATE) == "50.0 % of 2"
    assert tab.run(CAPTION).startswith("Part 2 · ")
    assert tab.run("[document.getElementById('photograph').hidden, document.getElementById('no-picture').textContent]") == [
        True,
        "it ended by missed",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"held": {"encoder-lost": "it stands"}},
        {"attached": False},
        {"unable": "the model failed its test, and why takes many words " * 9},
        {"recipe": RecipeState(1, "cap", 2, "change-over to recipe 2", {1: "cap", 2: "lid"})},
    ],
    ids=["held", "no inspection", "unable", "change-over"],
)
def test_where_the_gate_rejects_whatever_comes_no_pass_of_before_stays(
    opened: Browser, page: Served, gate: FakeGate, inspection: FakeInspection, changes: dict[str, object]
) -> None:
    tab = at_the_line(opened, page)
    inspection.happened += [judged("boot/1"), ended("boot/1")]
    tab.wait(f"{OUTCOME} === 'pass'")

    gate.state = replaced(ALL_WELL, ready=False, **changes)
    tab.wait(f"{OUTCOME} === 'none'")
    height = tab.run("document.getElementById('verdict').clientHeight")
    inspection.happened += [judged("boot/2"), ended("boot/3", *MISSED)]

    tab.wait(f"{OUTCOME} === 'reject'")
    assert height < 130  # px: there is room for the picture, however much there is to say


def test_where_the_gate_is_gone_no_pass_of_before_stays(opened: Browser, page: Served, inspection: FakeInspection) -> None:
    with answering(page.state, FakeGate().obey):
        tab = at_the_line(opened, page)
        inspection.happened += [judged("boot/1"), ended("boot/1")]
        tab.wait(f"{OUTCOME} === 'pass'")

    assert tab.wait(f"{OUTCOME} === 'none' && {VERDICT}").endswith("The gate does not answer: no part is counted or rejected")


def test_what_is_over_is_not_said_beside_the_verdict_any_more(opened: Browser, page: Served, gate: FakeGate) -> None:
    waiting = "· waiting for the next part"
    with inspecting(page.state) as inspection:
        tab = at_the_line(opened, page)
        fresh = tab.run(VERDICT)
        inspection.happened += [judged("boot/1"), ended("boot/1")]
        tab.wait(f"{OUTCOME} === 'pass'")
        gate.state = replaced(ALL_WELL, ready=False, held={"encoder-lost": "it stands"})
        tab.wait(f"{VERDICT}.endsWith('Line held: the encoder is lost')")
        gate.state = replaced(ALL_WELL, ready=False, maintenance=True, held={"encoder-lost": "it stands"})
        tab.wait(f"{VERDICT}.endsWith('Line held, and maintenance: nothing is ejected')")

        gate.state = ALL_WELL

        tab.wait(f"{VERDICT} === '{waiting}'")
        assert fresh == waiting
    tab.wait(f"{VERDICT}.endsWith('Inspection does not run: every part is rejected')")


@pytest.mark.parametrize(("width", "height"), [(1024, 768), (1280, 800)], ids=["small panel", "panel"])
def test_the_live_view_fits_a_panel_however_long_the_stations_name(
    opened: Browser, page: Served, gate: FakeGate, width: int, height: int
) -> None:
    name = "building-C.hall-12.line-4.press-3.camera2"
    photograph = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    with inspecting(page.state, name) as inspection:
        tab = log_in(opened.tab(), page.port, "engineer", width, height)
        tab.wait("document.getElementById('state').textContent === 'Running'")
        inspection.happened += [judged("boot/1", "reject", photograph), ended("boot/1", "reject")]
        tab.wait("document.querySelector('#last-rejects li') !== null")

        below = "Math.max(...['#last-rejects li', '#heat-switch', '#shown-part'].map((one) =>"
        lowest = tab.run(f"{below} document.querySelector(one).getBoundingClientRect().bottom))")
        panel, size = tab.run(
            "[document.querySelector('.last').getBoundingClientRect().bottom,"
            " [document.documentElement.scrollWidth, document.documentElement.scrollHeight]]"
        )

        assert max(lowest, panel) <= height
        assert size == [width, height]
        assert tab.run("document.querySelector('header').offsetHeight") < 70  # px: one line
        assert tab.run("document.getElementById('station').title") == name


@pytest.mark.parametrize("late", ["boot/3", "before/8"], ids=["of this count", "of the count before"])
def test_an_old_end_that_comes_late_is_counted_and_a_newer_part_stays_on_show(
    opened: Browser, page: Served, gate: FakeGate, inspection: FakeInspection, late: str
) -> None:
    tab = at_the_line(opened, page)
    inspection.happened += [judged("before/7"), ended("before/7"), judged("boot/4"), judged("boot/5")]
    tab.wait(f"{CAPTION}.startsWith('Part 5')")

    inspection.happened += [ended(late, *MISSED), ended("boot/4", *LATE)]
    tab.wait(f"{RATE} === '66.7 % of 3'")

    assert tab.run(VERDICT) == "✓ PASS score 0.10"
    assert tab.run("document.querySelectorAll('#last-rejects li').length") == 2


def test_a_picture_that_comes_late_does_not_bring_back_an_older_verdict(
    opened: Browser, page: Served, gate: FakeGate, inspection: FakeInspection
) -> None:
    tab = at_the_line(opened, page)
    photograph = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    tab.slow_network(latency_ms=1000)

    inspection.happened += [judged("boot/1", jpeg=photograph), ended("boot/2", *MISSED)]
    tab.wait("document.getElementById('photograph').naturalWidth === 8")
    tab.slow_network(latency_ms=0)

    assert tab.run(VERDICT) == "✕ REJECT nobody inspected"
    assert tab.run("document.getElementById('photograph').hidden")


def test_parts_that_are_told_again_are_counted_once(
    opened: Browser, page: Served, gate: FakeGate, inspection: FakeInspection
) -> None:
    tab = at_the_line(opened, page)
    told = [judged("boot/1"), ended("boot/1"), ended("boot/2", *MISSED), judged("boot/3", "reject"), ended("boot/3", "reject")]
    inspection.happened += told
    tab.wait(f"{RATE} === '66.7 % of 3'")

    with socket.socket(socket.AF_UNIX) as another:  # the page's process is hung up on, calls again, and is told all anew
        another.connect(str(page.state / PAGE_SOCKET))
        another.settimeout(20)
        while another.recv(1 << 16):
            pass
    inspection.happened += [judged("boot/4"), ended("boot/4")]
    tab.wait(f"{CAPTION}.startsWith('Part 4')")

    tab.wait(f"{RATE} === '50.0 % of 4' && {TREND}.join() === '2,1,1'")
    assert tab.run("document.querySelectorAll('#last-rejects li').length") == 2
