"""Who is logged in stays so when the page is started anew; who has gone stays out."""

import json
import time
from pathlib import Path

import pytest
from served import PASSWORDS, Served
from visitor import Visitor
from waiting import wait_until

from agent.clock import machine_boot
from agent.web.accounts import Accounts, Role
from agent.web.session_book import SessionBook
from agent.web.sessions import KeptSession, Sessions

SECRET = "correct horse battery"
DAY_S = 86400.0


def book_of(page: Served) -> Path:
    return page.state / "web" / "sessions.json"


def wait_for_kept(page: Served, sessions: int) -> None:
    wait_until(lambda: book_of(page).exists() and len(json.loads(book_of(page).read_text())["sessions"]) == sessions)


def one(name: str = "Ada", account: str = "salt", age_s: float = 0.0, idle_s: float = 0.0) -> KeptSession:
    return KeptSession("key", name, account, "csrf", "origin", age_s, idle_s)


def test_a_screen_in_the_hall_is_still_logged_in_after_the_page_was_killed_and_started_again(fresh: Served) -> None:
    fresh.make_accounts()
    panel, operator = fresh.visitor("viewer"), fresh.visitor("operator")
    wait_for_kept(fresh, 3)

    fresh.kill()
    fresh.start()

    assert panel.ask("GET", "/api/me").json["name"] == "viewer"
    assert operator.ask("GET", "/api/me").json == {"name": "operator", "role": "operator", "csrf": operator.csrf}
    assert operator.ask("POST", "/api/review", {"id": 0}).status == 400  # its token is the one it had: it gets that far


def test_o1_who_has_logged_out_was_removed_or_has_another_password_is_out_after_a_restart_too(fresh: Served) -> None:
    fresh.make_accounts()
    engineer, operator, viewer, stays = (fresh.visitor(role) for role in ("engineer", "operator", "viewer", "engineer"))
    again = {"name": "operator", "password": SECRET, "role": "operator"}
    wait_for_kept(fresh, 5)
    before = book_of(fresh).read_bytes()

    answers = [
        engineer.ask("POST", "/api/accounts", again),
        engineer.ask("DELETE", "/api/accounts", {"name": "viewer"}),
        engineer.ask("POST", "/logout", {}),
    ]
    fresh.kill()
    after_logout = book_of(fresh).read_text()
    book_of(fresh).write_bytes(before)  # as if the power had gone before the disk had the newer one
    fresh.start()

    assert [answer.status for answer in answers] == [200] * 3
    assert len(json.loads(after_logout)["sessions"]) == 2  # the first run's, and the engineer who stays
    assert [visitor.ask("GET", "/api/me").status for visitor in (operator, viewer, stays)] == [401, 401, 200]


def test_o1_a_cookie_that_was_stolen_is_ended_for_the_next_process_too(fresh: Served) -> None:
    fresh.make_accounts()
    owner = fresh.visitor("viewer")
    wait_for_kept(fresh, 2)

    Visitor(fresh.port, agent="another browser", cookie=owner.cookie).ask("GET", "/api/me")
    wait_for_kept(fresh, 1)
    fresh.kill()
    fresh.start()

    assert owner.ask("GET", "/api/me").status == 401


def test_the_secret_of_no_cookie_and_no_password_is_on_the_disk(fresh: Served) -> None:
    fresh.make_accounts()
    viewer = fresh.visitor("viewer")
    wait_for_kept(fresh, 2)

    content = book_of(fresh).read_text()

    assert book_of(fresh).stat().st_mode & 0o777 == 0o600
    assert [secret for secret in (viewer.cookie, *PASSWORDS.values()) if secret in content] == []


