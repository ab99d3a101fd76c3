"""O1, O2: who may come in, what each role may do, and what happens to those who try it otherwise."""

import re
import ssl
import tempfile
from pathlib import Path

import pytest
from certificates import Authority
from kensa_process import kensa, running
from line_file import write_line
from served import PASSWORDS, Served, served
from visitor import Visitor
from waiting import wait_until

from agent.last_good import load_or_last_good
from agent.web.accounts import Accounts, Role
from agent.web.app import Page, routes_of
from agent.web.entrance import OPEN_FILES, STATIC
from agent.web.sessions import Sessions, Throttle

SECRET = "correct horse battery"


def routes(state: Path) -> list[tuple[str, str, Role | None]]:
    return [(method, path, role) for method, path, role, _ in routes_of(Page(state, is_tls=False))]


def filled(path: str) -> str:
    """With something in place of its parameters."""
    return re.sub(r"\{(\w+)(:number)?\}", lambda found: "1" if found[2] else "page.js", path)


with tempfile.TemporaryDirectory() as nowhere:
    ROUTES = routes(Path(nowhere))
GUARDED = [(method, filled(path), role) for method, path, role in ROUTES if role is not None]
BEYOND = [(method, path, role, lower) for method, path, role in GUARDED for lower in Role if lower < role]


def entry_id(value: object) -> str:
    return value.name.lower() if isinstance(value, Role) else str(value)


# ---------------------------------------------------------------- every route


def test_o1_routes_without_a_role_are_the_sign_of_life_the_door_and_what_asks_by_itself() -> None:
    without = {(method, path) for method, path, role in ROUTES if role is None}

    assert without == {
        ("GET", "/live"),
        ("GET", "/login"),
        ("POST", "/login"),
        ("GET", "/first-run"),
        ("POST", "/first-run"),
        ("GET", "/static/{name}"),
        ("GET", "/"),
        ("GET", "/metrics"),
    }


@pytest.mark.parametrize(("method", "path", "role"), GUARDED, ids=entry_id)
def test_o1_no_route_opens_without_a_session(page: Served, method: str, path: str, role: Role) -> None:
    answer = page.visitor().ask(method, path, {} if method != "GET" else None)

    assert (answer.status, answer.json) == (401, {"error": "log in first"})


@pytest.mark.parametrize(("method", "path", "role", "lower"), BEYOND, ids=entry_id)
def test_o1_no_route_opens_to_a_lower_role(page: Served, method: str, path: str, role: Role, lower: Role) -> None:
    answer = page.visitor(lower.name.lower()).ask(method, path, {} if method != "GET" else None)

    assert answer.status == 403
    assert f"for the role {role.name.lower()}" in answer.json["error"]


@pytest.mark.parametrize(("method", "path", "role"), GUARDED, ids=entry_id)
def test_each_route_opens_to_its_own_role(page: Served, method: str, path: str, role: Role) -> None:
    answer = page.visitor(role.name.lower()).ask(method, path, {} if method != "GET" else None)

    assert answer.status in (200, 400, 404, 503)  # 400: nothing was asked for; 404: nothing is kept yet; 503: no gate runs here


def test_what_opens_by_itself_gives_nothing_away(page: Served) -> None:
    stranger = page.visitor()

    assert stranger.ask("GET", "/live").body == b"alive\n"
    assert stranger.ask("GET", "/").headers["location"] == "/login"
    assert stranger.ask("GET", "/metrics").status == 401
    assert stranger.ask("GET", "/first-run").json == {"is_first_run": False, "token_file": ""}
    assert [stranger.ask("GET", f"/static/{name}").status for name in OPEN_FILES] == [200] * len(OPEN_FILES)


def test_the_pages_own_files_need_a_session(page: Served) -> None:
    names = sorted({file.name for file in STATIC.iterdir()} - set(OPEN_FILES))

    assert {page.visitor().ask("GET", f"/static/{name}").status for name in names} == {401}
    assert {page.visitor("viewer").ask("GET", f"/static/{name}").status for name in names} == {200}


@pytest.mark.parametrize("path", ["/live", "/login", "/", "/api/me", "/nowhere", "/metrics"])
def test_every_answer_forbids_what_the_page_does_not_need(page: Served, path: str) -> None:
    headers = page.visitor().ask("GET", path).headers

    assert "script-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


# ---------------------------------------------------------------- first run and login


