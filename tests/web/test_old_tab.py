"""A page that stays open for weeks in one tab: restarts, a network that goes, a tablet that sleeps, another version."""

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from answering_gate import answering
from browser import Browser, Tab
from fake_gate import FakeGate
from fake_inspection import FakeInspection, health, inspecting
from served import Served, log_in
from visitor import Visitor
from waiting import wait_until

STATE = "document.getElementById('state').textContent"
VERDICT = "document.getElementById('verdict').dataset.outcome"


pytestmark = pytest.mark.timeout(240)  # processes and a browser are started, on a machine that may be busy


@pytest.fixture
def station(fresh: Served) -> Iterator[Served]:
    """Its gate is there; inspection each test has for itself."""
    fresh.make_accounts()
    with answering(fresh.state, FakeGate().obey):
        yield fresh


@pytest.fixture
def inspection(station: Served) -> Iterator[FakeInspection]:
    with inspecting(station.state) as one:
        yield one


def old_tab(opened: Browser, page: Served, role: str = "viewer") -> Tab:
    """Everything is well; should the page be loaded anew, a test knows it."""
    tab = log_in(opened.tab(), page.port, role)
    tab.wait(f"{STATE} === 'Running'")
    tab.run("window.isTheSamePage = true")
    return tab


def asks_for_events(visitor: Visitor) -> bytes:
    """A page's request, for a socket that does with the answer what it likes."""
    who = f"User-Agent: {visitor.agent}\r\nCookie: kensa-session={visitor.cookie}"
    return f"GET /api/events HTTP/1.1\r\nHost: a\r\n{who}\r\n\r\n".encode()


def test_after_a_restart_of_the_whole_station_the_old_page_says_how_it_is_by_itself(opened: Browser, station: Served) -> None:
    with inspecting(station.state):
        tab = old_tab(opened, station)
    tab.wait(f"{STATE} === 'Inspection does not run: every part is rejected'")
    station.kill()
    tab.wait(f"{STATE} === 'No connection to the device'")

    with inspecting(station.state):
        station.start()
        visitor = station.visitor("viewer")
        wait_until(lambda: visitor.ask("GET", "/api/now").json["is_connected"])

        tab.wait(f"{STATE} === 'Running'", timeout_s=30)

        assert tab.run("window.isTheSamePage")


def test_a_page_that_was_refused_for_lack_of_room_comes_in_once_there_is_some(
    opened: Browser, station: Served, inspection: FakeInspection
) -> None:
    tab = old_tab(opened, station)
    viewer = station.visitor("viewer")
    with ExitStack() as stack:
        pages = [stack.enter_context(socket.create_connection(("127.0.0.1", station.port))) for _ in range(24)]
        [one.sendall(asks_for_events(viewer)) for one in pages]
        wait_until(lambda: viewer.ask("GET", "/api/events").status == 503)
        tab.run("location.reload()")
        tab.wait(f"{STATE} === 'No connection to the device'")

    tab.wait(f"{STATE} === 'Running'", timeout_s=30)


@pytest.mark.timeout(150)
def test_a_tablet_that_sleeps_and_takes_nothing_any_more_gives_its_place_to_others(
    station: Served, inspection: FakeInspection
) -> None:
    """The kernel of its machine answers still, that there is no room."""
    inspection.health = health(alarms={f"alarm {n}": "x" * 1000 for n in range(50)})
    viewer = station.visitor("viewer")
    with ExitStack() as stack:
        asleep = [stack.enter_context(socket.socket()) for _ in range(24)]
        [one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096) for one in asleep]
        [one.connect(("127.0.0.1", station.port)) for one in asleep]
        [one.sendall(asks_for_events(viewer)) for one in asleep]
        wait_until(lambda: viewer.ask("GET", "/api/events").status == 503)

        wait_until(lambda: viewer.ask("GET", "/api/events").status == 200, timeout_s=100)


def test_where_the_device_says_nothing_at_all_inspection_is_not_blamed(
    opened: Browser, station: Served, inspection: FakeInspection
) -> None:
    """A network that swallows everything looks the same from here as a process that stands still."""
    tab = old_tab(opened, station)

    station.process.process.send_signal(signal.SIGSTOP)
    tab.wait(f"{STATE} !== 'Running'", timeout_s=30)
    told = tab.run(STATE)
    shown = tab.run(VERDICT)
    station.process.process.send_signal(signal.SIGCONT)

    assert (told, shown) == ("No connection to the device", "none")
    tab.wait(f"{STATE} === 'Running'", timeout_s=60)


def test_a_tablet_that_wakes_up_where_nobody_answers_does_not_show_how_it_was_before(
    opened: Browser, station: Served, inspection: FakeInspection
) -> None:
    """The steady clock of a tablet stands while it sleeps."""
    tab = old_tab(opened, station)
    station.process.process.send_signal(signal.SIGSTOP)

    tab.run("(() => { const then = performance.now(), date = Date.now; performance.now = () => then;"
            " Date.now = () => date() + 3600e3; })()")  # fmt: skip
    tab.wait(f"{STATE} === 'No connection to the device'")
    station.process.process.send_signal(signal.SIGCONT)

    assert tab.run(VERDICT) == "none"


ANOTHER_VERSION = """(() => { const real = window.fetch; window.fetch = async (...asked) => {
  const answer = await real(...asked);
  if (asked[0] !== '/api/now') return answer;
  return new Response(JSON.stringify({ ...await answer.json(), version: 'another' }));
}; })()"""


def test_a_page_of_before_an_update_is_loaded_again_once_nobody_is_writing_in_it(
    opened: Browser, station: Served, inspection: FakeInspection
) -> None:
    tab = old_tab(opened, station, "operator")
    tab.run(ANOTHER_VERSION)
    tab.run("document.getElementById('part').showModal()")
    tab.type("[name=note]", "a scratch")
    tab.run("document.getElementById('tab-gate').click()")

    station.kill()
    station.start()
    tab.wait(f"{STATE} === 'Running'", timeout_s=30)
    tab.run("new Promise((done) => setTimeout(done, 2500))")
    written = tab.run("document.querySelector('[name=note]').value")
    tab.run("document.getElementById('part').close(), document.activeElement.blur()")
    tab.wait("window.isTheSamePage === undefined && document.getElementById('me').textContent !== ''")

    assert written == "a scratch"
    tab.wait("!document.getElementById('gate').hidden")  # at the view where it was


def test_a_name_is_text_whatever_stands_in_it(opened: Browser, station: Served) -> None:
    name = "<img src=x onerror=alert(1)> & Söhne"
    with inspecting(station.state, name):
        tab = old_tab(opened, station)

        assert tab.run("document.getElementById('station').textContent") == name
        assert tab.run("document.title").startswith(name)
        assert tab.run("document.querySelectorAll('img[src=x]').length") == 0
        assert tab.errors == []
