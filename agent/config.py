"""One YAML file to one typed, frozen Line; every mistake is named with its line before anything starts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from agent.broker.remote_command import HARMLESS, CommandName
from agent.drivers import SectionError, convert, section
from agent.gate.plan import GatePlan, Positive
from agent.recipe import Recipe, RecipeNumber, cameras_of, gate_of
from agent.yaml_file import located, read_yaml

if TYPE_CHECKING:
    from agent.cameras import CameraConfig
    from agent.ejectors import EjectorConfig
    from agent.encoders import EncoderConfig
    from agent.plc import PlcConfig
    from agent.runtimes import RuntimeConfig
    from agent.triggers import TriggerConfig

_LONGEST_SOCKET_BYTES = 107  # of a Unix socket's path
SOCKET = "gate.sock"

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
Topic = Annotated[str, msgspec.Meta(pattern=r"^[^+#/\x00]+(/[^+#/\x00]+)*$", max_length=200)]


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

    host: Annotated[str, msgspec.Meta(min_length=1)]
    topic: Topic
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 1883
    keepalive_s: Annotated[int, msgspec.Meta(ge=2, le=3600)] = 30
    tls: Tls | None = None
    login: Login | None = None
    collector: Name | None = None
    commands: tuple[CommandName, ...] = HARMLESS


class Keep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much is kept of one class. mb: on the disk. waiting_days: never delivered. replay_hours: delivered.

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


class KeepImages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section `record`: which images are kept, and how much of them. near: so close to the threshold, in scores.

    one_of: one of so many passed parts is kept, 0 for none. hours: of production, in which parts came. leave_free_mb: of the
    disk, for what is more important.
    """

    mb: Annotated[float, msgspec.Meta(ge=1)] = 20_000.0
    hours: Positive = 2000.0
    near: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.1
    one_of: Annotated[int, msgspec.Meta(ge=0)] = 1000
    leave_free_mb: Annotated[float, msgspec.Meta(ge=0)] = 2000.0


