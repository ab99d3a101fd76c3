"""One YAML file to one typed, frozen Line; every mistake is named with its line before anything starts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from agent.drivers import SectionError, convert, section
from agent.yaml_file import located, read_yaml

if TYPE_CHECKING:
    from agent.cameras import CameraConfig
    from agent.ejectors import EjectorConfig
    from agent.runtimes import RuntimeConfig
    from agent.triggers import TriggerConfig

_LONGEST_SOCKET_BYTES = 107  # of a Unix socket's path
SOCKET = "gate.sock"

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
Topic = Annotated[str, msgspec.Meta(pattern=r"^[^+#/\x00]+(/[^+#/\x00]+)*$", max_length=200)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=3_600_000)]
NotNegative = Annotated[float, msgspec.Meta(ge=0, le=3_600_000)]


class Gate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The way from camera to reject gate, in ms.

    travel_ms: trigger to gate. lead_ms: how long before the part's arrival the output must switch; a part without a
    verdict by then is rejected. pulse_ms: how long the output stays on.
    """

    travel_ms: Positive
    lead_ms: NotNegative = 20.0
    pulse_ms: Positive = 30.0

    def __post_init__(self) -> None:
        if self.lead_ms >= self.travel_ms:
            raise ValueError(f"lead_ms {self.lead_ms} must be smaller than travel_ms {self.travel_ms}")


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
    """

    host: Annotated[str, msgspec.Meta(min_length=1)]
    topic: Topic
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 1883
    keepalive_s: Annotated[int, msgspec.Meta(ge=2, le=3600)] = 30
    tls: Tls | None = None
    login: Login | None = None
    collector: Name | None = None


class Keep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much is kept of one class. mb: of events. waiting_days: never delivered. replay_hours: delivered.

    Days and hours are of operation. Delivered events go first; losing one that was never delivered is itself reported.
    """

    mb: Annotated[float, msgspec.Meta(ge=0.1)]
    waiting_days: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    replay_hours: Annotated[float, msgspec.Meta(ge=0)] = 72.0


class KeepAll(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"passes": "pass"}):
    """The section `outbox` of a line. A day of ten passed parts a second is 0.9 GB."""

    passes: Keep = Keep(mb=1024.0)
    fault: Keep = Keep(mb=256.0)
    reject: Keep = Keep(mb=512.0)
    alert: Keep = Keep(mb=64.0, waiting_days=90.0)


class _Sections(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file as written, before its driver sections are resolved."""

    station: Name
    bundle: str
    state: str
    gate: Gate
    mqtt: Mqtt
    cameras: dict[str, Any]
    trigger: Any
    ejector: Any
    runtime: Any
    outbox: KeepAll = KeepAll()


@dataclass(frozen=True, slots=True)
class Line:
    """One station, resolved. Paths are absolute; relative ones in the file are relative to the file."""

    file: Path
    station: str
    bundle: Path
    state: Path
    gate: Gate
    mqtt: Mqtt
    outbox: KeepAll
    camera_name: str
    camera: CameraConfig
    trigger: TriggerConfig
    ejector: EjectorConfig
    runtime_name: str
    runtime: RuntimeConfig

    @property
    def socket(self) -> Path:
        """Where the ejector process listens for the inspection process."""
        return self.state / SOCKET


def load_line(file: Path) -> Line:
    """The line in a YAML file. Raises ConfigError with file, line number, what was found and what was expected."""
    content, lines = read_yaml(file)
    try:
        written: _Sections = convert(content, _Sections)
        if len(written.cameras) != 1:
            raise SectionError(f"expected exactly one camera, found {len(written.cameras)}", "cameras")
        (camera_name, camera), folder = next(iter(written.cameras.items())), file.resolve().parent
        if len(str(folder / written.state / SOCKET).encode()) > _LONGEST_SOCKET_BYTES:
            raise SectionError(f"{folder / written.state} is too long for a Unix socket in it, choose a shorter path", "state")
        return Line(
            file=file.resolve(),
            station=written.station,
            bundle=folder / written.bundle,
            state=folder / written.state,
            gate=written.gate,
            mqtt=_with_files(written.mqtt, folder),
            outbox=written.outbox,
            camera_name=camera_name,
            camera=_in("cameras", camera_name, package="agent.cameras", content=_absolute(camera, folder)),
            trigger=_in("trigger", package="agent.triggers", content=_absolute(written.trigger, folder)),
            ejector=_in("ejector", package="agent.ejectors", content=_absolute(written.ejector, folder)),
            runtime_name=written.runtime["type"] if isinstance(written.runtime, dict) else "",
            runtime=_in("runtime", package="agent.runtimes", content=written.runtime),
        )
    except SectionError as e:
        raise located(e, file, lines) from e


def _in(*keys: str, package: str, content: object) -> Any:
    """A driver section, its errors told from the root of the file."""
    try:
        return section(package, content)
    except SectionError as e:
        raise SectionError(str(e), *keys, *e.path) from e


def _with_files(mqtt: Mqtt, folder: Path) -> Mqtt:
    """Its files do not depend on where the process was started."""
    tls, login = mqtt.tls, mqtt.login
    if tls is not None:
        files = {key: str(folder / file) for key in ("ca", "certificate", "key") if (file := getattr(tls, key)) is not None}
        tls = msgspec.structs.replace(tls, **files)
    if login is not None and login.password_file is not None:
        login = msgspec.structs.replace(login, password_file=str(folder / login.password_file))
    return msgspec.structs.replace(mqtt, tls=tls, login=login)


def _absolute(content: object, folder: Path) -> object:
    """A driver section whose files (`path`, `depth`), if it has any, do not depend on where the process was started."""
    if not isinstance(content, dict):
        return content
    files = {key: str(folder / content[key]) for key in ("path", "depth") if isinstance(content.get(key), str)}
    return {**content, **files}
