"""Sections of a line's file that choose no driver: broker, outbox, record, drift, page."""

import os
import re
from pathlib import Path
from typing import Annotated

import msgspec

from agent.broker.remote_command import HARMLESS, CommandName
from agent.gate.plan import Positive

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
Topic = Annotated[str, msgspec.Meta(pattern=r"^[^+#/\x00]+(/[^+#/\x00]+)*$", max_length=200)]

_MOST_MB = 1e9
_HOST = re.compile(r"[\w.-]+|[0-9A-Fa-f.]*(:[0-9A-Fa-f.]*){2,}(%\w+)?")  # a name, an IPv4 address; an IPv6 address


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Files in PEM form. ca: whose signature the broker's certificate must bear. certificate, key: by which it knows us."""

    ca: str
    certificate: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: give both or none")


class Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """User and password. password_file: holds it and nothing else; credential: systemd's name of it (LoadCredential=)."""

    user: Annotated[str, msgspec.Meta(min_length=1)]
    password_file: str | None = None
    credential: str | None = None

    def __post_init__(self) -> None:
        if (self.password_file is None) == (self.credential is None):
            raise ValueError("give either password_file or credential")

    @property
    def file(self) -> Path:
        """Where the password stands."""
        if self.password_file is not None:
            return Path(self.password_file)
        return Path(os.environ.get("CREDENTIALS_DIRECTORY", "/run/credentials")) / str(self.credential)


class Mqtt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The central broker. topic: prefix of everything this station publishes, such as enterprise/site/area/line/station.

    collector: an event counts as delivered when this collector has acknowledged it; None: when the broker has taken it over.
    commands: those that the station obeys over MQTT; whether parts are rejected depends on pause, resume and reload.
    """

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    topic: Topic
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 1883
    keepalive_s: Annotated[int, msgspec.Meta(ge=2, le=3600)] = 30
    tls: Tls | None = None
    login: Login | None = None
    collector: Name | None = None
    commands: tuple[CommandName, ...] = HARMLESS

    def __post_init__(self) -> None:
        if not _HOST.fullmatch(self.host):
            raise ValueError(f"host {self.host!r}: expected a name or an address alone; `port` and `tls` have keys of their own")

    def below(self, folder: Path) -> "Mqtt":
        """The same, its files not depending on where the process was started."""
        tls, login = self.tls, self.login
        if tls is not None:
            files = {key: str(folder / file) for key in ("ca", "certificate", "key") if (file := getattr(tls, key)) is not None}
            tls = msgspec.structs.replace(tls, **files)
        if login is not None and login.password_file is not None:
            login = msgspec.structs.replace(login, password_file=str(folder / login.password_file))
        return msgspec.structs.replace(self, tls=tls, login=login)


class Keep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much is kept of one class. mb: on the disk. waiting_days: never delivered. replay_hours: delivered.

    Days and hours are of operation. Delivered events go first; losing one that was never delivered is itself reported.
    """

    mb: Annotated[float, msgspec.Meta(ge=0.1, le=_MOST_MB)]
    waiting_days: Annotated[float, msgspec.Meta(gt=0, le=36_500)] = 30.0
    replay_hours: Annotated[float, msgspec.Meta(ge=0, le=876_000)] = 72.0


class KeepAll(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"passes": "pass"}):
    """The section `outbox` of a line. A day of ten passed parts a second is 0.9 GB."""

    passes: Keep = Keep(mb=1024.0)
    fault: Keep = Keep(mb=256.0)
    reject: Keep = Keep(mb=512.0)
    alert: Keep = Keep(mb=64.0, waiting_days=90.0)


class WebTls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Files in PEM form by which the page shows who it is."""

    certificate: str
    key: str


class Web(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The page. host: only this machine may come unless it says otherwise, such as 0.0.0.0 for all."""

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8080
    tls: WebTls | None = None

    @property
    def is_local(self) -> bool:
        return self.host in {"127.0.0.1", "::1", "localhost"}

    def below(self, folder: Path) -> "Web":
        """The same, its files not depending on where the process was started."""
        if self.tls is None:
            return self
        return msgspec.structs.replace(self, tls=WebTls(str(folder / self.tls.certificate), str(folder / self.tls.key)))


class KeepImages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section `record`: which images are kept, and how much of them. near: so close to the threshold, in scores.

    one_of: one of so many passed parts is kept, 0 for none. hours: of production, in which parts came. leave_free_mb: of the
    disk, for what is more important.
    """

    mb: Annotated[float, msgspec.Meta(ge=1, le=_MOST_MB)] = 20_000.0
    hours: Positive = 2000.0
    near: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.1
    one_of: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)] = 1000
    leave_free_mb: Annotated[float, msgspec.Meta(ge=0, le=_MOST_MB)] = 2000.0


class WatchDrift(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section `drift`: when people are told that parts, light or line have changed. Nothing else ever happens by itself.

    parts: looked at together. once_in_parts: a false alarm of each kind about so seldom. reject_share: of the last parts.
    """

    parts: Annotated[int, msgspec.Meta(ge=50, le=10_000)] = 300
    once_in_parts: Annotated[float, msgspec.Meta(ge=1000, le=1e12)] = 1_000_000.0
    reject_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.2
