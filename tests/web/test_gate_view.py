"""The gate on the page: how it stands, its signals, and orders by role; asked of the ejector process seldom."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest
from answering_gate import answering
from broker import free_port
from browser import Browser, Tab
from fake_gate import ALL_WELL, FakeGate, replaced
from kensa_process import running
from libmodbus import Master
from line_file import write_line
from served import Served, log_in
from waiting import wait_until

from agent.gate.handshake import ErrorCode, Signals, Wishes
from agent.gate.line_stop import Reason
from agent.gate.operator_side import GateSilentError, GateState, PlcState, RecipeState, ask_gate

HELD = {"ejector-failed": "coil 3 does not answer"}


@pytest.fixture
def gate(page: Served) -> Iterator[FakeGate]:
    """At the page's line, for as long as the test runs."""
    fake = FakeGate()
    with answering(page.state, fake.obey):
        yield fake


# ---------------------------------------------------------------- what is asked of the ejector process


def test_however_many_look_the_ejector_process_is_asked_five_times_a_second_at_most(page: Served, gate: FakeGate) -> None:
    viewer = page.visitor("viewer")
    began_s = time.monotonic()
    wait_until(lambda: viewer.ask("GET", "/api/gate").json["is_there"] and gate.orders)  # not what an earlier test left

    found = [viewer.ask("GET", "/api/gate").json for _ in range(100)]

    assert {answer["is_there"] for answer in found} == {True}
    assert len(gate.orders) <= (time.monotonic() - began_s) / 0.2 + 1
    assert {order.action for order in gate.orders} == {"status"}


def test_where_no_gate_runs_the_page_says_so_and_orders_are_refused(page: Served) -> None:
    engineer = page.visitor("engineer")
    wait_until(lambda: engineer.ask("GET", "/api/gate").json == {"is_there": False})

    answer = engineer.ask("POST", "/api/gate/maintenance", {})

    assert answer.status == 503
    assert "does not answer" in answer.json["error"]


# ---------------------------------------------------------------- orders


def test_orders_are_obeyed_by_role_and_logged_with_who_gave_them(page: Served, gate: FakeGate) -> None:
    gate.state = replaced(ALL_WELL, held=HELD)
    operator, engineer, viewer = page.visitor("operator"), page.visitor("engineer"), page.visitor("viewer")

    answers = [
        viewer.ask("POST", "/api/gate/reset", {"held": list(HELD)}),
        operator.ask("POST", "/api/gate/maintenance", {}),
        operator.ask("POST", "/api/gate/reset", {"held": list(HELD)}),
        engineer.ask("POST", "/api/gate/maintenance", {}),
        engineer.ask("POST", "/api/gate/resume", {}),
    ]

    assert [answer.status for answer in answers] == [403, 403, 200, 200, 200]
    assert gate.ordered == [("reset", "operator"), ("maintenance", "engineer"), ("resume", "engineer")]
    assert answers[2].json["held"] == {}
    assert answers[3].json["maintenance"]
    assert "page: operator (operator) orders of the gate: reset; held for ejector-failed" in page.process.text()


def test_a_reset_is_refused_where_the_line_is_held_for_something_the_person_has_not_seen(page: Served, gate: FakeGate) -> None:
    gate.state = replaced(ALL_WELL, held={**HELD, "encoder-lost": "it stands"})

    answer = page.visitor("operator").ask("POST", "/api/gate/reset", {"held": list(HELD)})

    assert answer.status == 409
    assert "encoder-lost" in answer.json["error"]
    assert gate.ordered == []


@pytest.mark.parametrize("held", [None, "ejector-failed", [1], ["x"] * 51], ids=["nothing", "text", "a number", "too many"])
def test_a_reset_that_does_not_say_what_was_seen_is_refused(page: Served, gate: FakeGate, held: object) -> None:
    assert page.visitor("operator").ask("POST", "/api/gate/reset", {"held": held}).status == 400
    assert gate.ordered == []


TWO_PRODUCTS = RecipeState(number=1, name="cap", wanted=0, unsettled="", known={1: "cap", 2: "lid"})


def test_an_operator_changes_the_product_and_a_viewer_does_not(page: Served, gate: FakeGate) -> None:
    gate.state = replaced(ALL_WELL, recipe=TWO_PRODUCTS)

    answers = [page.visitor(role).ask("POST", "/api/gate/recipe", {"recipe": 2}) for role in ("viewer", "operator")]

    assert [answer.status for answer in answers] == [403, 200]
    assert [(order.action, order.recipe, order.by) for order in gate.orders if order.action == "recipe"] == [
        ("recipe", 2, "operator")
    ]


