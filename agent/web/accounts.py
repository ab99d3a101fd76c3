"""Who may use the page: accounts in one small file, passwords as scrypt hashes, and the token of the first run."""

import contextlib
import enum
import hashlib
import hmac
import logging
import secrets
import threading
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from agent.whole_file import write_whole

log = logging.getLogger(__name__)

_N, _R, _P = 1 << 14, 8, 1  # 16 MB and about 40 ms for each guess
_SHORTEST, _LONGEST = 10, 200
_MOST_ACCOUNTS = 50


class Role(enum.IntEnum):
    """Each may do what those before it may. VIEWER sees; OPERATOR reviews rejects and resets the gate; ENGINEER exports, begins
    and ends maintenance, and gives accounts."""

    VIEWER = 1
    OPERATOR = 2
    ENGINEER = 3


class AccountError(ValueError):
    """An account that cannot be made or changed so; the message is for the person who asked."""


_Hex = Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{2})+$")]


class _Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    role: Literal["VIEWER", "OPERATOR", "ENGINEER"]
    salt: _Hex
    hash: _Hex


class Accounts:
    """The accounts in a folder. Until the first one is made there is a token in it, which only this machine's owner can read.

    Raises OSError and msgspec.DecodeError where the file is there and cannot be read: nobody may then come in.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = folder / "accounts.json"
        self.token_file = folder / "first-run-token"
        self.metrics_token_file = folder / "metrics-token"
        self._guessing = threading.Lock()
        self._of: dict[str, _Account] = {}
        if self._file.exists():
            try:
                self._of = msgspec.json.decode(self._file.read_bytes(), type=dict[str, _Account])
            except UnicodeDecodeError as e:
                raise msgspec.DecodeError(str(e)) from e
        if self._of:
            with contextlib.suppress(OSError):  # on a read-only disk not even one that is not there; it opens nothing any more
                self.token_file.unlink()
        else:
            _token_in(self.token_file)
        self._metrics_token = _token_in(self.metrics_token_file)

    @property
    def is_first_run(self) -> bool:
        return not self._of

    @property
    def names(self) -> dict[str, Role]:
        return {name: Role[account.role] for name, account in sorted(self._of.items())}

    @property
    def passwords(self) -> dict[tuple[str, str], Role]:
        """Roles by name and what `password_of` calls the name's password."""
        return {(name, account.salt): Role[account.role] for name, account in self._of.items()}

    def password_of(self, name: str) -> str:
        """Names its password, and tells nothing of it; each new one has another name, though it be the same word."""
        return self._of[name].salt if name in self._of else ""

    def is_first_run_token(self, given: str) -> bool:
        """Whether it is the token in the file, as long as there is no account."""
        if not self.is_first_run:
            return False
        return _is_token(given.strip(), _read_token(self.token_file))

    def may_read_metrics(self, given: str) -> bool:
        return _is_token(given, self._metrics_token)

    def role_of(self, name: str, password: str) -> Role | None:
        """None for a wrong password and for a name that is not there, after the same time. One guess at a time."""
        account = self._of.get(name)
        salt = bytes.fromhex(account.salt) if account else bytes(16)
        with self._guessing:
            found = _hash(password[:_LONGEST], salt)
        if account is None or not hmac.compare_digest(found, bytes.fromhex(account.hash)):
            return None
        return Role[account.role]

    def put(self, name: str, password: str, role: Role) -> None:
        """Makes or replaces an account. Raises AccountError."""
        if not (1 <= len(name) <= 40 and name.isprintable() and name == name.strip()):
            raise AccountError("a name has 1 to 40 characters and no spaces around it")
        if not _SHORTEST <= len(password) <= _LONGEST:
            raise AccountError(f"a password has {_SHORTEST} to {_LONGEST} characters")
        if password.lower() in {name.lower(), name.lower() * 2}:
            raise AccountError("a password must not be the name")
        if name not in self._of and len(self._of) >= _MOST_ACCOUNTS:
            raise AccountError(f"there are {_MOST_ACCOUNTS} accounts already, remove one first")
        if self.names.get(name) is Role.ENGINEER and role is not Role.ENGINEER:
            self._keep_an_engineer(name)
        salt = secrets.token_bytes(16)
        told = {"role": role.name, "salt": salt.hex(), "hash": _hash(password, salt).hex()}
        self._write({**self._of, name: msgspec.convert(told, _Account)})
        self.token_file.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Raises AccountError for the last engineer and for a name that is not there."""
        if name not in self._of:
            raise AccountError(f"there is no account {name!r}")
        self._keep_an_engineer(name)
        self._write({other: account for other, account in self._of.items() if other != name})

    def _keep_an_engineer(self, name: str) -> None:
        if not any(role is Role.ENGINEER for other, role in self.names.items() if other != name):
            raise AccountError("the last engineer must stay: make another one first")

    def _write(self, accounts: dict[str, _Account]) -> None:
        """Raises AccountError where the disk is full or read-only; all stays as it was then."""
        try:
            write_whole(self._file, msgspec.json.encode(accounts), private=True)
        except OSError as e:
            raise AccountError(f"the station's disk does not take it ({e.strerror}): make room on it, or have it mended") from e
        self._of = accounts


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=_N, r=_R, p=_P, maxmem=64 << 20)


def _token_in(file: Path) -> str:
    """A new one where the file is not there or holds none: an empty one would open the door to anybody. Raises OSError."""
    if not (token := _read_token(file)):
        if file.exists():
            log.error("%s: there was no token in it, a new one is", file)
        token = secrets.token_urlsafe(32)
        write_whole(file, f"{token}\n".encode(), private=True)
    return token


def _read_token(file: Path) -> str:
    """Empty where there is none that can be read. Raises OSError where the disk does not give it."""
    try:
        return file.read_text().strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return ""


def _is_token(given: str, token: str) -> bool:
    return bool(token) and hmac.compare_digest(given.encode(), token.encode())