class WatchDrift(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section `drift`: when people are told that parts, light or line have changed. Nothing else ever happens by itself.

    parts: looked at together. once_in_parts: a false alarm of each kind about so seldom. reject_share: of the last parts.
    """

    parts: Annotated[int, msgspec.Meta(ge=50, le=10_000)] = 300
    once_in_parts: Annotated[float, msgspec.Meta(ge=1000)] = 1_000_000.0
    reject_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.2


class _Sections(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file as written, before its driver sections are resolved."""

    station: Name
    bundle: str
    state: str
    gate: GatePlan
    mqtt: Mqtt
    cameras: dict[Name, Any]
    trigger: Any
    ejector: Any
    runtime: Any
    outbox: KeepAll = KeepAll()
    record: KeepImages | None = None
    drift: WatchDrift | None = None
    web: Web | None = None
    encoder: Any = None
    confirm: Any = None
    permit: Any = None
    plc: Any = None
    sensitivity: Annotated[float, msgspec.Meta(ge=-1, lt=1)] = 0.0
    recipes: dict[RecipeNumber, Any] = {}


@dataclass(frozen=True, slots=True)
class Line:
    """One station, resolved. Paths are absolute; relative ones in the file are relative to the file. sha256: of the file.

    trouble: why this is the last good configuration and not what the file says now; empty where it is.
    recipes: the line as each of its recipes has it, by number. recipe, product: number and name of the one that this is; 0: none.
    """

    file: Path
    sha256: str
    station: str
    bundle: Path
    state: Path
    gate: GatePlan
    mqtt: Mqtt
    outbox: KeepAll
    record: KeepImages | None
    drift: WatchDrift | None
    web: Web | None
    cameras: dict[str, CameraConfig]
    trigger: TriggerConfig
    ejector: EjectorConfig
    runtime_name: str
    runtime: RuntimeConfig
    encoder: EncoderConfig | None = None
    confirm: TriggerConfig | None = None
    permit: EjectorConfig | None = None
    plc: PlcConfig | None = None
    trouble: str = ""
    sensitivity: float = 0.0
    recipe: int = 0
    product: str = ""
    recipes: Mapping[int, Line] = field(default_factory=dict)

    @property
    def each(self) -> list[Line]:
        """All that may run: one for each recipe, else this one."""
        return list(self.recipes.values()) or [self]

    def by(self, recipe: int) -> Line:
        """As this recipe has it; as it is where it has none."""
        return self.recipes.get(recipe, self)

    @property
    def longest_travel_ms(self) -> float:
        """From trigger to gate."""
        return max(one.gate.travel_ms for one in self.each)

    @property
    def socket(self) -> Path:
        """Where the ejector process listens for the inspection process."""
        return self.state / SOCKET


def load_line(file: Path, folder: Path | None = None) -> Line:
    """The line in a YAML file. Raises ConfigError with file, line number, what was found and what was expected.

    folder: what relative paths in it are relative to, where that is not the file's own.
    """
    content, lines = read_yaml(file)
    try:
        written: _Sections = convert(content, _Sections)
        folder = folder or file.resolve().parent
        line = _resolved(written, file, folder)
        recipes = {number: _recipe(number, written, file, folder) for number in sorted(written.recipes)}
        return replace(line, recipes=recipes)
    except SectionError as e:
        raise located(e, file, lines) from e


def _recipe(number: int, written: _Sections, file: Path, folder: Path) -> Line:
    """The line as one of its recipes has it; errors are told from the root of the file."""
    try:
        recipe: Recipe = convert(written.recipes[number], Recipe)
        differs = msgspec.structs.replace(
            written,
            bundle=written.bundle if recipe.bundle is None else recipe.bundle,
            sensitivity=written.sensitivity if recipe.sensitivity is None else recipe.sensitivity,
            gate=gate_of(recipe, written.gate),
            cameras=cameras_of(recipe, written.cameras),
        )
        return replace(_resolved(differs, file, folder), recipe=number, product=recipe.name)
    except SectionError as e:
        raise SectionError(str(e), "recipes", number, *e.path) from e


def _resolved(written: _Sections, file: Path, folder: Path) -> Line:
    """With its drivers' sections read and its paths absolute. Raises SectionError."""
    if (written.encoder is None) != (written.gate.travel_counts is None):
        raise SectionError("gate.travel_counts and the section encoder belong together: give both or none", "gate")
    if not written.cameras:
        raise SectionError("expected at least one camera, found none", "cameras")
    if len(str(folder / written.state / SOCKET).encode()) > _LONGEST_SOCKET_BYTES:
        raise SectionError(f"{folder / written.state} is too long for a Unix socket in it, choose a shorter path", "state")
    return Line(
        file=file.resolve(),
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        station=written.station,
        bundle=folder / written.bundle,
        state=folder / written.state,
        gate=written.gate,
        mqtt=_with_files(written.mqtt, folder),
        outbox=written.outbox,
        record=written.record,
        drift=written.drift,
        web=_web_with_files(written.web, folder),
        cameras={
            name: _in("cameras", name, package="agent.cameras", content=_absolute(camera, folder))
            for name, camera in written.cameras.items()
        },
        trigger=_in("trigger", package="agent.triggers", content=_absolute(written.trigger, folder)),
        ejector=_in("ejector", package="agent.ejectors", content=_absolute(written.ejector, folder)),
        runtime_name=written.runtime["type"] if isinstance(written.runtime, dict) else "",
        runtime=_in("runtime", package="agent.runtimes", content=written.runtime),
        encoder=_in("encoder", package="agent.encoders", content=written.encoder) if written.encoder else None,
        confirm=_in("confirm", package="agent.triggers", content=_absolute(written.confirm, folder)) if written.confirm else None,
        permit=_in("permit", package="agent.ejectors", content=written.permit) if written.permit else None,
        plc=_in("plc", package="agent.plc", content=written.plc) if written.plc else None,
        sensitivity=written.sensitivity,
    )


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


def _web_with_files(web: Web | None, folder: Path) -> Web | None:
    """The same for the page's."""
    if web is None or web.tls is None:
        return web
    return msgspec.structs.replace(web, tls=WebTls(str(folder / web.tls.certificate), str(folder / web.tls.key)))


def _absolute(content: object, folder: Path) -> object:
    """A driver section whose files, if it has any, do not depend on where the process was started."""
    if not isinstance(content, dict):
        return content
    files = {key: str(folder / content[key]) for key in ("path", "depth", "password_file") if isinstance(content.get(key), str)}
    return {**content, **files}