@pytest.mark.parametrize(
    ("wished", "recipe", "status"),
    [(3, TWO_PRODUCTS, 409), (1, None, 409), ("2", TWO_PRODUCTS, 400), (True, TWO_PRODUCTS, 400)],
    ids=["unknown", "no recipes", "text", "truth"],
)
def test_a_product_that_the_line_does_not_have_is_refused(
    page: Served, gate: FakeGate, wished: object, recipe: RecipeState | None, status: int
) -> None:
    gate.state = replaced(ALL_WELL, recipe=recipe)

    assert page.visitor("operator").ask("POST", "/api/gate/recipe", {"recipe": wished}).status == status
    assert gate.ordered == []


@pytest.mark.parametrize("path", ["/api/gate/reset", "/api/gate/recipe", "/api/gate/maintenance", "/api/gate/resume"])
def test_o1_no_order_to_the_gate_without_the_sessions_own_token_or_from_another_site(
    page: Served, gate: FakeGate, path: str
) -> None:
    engineer = page.visitor("engineer")

    from_elsewhere = engineer.ask("POST", path, {"held": []}, Origin="http://evil.example")
    engineer.csrf = "guessed"
    forged = engineer.ask("POST", path, {"held": []})

    assert [from_elsewhere.status, forged.status] == [403, 403]
    assert gate.orders == []


# ---------------------------------------------------------------- a real gate


@contextmanager
def real_gate(page: Served, bundle: Path, plc_port: int) -> Iterator[None]:
    """`kensa eject` at the page's line: no inspection, so that every part is rejected, and two in a row hold the line."""
    folder = page.state.parent
    line = write_line(folder, bundle, trigger="{type: timer, period_ms: 50, count: 2}", travel_ms=60)
    plc = f"plc: {{type: modbus_server, host: 127.0.0.1, port: {plc_port}, silent_ms: 60000}}\n"
    line.write_text(line.read_text().replace("  lead_ms: 20\n", "  lead_ms: 20\n  stop: {in_a_row: 2}\n") + plc)
    with running("-m", "kensa", "eject", str(line), log_file=folder / "eject.log") as process:
        wait_until(lambda: (state := state_of(page.state)) is not None and state.held, timeout_s=30)
        yield
        process.terminate()


def state_of(folder: Path) -> GateState | None:
    try:
        return ask_gate(folder, "status")
    except GateSilentError:
        return None


def test_a_real_gate_is_reset_put_into_maintenance_and_its_plc_looked_at_from_the_page(page: Served, small_bundle: Path) -> None:
    port = free_port()
    operator, engineer = page.visitor("operator"), page.visitor("engineer")
    with real_gate(page, small_bundle, port), closing(Master(port)) as master:
        held = operator.ask("GET", "/api/gate").json["held"]
        reset = operator.ask("POST", "/api/gate/reset", {"held": list(held)})
        engineer.ask("POST", "/api/gate/maintenance", {})
        begun = state_of(page.state)
        engineer.ask("POST", "/api/gate/resume", {})
        master.write_coil(0, True)
        wait_until(lambda: operator.ask("GET", "/api/gate").json["plc"]["signals"]["trigger_ack"])
        plc = operator.ask("GET", "/api/gate").json["plc"]
        log = (page.state.parent / "eject.log").read_text()

    assert list(held) == ["rejects-in-a-row"]
    assert (reset.status, reset.json["held"]) == (200, {})
    assert begun is not None
    assert begun.maintenance
    assert (plc["signals"]["trigger_id"], plc["wishes"]["trigger"]) == (3, True)
    assert "ordered by operator: reset" in log
    assert "ordered by engineer: maintenance" in log


# ---------------------------------------------------------------- in a browser


def at_the_gate(opened: Browser, page: Served, role: str) -> Tab:
    tab = log_in(opened.tab(), page.port, role)
    tab.click("#tab-gate")
    tab.wait("document.getElementById('gate-word').textContent !== '…'")
    return tab


def lamps(tab: Tab, name: str) -> dict[str, bool]:
    """Name of a signal to whether its lamp is on."""
    items = tab.run(f"[...document.querySelectorAll('#{name} li')].map((li) => [li.children[1].textContent, li.dataset.on])")
    return {signal: is_on == "true" for signal, is_on in items}