def test_the_first_account_needs_the_token_that_lies_on_the_device(fresh: Served) -> None:
    stranger = fresh.visitor()

    refused = stranger.first_run("guessed", "Mallory", SECRET)
    made = stranger.first_run(fresh.token, "Ada", SECRET)

    assert refused.status == 401
    assert (made.status, made.json) == (200, {"role": "engineer"})
    assert not (fresh.state / "web" / "first-run-token").exists()


def test_after_the_first_run_its_token_is_worth_nothing(fresh: Served) -> None:
    token = fresh.token
    fresh.visitor().first_run(token, "Ada", SECRET)

    assert fresh.visitor().first_run(token, "Mallory", SECRET).status == 401


def test_files_with_secrets_can_be_read_by_nobody_else(page: Served) -> None:
    folder = page.state / "web"
    wait_until((folder / "sessions.json").exists)

    assert folder.stat().st_mode & 0o077 == 0
    assert {file.name: oct(file.stat().st_mode & 0o777) for file in folder.iterdir()} == {
        "accounts.json": "0o600",
        "metrics-token": "0o600",
        "sessions.json": "0o600",
    }


def test_o1_guesses_at_a_password_must_wait_even_the_right_one(fresh: Served) -> None:
    fresh.make_accounts()
    guesses = [fresh.visitor().log_in("engineer", f"wrong {n}").status for n in range(6)]

    right = fresh.visitor().log_in("engineer", PASSWORDS["engineer"])

    assert guesses == [401] * 5 + [429]
    assert right.status == 429
    assert 0 < int(right.headers["retry-after"]) <= 16


def test_o1_a_wrong_name_is_answered_like_a_wrong_password(page: Served) -> None:
    known, unknown = page.visitor().log_in("viewer", "wrong"), page.visitor().log_in("nobody", "wrong")
    page.visitor("engineer")  # a right login from this address: the guesses above are forgiven

    assert (known.status, known.json) == (unknown.status, unknown.json)


def test_o1_waits_double_and_end_and_a_right_password_forgives() -> None:
    throttle = Throttle()
    [throttle.wrong("address 1", now_s=0.0) for _ in range(5)]
    first = throttle.wait_s("address 1", 1.0)
    throttle.wrong("address 1", 20.0)
    second = throttle.wait_s("address 1", 21.0)
    over = throttle.wait_s("address 1", 51.0)
    throttle.right("address 1")

    assert (first, second, over) == (14.0, 29.0, 0.0)
    assert throttle.wait_s("address 1", 20.0) == 0.0


def test_o1_the_memory_for_guessers_is_bounded() -> None:
    throttle = Throttle()

    [throttle.wrong(f"address {n}", 0.0) for n in range(5000)]

    assert len(throttle._wrong) == 1000


@pytest.mark.parametrize("password", ["nine char", "x" * 201], ids=["short", "too long"])
def test_a_password_too_short_or_too_long_is_refused_with_the_reason(page: Served, password: str) -> None:
    body = {"name": "new", "password": password, "role": "viewer"}

    answer = page.visitor("engineer").ask("POST", "/api/accounts", body)

    assert answer.status == 400


def test_the_last_engineer_stays(page: Served) -> None:
    engineer = page.visitor("engineer")

    removed = engineer.ask("DELETE", "/api/accounts", {"name": "engineer"})
    lowered = engineer.ask("POST", "/api/accounts", {"name": "engineer", "password": SECRET, "role": "viewer"})

    assert [removed.status, lowered.status] == [400, 400]
    assert "last engineer" in removed.json["error"]


# ---------------------------------------------------------------- sessions


def test_o1_a_cookie_is_for_http_only_and_for_this_site_only(page: Served) -> None:
    answer = page.visitor().ask("POST", "/login", {"name": "viewer", "password": PASSWORDS["viewer"]})

    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "SameSite=strict" in answer.headers["set-cookie"]


def test_o1_a_stolen_cookie_is_worth_nothing_elsewhere_and_ends_for_both(page: Served) -> None:
    owner = page.visitor("viewer")
    thief = Visitor(page.port, agent="another browser", cookie=owner.cookie)

    assert owner.ask("GET", "/api/me").status == 200
    assert thief.ask("GET", "/api/me").status == 401
    assert owner.ask("GET", "/api/me").status == 401


