"""O1: what visitors try who are up to no good, or whose browser is broken: each is answered, and nothing breaks."""

import socket
from contextlib import ExitStack
from urllib.parse import quote

import pytest
from served import PASSWORDS, Served
from waiting import wait_until


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e%2faccounts.json",
        "/static/....//app.py",
        "/static//etc/passwd",
        "/static/%00",
        "/kept/1/..%2f..%2f..%2fetc%2fpasswd",
        "/kept/../../web/accounts.json",
        "/kept/-1/image.png",
        "/kept/99999999999999999999/image.png",
        f"/kept/{'9' * 5000}/image.png",
        "/live/..%2f..%2fweb/1.jpg",
    ],
)
def test_o1_no_path_leads_out(page: Served, path: str) -> None:
    answer = page.visitor("engineer").ask("GET", path)

    assert answer.status == 404
    assert b"root:" not in answer.body
    assert b"salt" not in answer.body


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[1]", b'{"id": "1"}', b'{"id": true}', b'{"id": 1}', b"[" * 10_000, b"\xff\xfe", b'{"id": 1e400}'],
    ids=["nothing", "null", "list", "text", "boolean", "too little", "deep", "no UTF-8", "infinite"],
)
def test_a_body_that_is_none_is_refused_and_nothing_breaks(page: Served, body: bytes) -> None:
    answer = page.visitor("operator").ask("POST", "/api/review", body)

    assert answer.status == 400
    assert "Traceback" not in page.process.text()


@pytest.mark.parametrize("key", ["name", "password", "token"])
def test_half_a_character_is_no_text(page: Served, key: str) -> None:
    body = {"name": "a", "password": "correct horse battery", "token": "t", key: "\ud800"}

    answers = [page.visitor().ask("POST", path, body).status for path in ("/first-run", "/login")]

    assert answers == [400, 401 if key == "token" else 400]
    assert "Traceback" not in page.process.text()


def test_an_origin_that_is_none_is_another_site(page: Served) -> None:
    forged = page.visitor().ask("POST", "/login", {"name": "viewer", "password": PASSWORDS["viewer"]}, Origin="http://[")

    assert forged.status == 403
    assert "Traceback" not in page.process.text()


def test_o1_visitors_who_never_say_what_they_want_lose_their_place(fresh: Served) -> None:
    """A hundred connections are all that there are: without a limit the page would be closed to everybody for good."""
    with ExitStack() as open_ones:
        idle = [open_ones.enter_context(socket.create_connection(("127.0.0.1", fresh.port))) for _ in range(102)]
        [one.sendall(b"GET /live HTTP/1.1\r\nX-slow: ") for one in idle[::2]]
        wait_until(lambda: fresh.visitor().ask("GET", "/live").status == 503)

        wait_until(lambda: fresh.visitor().ask("GET", "/live").status == 200, timeout_s=30)


def test_o1_a_visitor_who_never_ends_what_he_says_loses_his_place(page: Served) -> None:
    with socket.create_connection(("127.0.0.1", page.port), timeout=30) as slow:
        slow.sendall(b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")

        answered = slow.recv(1)

    assert answered == b""


def test_a_body_too_large_is_not_even_read(page: Served) -> None:
    assert page.visitor().ask("POST", "/login", b" " * 20_000).status == 413


@pytest.mark.parametrize("text", ["'; DROP TABLE kept; --", "%", "\\", "_" * 60, "\x00"])
def test_what_is_searched_for_is_text_and_never_a_query(page: Served, text: str) -> None:
    answer = page.visitor("viewer").ask("GET", f"/api/kept?text={quote(text)}")

    assert (answer.status, answer.json["total"]) == (200, 0)


# ---------------------------------------------------------------- O2 and TLS