def test_the_signals_of_the_plc_are_seen_as_they_change(opened: Browser, page: Served, gate: FakeGate) -> None:
    tab = at_the_gate(opened, page, "viewer")
    tab.wait("document.querySelectorAll('#plc-out li').length")

    before = lamps(tab, "plc-out"), lamps(tab, "plc-in"), lamps(tab, "gate-out")
    gate.state = replaced(ALL_WELL, plc=PlcState(Signals(ready=True, error=True, error_code=3, trigger_id=42), Wishes()))
    tab.wait("document.getElementById('plc-words').innerText.includes('42')")

    assert {name for name, is_on in before[0].items() if is_on} == {"ready", "valid", "ok", "heartbeat"}
    assert before[1:] == ({"trigger": False, "ack": True, "reset": False}, {"ejector": True})
    assert {name for name, is_on in lamps(tab, "plc-out").items() if is_on} == {"ready", "error"}
    assert "3 ejector" in tab.run("document.getElementById('plc-words').innerText")
    assert tab.errors == []


def test_an_operator_resets_a_held_line_after_a_confirmation_that_names_the_reason(
    opened: Browser, page: Served, gate: FakeGate
) -> None:
    gate.state = replaced(ALL_WELL, ready=False, held=HELD)
    tab = at_the_gate(opened, page, "operator")
    tab.wait("document.getElementById('gate-word').textContent === 'LINE HELD'")

    tab.click("#gate-reset")
    tab.wait("document.getElementById('confirm').open")
    asked = tab.run("document.getElementById('confirm').innerText")
    focused = tab.run("document.activeElement.id")
    before = gate.ordered
    tab.click("#confirm-yes")
    tab.wait("!document.getElementById('confirm').open")

    assert "coil 3 does not answer" in asked
    assert focused == "confirm-no"  # a key pressed by accident does nothing
    assert before == []
    assert gate.ordered == [("reset", "operator")]
    assert tab.run("document.getElementById('gate-maintenance').hidden")


def test_who_cancels_orders_nothing_and_an_engineer_begins_maintenance(opened: Browser, page: Served, gate: FakeGate) -> None:
    tab = at_the_gate(opened, page, "engineer")
    tab.click("#gate-maintenance")
    tab.click("#confirm-no")
    tab.wait("!document.getElementById('confirm').open")
    cancelled = gate.ordered

    tab.click("#gate-maintenance")
    tab.click("#confirm-yes")
    tab.wait("document.getElementById('gate-word').textContent === 'MAINTENANCE'")

    assert cancelled == []
    assert gate.ordered == [("maintenance", "engineer")]
    assert tab.run("document.getElementById('gate-maintenance').textContent") == "End maintenance"


def test_the_product_is_chosen_confirmed_and_a_refusal_is_told(opened: Browser, page: Served, gate: FakeGate) -> None:
    gate.state = replaced(ALL_WELL, recipe=TWO_PRODUCTS)
    tab = at_the_gate(opened, page, "operator")
    tab.wait("!document.getElementById('products').hidden")

    unchanged = tab.run("document.getElementById('gate-recipe').disabled")
    choose(tab, 2)
    tab.click("#gate-recipe")
    tab.wait("document.getElementById('confirm').open")
    asked = tab.run("document.getElementById('confirm').innerText")
    tab.click("#confirm-yes")
    tab.wait("!document.getElementById('confirm').open")
    under_way = tab.run(PRODUCT)
    gate.end_wish("its bundle is not there; recipe 1 stays")
    tab.wait(REFUSED)
    tab.run(LOOKED_AGAIN)
    still_told, shown = tab.run(REFUSED), tab.run(PRODUCT)
    gate.run(2)  # by the PLC
    tab.wait(f"!{REFUSED} && {PRODUCT} === '2 lid'")

    assert unchanged  # it runs already
    assert "2 lid" in asked
    assert (under_way, still_told, shown) == ("2 lid", True, "1 cap")
    assert gate.ordered == [("recipe", "operator")]
    assert tab.errors == []


