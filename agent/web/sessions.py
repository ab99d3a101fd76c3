"""PURE  Who is logged in, and who has guessed too often; times in seconds of the monotonic clock are arguments."""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec

from agent.web.accounts import Role

_IDLE_S = 8 * 3600.0  # a shift
_LONGEST_S = 24 * 3600.0
VIEWERS_IDLE_S, VIEWERS_LONGEST_S = 30 * 86400.0, 366 * 86400.0  # who may only look: a screen in the hall that nobody logs in
_MOST_SESSIONS = 100
_MOST_SEEN = 1000
_FREE_GUESSES = 5
_FIRST_WAIT_S, _LONGEST_WAIT_S = 15.0, 900.0
_FORGIVEN_AFTER_S = 3600.0


@dataclass(slots=True)
class Session:
    """csrf: must come back with each request that changes something. origin: what the browser was at login. account: names the
    password by which it was begun."""

    name: str
    role: Role
    csrf: str
    origin: str
    began_s: float
    used_s: float
    account: str = ""

    def is_over(self, now_s: float) -> bool:
        idle_s, longest_s = (VIEWERS_IDLE_S, VIEWERS_LONGEST_S) if self.role is Role.VIEWER else (_IDLE_S, _LONGEST_S)
        return now_s - self.used_s > idle_s or now_s - self.began_s > longest_s


class KeptSession(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A session as the next process finds it. key: hash of its secret. Ages in seconds, whatever clock they are counted by."""

    key: str
    name: str
    account: str
    csrf: str
    origin: str
    age_s: Annotated[float, msgspec.Meta(ge=0)]
    idle_s: Annotated[float, msgspec.Meta(ge=0)]


class Sessions:
    """Secrets are kept as hashes; beyond 100 the one longest unused goes. has_changed: since it was last set to False."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, Session] = OrderedDict()
        self.has_changed = False

    def begin(self, name: str, role: Role, origin: str, now_s: float, account: str = "") -> str:
        """A fresh secret for the cookie; nothing of what the browser had before is taken over."""
        secret = secrets.token_urlsafe(32)
        self._of[_hashed(secret)] = Session(name, role, secrets.token_urlsafe(32), _hashed(origin), now_s, now_s, account)
        self.has_changed = True
        if len(self._of) > _MOST_SESSIONS:
            self._of.popitem(last=False)
        return secret

    def kept(self, now_s: float) -> list[KeptSession]:
        """All of them, the one longest unused first."""
        return [
            KeptSession(key, one.name, one.account, one.csrf, one.origin, now_s - one.began_s, now_s - one.used_s)
            for key, one in self._of.items()
        ]

    def restore(self, kept: Iterable[KeptSession], accounts: Mapping[tuple[str, str], Role], now_s: float) -> None:
        """Those that are not over, and whose name has this password still. accounts: role by name and password's name."""
        for one in kept:
            if (role := accounts.get((one.name, one.account))) is None:
                continue
            session = Session(one.name, role, one.csrf, one.origin, now_s - one.age_s, now_s - one.idle_s, one.account)
            if len(self._of) < _MOST_SESSIONS and not session.is_over(now_s):
                self._of[one.key] = session

    def find(self, secret: str, origin: str, now_s: float) -> Session | None:
        """None for one that is unknown or over. One that comes from elsewhere was stolen: it ends for both."""
        session = self._of.get(_hashed(secret))
        if session is None:
            return None
        if session.is_over(now_s) or not hmac.compare_digest(session.origin, _hashed(origin)):
            self.end(secret)
            return None
        session.used_s = now_s
        self._of.move_to_end(_hashed(secret))
        return session

    def end(self, secret: str) -> None:
        if self._of.pop(_hashed(secret), None) is not None:
            self.has_changed = True

    def end_all_of(self, name: str) -> None:
        """After a change of the account."""
        self._of = OrderedDict((key, session) for key, session in self._of.items() if session.name != name)
        self.has_changed = True


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


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