def test_o1_after_logging_out_the_cookie_is_worth_nothing(page: Served) -> None:
    visitor = page.visitor("viewer")
    visitor.ask("POST", "/logout", {})

    assert visitor.ask("GET", "/api/me").status == 401


def test_o1_a_login_takes_no_session_over_that_the_browser_came_with(page: Served) -> None:
    visitor = Visitor(page.port, cookie="chosen-by-the-attacker")
    visitor.log_in("viewer", PASSWORDS["viewer"])

    assert visitor.cookie != "chosen-by-the-attacker"
    assert Visitor(page.port, cookie="chosen-by-the-attacker").ask("GET", "/api/me").status == 401


def test_o1_a_removed_account_is_out_at_once(page: Served) -> None:
    engineer = page.visitor("engineer")
    engineer.ask("POST", "/api/accounts", {"name": "temp", "password": SECRET, "role": "viewer"})
    guest = Visitor(page.port)
    guest.log_in("temp", SECRET)
    inside = guest.ask("GET", "/api/me").status

    engineer.ask("DELETE", "/api/accounts", {"name": "temp"})

    assert (inside, guest.ask("GET", "/api/me").status) == (200, 401)


@pytest.mark.parametrize(("idle_s", "steps"), [(8 * 3600 + 1, 1), (7 * 3600, 4)], ids=["a shift without use", "a day in use"])
def test_sessions_end(idle_s: float, steps: int) -> None:
    sessions = Sessions()
    secret = sessions.begin("Ada", Role.OPERATOR, "here", now_s=0.0)

    found = [sessions.find(secret, "here", now_s=idle_s * (k + 1)) for k in range(steps)]

    assert found[-1] is None


def test_sessions_are_bounded_and_kept_as_hashes() -> None:
    sessions = Sessions()

    secrets = [sessions.begin("Ada", Role.VIEWER, "here", 0.0) for _ in range(101)]

    assert sessions.find(secrets[0], "here", 1.0) is None
    assert sessions.find(secrets[1], "here", 1.0) is not None
    assert not any(secret in one.key for secret in secrets for one in sessions.kept(1.0))


# ---------------------------------------------------------------- forged requests, paths, bodies


@pytest.mark.parametrize("csrf", ["", "guessed"])
def test_o1_what_changes_something_needs_the_sessions_own_token(page: Served, csrf: str) -> None:
    operator = page.visitor("operator")
    operator.csrf = csrf

    answer = operator.ask("POST", "/api/review", {"id": 1, "judgment": "true", "defect": "", "note": ""})

    assert answer.status == 403


def test_o1_a_request_that_another_site_sends_is_refused_even_with_the_token(page: Served) -> None:
    engineer = page.visitor("engineer")

    answer = engineer.ask(
        "POST", "/api/accounts", {"name": "m", "password": SECRET, "role": "engineer"}, Origin="http://evil.example"
    )

    assert answer.status == 403


def test_o1_another_site_cannot_log_a_browser_in(page: Served) -> None:
    stranger = page.visitor()

    forged = stranger.ask("POST", "/login", {"name": "viewer", "password": PASSWORDS["viewer"]}, Origin="http://evil.example")
    form = stranger.ask("POST", "/login", b"name=viewer", Content_Type="application/x-www-form-urlencoded")

    assert [forged.status, form.status] == [403, 415]


def test_o2_no_secret_in_logs_metrics_or_the_list_of_processes(page: Served) -> None:
    engineer = page.visitor("engineer")
    engineer.log_in("engineer", "a wrong secret password")
    engineer.log_in("engineer", PASSWORDS["engineer"])
    metrics_token = (page.state / "web" / "metrics-token").read_text().strip()
    metrics = page.visitor().ask("GET", "/metrics", Authorization=f"Bearer {metrics_token}").body.decode()
    process = page.process.process.pid
    list_of_processes = Path(f"/proc/{process}/cmdline").read_text() + Path(f"/proc/{process}/environ").read_text()
    account = Accounts(page.state / "web")._of["engineer"]
    secrets = [*PASSWORDS.values(), "a wrong secret password", engineer.cookie, engineer.csrf, metrics_token, account.hash]

    told = page.process.text() + metrics + list_of_processes

    assert "logged in as engineer" in told
    assert [secret for secret in secrets if secret in told] == []