def test_a_product_that_a_person_is_choosing_stays_chosen_for_a_while_whatever_runs(
    opened: Browser, page: Served, gate: FakeGate
) -> None:
    gate.state = replaced(ALL_WELL, recipe=msgspec.structs.replace(TWO_PRODUCTS, known={1: "cap", 2: "lid", 3: "jar"}))
    tab = at_the_gate(opened, page, "operator")
    tab.wait("!document.getElementById('products').hidden")
    choose(tab, 3)

    gate.run(2)
    tab.wait("document.getElementById('gate-account').innerText.includes('2 lid')")
    chosen = tab.run(PRODUCT)
    tab.run("(() => { const now = Date.now; Date.now = () => now() + 61e3; })()")

    assert chosen == "3 jar"
    tab.wait(f"{PRODUCT} === '2 lid'")


def test_a_refusal_that_the_gate_has_forgotten_is_told_no_more(opened: Browser, page: Served, gate: FakeGate) -> None:
    gate.state = replaced(ALL_WELL, recipe=TWO_PRODUCTS)
    tab = at_the_gate(opened, page, "operator")
    tab.wait("!document.getElementById('products').hidden")
    choose(tab, 2)
    tab.click("#gate-recipe")
    tab.click("#confirm-yes")
    tab.wait("!document.getElementById('confirm').open")
    gate.end_wish("its bundle is not there; recipe 1 stays")
    tab.wait(REFUSED)

    gate.state = replaced(ALL_WELL, recipe=TWO_PRODUCTS)

    tab.wait(f"!{REFUSED}")


def test_an_error_that_the_plc_is_shown_until_a_reset_is_named_and_reset(opened: Browser, page: Served, gate: FakeGate) -> None:
    signals = Signals(error=True, error_code=ErrorCode.RECIPE, heartbeat=True, may_run=True)
    gate.state = replaced(ALL_WELL, ready=False, plc=PlcState(signals, Wishes(recipe=9)))
    tab = at_the_gate(opened, page, "operator")
    words = "The PLC is shown error 6 (recipe) until a reset: the product it wished does not run"
    tab.wait(f"document.getElementById('gate-words').textContent === {words!r}")
    shown = tab.run("document.getElementById('gate-word').textContent")

    tab.click("#gate-reset")
    tab.wait("document.getElementById('confirm').open")
    asked = tab.run("document.getElementById('confirm').innerText")
    tab.click("#confirm-yes")
    tab.wait("!document.getElementById('confirm').open")
    gate.state = ALL_WELL

    tab.wait("document.getElementById('gate-word').textContent === 'READY' && document.getElementById('gate-reset').disabled")
    assert shown == "NOT READY"
    assert words in asked
    assert gate.ordered == [("reset", "operator")]


def test_a_line_that_is_held_in_maintenance_is_not_said_to_reject(opened: Browser, page: Served, gate: FakeGate) -> None:
    gate.state = replaced(ALL_WELL, ready=False, maintenance=True, held={"orders-unreadable": "what was ordered cannot be read"})
    tab = at_the_gate(opened, page, "engineer")

    tab.wait("document.getElementById('gate-word').textContent === 'LINE HELD'")

    words = "Nothing is ejected: end maintenance, and reset once somebody has looked"
    assert tab.run("document.getElementById('gate-words').textContent") == words
    assert not tab.run("document.getElementById('gate-reset').disabled")


def test_each_reason_for_which_the_line_is_held_has_words(opened: Browser, page: Served, gate: FakeGate) -> None:
    tab = at_the_gate(opened, page, "viewer")

    told = tab.run("import('/static/gate.js').then((m) => Object.keys(m.REASONS))")

    assert sorted(told) == sorted(reason.value for reason in Reason)


PRODUCT = "document.getElementById('product').selectedOptions[0].textContent"
REFUSED = "document.getElementById('gate-problems').innerText.includes('Product not changed: its bundle is not there')"
LOOKED_AGAIN = "new Promise((done) => setTimeout(done, 1000))"  # four times


def choose(tab: Tab, number: int) -> None:
    select = f"const s = document.getElementById('product'); s.value = '{number}'; s.dispatchEvent(new Event('change'))"
    tab.run(f"(() => {{ {select}; }})()")


def test_a_viewer_is_offered_no_order_and_a_gate_that_is_gone_is_told(opened: Browser, page: Served) -> None:
    tab = at_the_gate(opened, page, "viewer")

    assert tab.wait("document.getElementById('gate-word').textContent") == "NO ANSWER"
    assert tab.run("document.getElementById('gate-reset').hidden && document.getElementById('gate-maintenance').hidden")
