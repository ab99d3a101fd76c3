"""PURE  Who is logged in, and who has guessed too often; times in seconds of the monotonic clock are arguments."""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass

from agent.web.accounts import Role

_IDLE_S = 8 * 3600.0  # a shift
_LONGEST_S = 24 * 3600.0
_MOST_SESSIONS = 100
_MOST_SEEN = 1000
_FREE_GUESSES = 5
_FIRST_WAIT_S, _LONGEST_WAIT_S = 15.0, 900.0
_FORGIVEN_AFTER_S = 3600.0


@dataclass(slots=True)
class Session:
    """csrf: must come back with each request that changes something. origin: what the browser was at login."""

    name: str
    role: Role
    csrf: str
    origin: str
    began_s: float
    used_s: float


class Sessions:
    """Secrets are kept as hashes; beyond 100 the one longest unused goes."""

    def __init__(self) -> None:
        self._of: OrderedDict[bytes, Session] = OrderedDict()

    def begin(self, name: str, role: Role, origin: str, now_s: float) -> tuple[str, Session]:
        """A fresh secret for the cookie; nothing of what the browser had before is taken over."""
        secret = secrets.token_urlsafe(32)
        session = Session(name, role, secrets.token_urlsafe(32), origin, now_s, now_s)
        self._of[_key(secret)] = session
        if len(self._of) > _MOST_SESSIONS:
            self._of.popitem(last=False)
        return secret, session

    def find(self, secret: str, origin: str, now_s: float) -> Session | None:
        """None for one that is unknown or over. One that comes from elsewhere was stolen: it ends for both."""
        session = self._of.get(_key(secret))
        if session is None:
            return None
        is_over = now_s - session.used_s > _IDLE_S or now_s - session.began_s > _LONGEST_S
        if is_over or not hmac.compare_digest(session.origin, origin):
            self.end(secret)
            return None
        session.used_s = now_s
        self._of.move_to_end(_key(secret))
        return session

    def end(self, secret: str) -> None:
        self._of.pop(_key(secret), None)

    def end_all_of(self, name: str) -> None:
        """After a change of the account."""
        self._of = OrderedDict((key, session) for key, session in self._of.items() if session.name != name)


class Throttle:
    """Five wrong guesses are free, then each one doubles the wait; for a name as well as for an address."""

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_s(self, who: str, now_s: float) -> float:
        """How long this one must still wait; 0 when a guess is welcome."""
        times, last_s = self._wrong.get(who, (0, 0.0))
        if times < _FREE_GUESSES:
            return 0.0
        longest_s = min(_FIRST_WAIT_S * 2.0 ** min(times - _FREE_GUESSES, 20), _LONGEST_WAIT_S)
        return max(0.0, last_s + longest_s - now_s)

    def wrong(self, who: str, now_s: float) -> None:
        times, last_s = self._wrong.pop(who, (0, now_s))
        self._wrong[who] = (1 if now_s - last_s > _FORGIVEN_AFTER_S else times + 1, now_s)
        if len(self._wrong) > _MOST_SEEN:
            self._wrong.popitem(last=False)

    def right(self, who: str) -> None:
        self._wrong.pop(who, None)


def _key(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