def test_with_tls_nothing_is_said_in_plain_text_and_the_cookie_is_for_tls_only(folder: Path, small_bundle: Path) -> None:
    trust = Authority(folder / "certificates")
    ours = trust.sign("page")
    with served(folder, small_bundle, f", tls: {{certificate: {ours.file}, key: {ours.key}}}") as page:
        visitor = Visitor(page.port, context=ssl.create_default_context(cafile=str(trust.file)))
        answer = visitor.first_run(page.token, "Ada", SECRET)

        assert answer.status == 200
        assert "Secure" in answer.headers["set-cookie"]


def test_n8_a_renewed_certificate_is_shown_without_a_restart_and_one_of_no_use_is_not(folder: Path, small_bundle: Path) -> None:
    trust = Authority(folder / "certificates")
    ours, renewed = trust.sign("page"), trust.sign("renewed")
    with served(folder, small_bundle, f", tls: {{certificate: {ours.file}, key: {ours.key}}}") as page:

        def shown() -> str:
            return ssl.get_server_certificate(("127.0.0.1", page.port)).strip()

        before = shown()
        renewed.file.rename(ours.file)  # its key comes later
        wait_until(lambda: "the one before is shown" in page.process.text(), timeout_s=60)
        between = shown()
        renewed.key.rename(ours.key)
        wait_until(lambda: shown() != before, timeout_s=60)

        assert between == before
        assert shown() == ours.file.read_text().strip()


def test_a_certificate_that_is_not_there_is_named(folder: Path, small_bundle: Path) -> None:
    line = write_line(folder, small_bundle)
    line.write_text(f"{line.read_text()}web: {{tls: {{certificate: page.pem, key: page.key}}}}\n")

    finished = kensa("web", str(line))

    assert (finished.returncode, "Traceback" in finished.stderr) == (2, False)
    assert f"web.tls: {folder}/page.pem, {folder}/page.key: expected a certificate and its key" in finished.stderr


def test_s10_the_page_is_there_though_the_lines_file_is_wrong(
    folder: Path, small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is where people see that the station works with the last good configuration, and why."""
    monkeypatch.setenv("STATE_DIRECTORY", str(folder))
    with served(folder, small_bundle):
        pass
    line = folder / "line.yaml"
    line.write_text("station: [")
    port = load_or_last_good(line, "web").web.port  # type: ignore[union-attr]

    with running("-m", "kensa", "web", str(line), log_file=folder / "again.log") as again:
        wait_until(lambda: "startup complete" in again.text(), timeout_s=30)
        alive = Visitor(port).ask("GET", "/live").status
        again.terminate()

    assert alive == 200


@pytest.mark.parametrize("content", [b"", b"\n", b"\xb0abc\n"], ids=["empty", "a line of nothing", "no text"])
def test_o1_a_token_file_without_a_token_opens_nothing_and_has_a_new_one(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    files = [tmp_path / "first-run-token", tmp_path / "metrics-token"]
    [file.write_bytes(content) for file in files]

    accounts = Accounts(tmp_path)
    first_run, metrics = (file.read_text().strip() for file in files)

    assert len(first_run) == len(metrics) == 43
    assert accounts.is_first_run_token(first_run)
    assert accounts.may_read_metrics(metrics)
    assert not accounts.may_read_metrics("")
    assert caplog.text.count("there was no token in it, a new one is") == 2
    files[0].write_bytes(content)  # by whatever breaks disks, while the page runs
    assert not accounts.is_first_run_token("")


@pytest.mark.parametrize(
    "content",
    [
        b'{"Ada": {"role": "ENGINEER"',
        b'{"Ada": {"role": "ENGINEES", "salt": "ab", "hash": "ab"}}',
        b'{"Ada": {"role": "ENGINEER", "salt": "zz", "hash": "ab"}}',
        b'{"Ad\xff": {"role": "ENGINEER", "salt": "ab", "hash": "ab"}}',
    ],
    ids=["cut off", "a role that is none", "a salt that is none", "a name that is no text"],
)
def test_accounts_that_cannot_be_read_let_nobody_in_and_say_what_to_do(folder: Path, small_bundle: Path, content: bytes) -> None:
    (folder / "state" / "web").mkdir(parents=True)
    (folder / "state" / "web" / "accounts.json").write_bytes(content)
    line = write_line(folder, small_bundle)

    finished = kensa("web", str(line))

    assert finished.returncode == 2
    assert "accounts cannot be read" in finished.stderr
    assert "Traceback" not in finished.stderr
