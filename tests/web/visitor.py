"""Somebody at the page's door, with a browser's manners or without: plain HTTP, one cookie, one name of a browser."""

import http.client
import json
import ssl
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

_PATIENCE_S = 60  # the machine may be busy


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Visitor:
    """cookie: the session's secret. csrf: what the page has been given for it."""

    port: int
    agent: str = "test browser"
    cookie: str = ""
    csrf: str = ""
    context: ssl.SSLContext | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, content: Any = None, **headers: str) -> Answer:
        """One request; content is sent as JSON, bytes as they are."""
        if self.context is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE_S)
        else:
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=_PATIENCE_S, context=self.context)
        sent = {"User-Agent": self.agent, **self.headers}
        if self.cookie:
            sent["Cookie"] = f"kensa-session={self.cookie}"
        if self.csrf:
            sent["X-CSRF-Token"] = self.csrf
        if content is not None:
            sent["Content-Type"] = "application/json"
        body = content if content is None or isinstance(content, bytes) else json.dumps(content).encode()
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(connection):
            connection.request(method, path, body, sent)
            with connection.getresponse() as answer:  # of a stream that never ends the connection is the answer's
                return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, _read(answer))

    def first_run(self, token: str, name: str, password: str) -> Answer:
        return self._enter(self.ask("POST", "/first-run", {"token": token, "name": name, "password": password}))

    def log_in(self, name: str, password: str) -> Answer:
        return self._enter(self.ask("POST", "/login", {"name": name, "password": password}))

    def _enter(self, answer: Answer) -> Answer:
        if answer.status == 200:
            self.cookie = answer.headers["set-cookie"].partition("kensa-session=")[2].partition(";")[0]
            self.csrf = self.ask("GET", "/api/me").json["csrf"]
        return answer


def _read(answer: http.client.HTTPResponse) -> bytes:
    """All of it; of a stream that never ends only the beginning."""
    return answer.read1(65536) if answer.headers.get_content_type() == "text/event-stream" else answer.read()