@pytest.mark.parametrize(
    "content",
    [b"", b'{"boot": "a", "mono_s": 1', b"\xff\xfe", b"[]", b'{"sessions": []}', b"null" + b" " * (1 << 21)],
    ids=["empty", "torn", "no text", "a list", "another's", "huge"],
)
def test_a_book_that_cannot_be_read_is_no_more_than_a_login(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "sessions.json"
    file.write_bytes(content)

    found = SessionBook(file).read()

    assert found == []


def test_a_book_that_is_a_folder_is_no_more_than_a_login(tmp_path: Path) -> None:
    (tmp_path / "sessions.json" / "x").mkdir(parents=True)
    book = SessionBook(tmp_path / "sessions.json")

    book.write([one()])

    assert book.read() == []


def test_where_the_disk_takes_nothing_no_session_comes_back_that_has_ended(tmp_path: Path) -> None:
    book = SessionBook(tmp_path / "sessions.json")
    book.write([one()])
    (tmp_path / ".sessions.json.part").mkdir()  # nothing can be written in its place

    book.write([])

    assert book.read() == []


@pytest.mark.parametrize(
    ("boot", "mono_s", "utc", "shortest_s", "longest_s"),
    [
        (machine_boot(), time.monotonic() - 3600.0, "2999-01-01T00:00:00Z", 3605.0, 3905.0),
        ("before", 1.0, "2026-01-01T00:00:00Z", 100 * DAY_S, 99_999 * DAY_S),
        ("before", 1.0, "2999-01-01T00:00:00Z", 5.0, 5.0),
    ],
    ids=["the page alone", "the machine too", "a clock that is behind"],
)
def test_the_time_between_two_processes_counts_and_a_clock_that_is_behind_makes_nobody_younger(
    tmp_path: Path, boot: str, mono_s: float, utc: str, shortest_s: float, longest_s: float
) -> None:
    SessionBook(tmp_path / "sessions.json").write([one(age_s=5.0, idle_s=1.0)])
    written = json.loads((tmp_path / "sessions.json").read_text())
    (tmp_path / "sessions.json").write_text(json.dumps(written | {"boot": boot, "mono_s": mono_s, "utc": utc}))

    (found,) = SessionBook(tmp_path / "sessions.json").read()

    assert shortest_s <= found.age_s <= longest_s
    assert found.age_s - found.idle_s == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("kept", "is_in"),
    [
        (one(), True),
        (one(name="Eve"), False),
        (one(account="another password"), False),
        (one(idle_s=9 * 3600.0, age_s=9 * 3600.0), False),
        (one(age_s=25 * 3600.0), False),
    ],
    ids=["as it was", "no account", "another password", "a shift without use", "a day"],
)
def test_only_a_session_that_would_have_gone_on_does(kept: KeptSession, is_in: bool) -> None:
    sessions = Sessions()

    sessions.restore([kept], {("Ada", "salt"): Role.OPERATOR}, now_s=1e6)

    assert bool(sessions.kept(1e6)) is is_in


def test_who_may_only_look_stays_for_months_and_who_may_do_something_for_a_day_at_most() -> None:
    sessions = Sessions()
    begun = {role: sessions.begin(role.name, role, "here", 0.0) for role in Role}

    inside = [
        {role.name for role, secret in begun.items() if sessions.find(secret, "here", now_s=3600.0 * hours)}
        for hours in (*range(6, 24, 6), *range(25, 8760, 600))
    ]

    assert inside[0] == {"VIEWER", "OPERATOR", "ENGINEER"}
    assert inside[3:] == [{"VIEWER"}] * len(inside[3:])
    assert sessions.find(begun[Role.VIEWER], "here", now_s=367 * DAY_S) is None


def test_more_sessions_than_are_allowed_are_not_taken_over() -> None:
    sessions = Sessions()

    sessions.restore(
        [KeptSession(str(n), "Ada", "salt", "", "", 0.0, 0.0) for n in range(500)], {("Ada", "salt"): Role.VIEWER}, now_s=0.0
    )

    assert len(sessions.kept(0.0)) == 100


def test_a_new_password_has_a_name_of_its_own_though_it_be_the_same_word(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    accounts.put("Ada", SECRET, Role.ENGINEER)
    before = accounts.passwords

    accounts.put("Ada", SECRET, Role.ENGINEER)

    assert accounts.passwords.keys().isdisjoint(before)


def test_a_browser_that_was_updated_is_the_same_one_and_a_viewers_cookie_outlives_its_restart(page: Served) -> None:
    visitor = Visitor(page.port, agent="Mozilla/5.0 (X11; Linux) Chrome/131.0.6778.85 Safari/537.36")
    answer = visitor.log_in("viewer", PASSWORDS["viewer"])

    visitor.agent = "Mozilla/5.0 (X11; Linux) Chrome/140.1.2.3 Safari/537.36"

    assert "Max-Age=31622400" in answer.headers["set-cookie"]
    assert "Max-Age" not in page.visitor().log_in("operator", PASSWORDS["operator"]).headers["set-cookie"]
    assert visitor.ask("GET", "/api/me").status == 200
