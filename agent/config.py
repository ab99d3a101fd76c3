"""One YAML file to one typed, frozen Line; every mistake is named with its line before anything starts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from agent.drivers import SectionError, convert, section
from agent.gate.plan import GatePlan
from agent.recipe import Recipe, RecipeNumber, cameras_of, gate_of
from agent.sections import KeepAll, KeepImages, Mqtt, Name, WatchDrift, Web
from agent.wiring import used_twice
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
    bundles: of cameras that are judged by another than the line's own.
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
    bundles: Mapping[str, Path] = field(default_factory=dict)
    recipes: Mapping[int, Line] = field(default_factory=dict)

    @property
    def each(self) -> list[Line]:
        """All that may run: one for each recipe, else this one."""
        return list(self.recipes.values()) or [self]

    def by(self, recipe: int) -> Line:
        """As this recipe has it; as it is where it has none."""
        return self.recipes.get(recipe, self)

    def bundle_of(self, camera: str) -> Path:
        """By which its photographs are judged."""
        return self.bundles.get(camera, self.bundle)

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
    line = Line(
        file=file.resolve(),
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        station=written.station,
        bundle=folder / written.bundle,
        state=folder / written.state,
        gate=written.gate,
        mqtt=written.mqtt.below(folder),
        outbox=written.outbox,
        record=written.record,
        drift=written.drift,
        web=written.web.below(folder) if written.web else None,
        cameras={
            name: _in("cameras", name, package="agent.cameras", content=_absolute(_without_bundle(camera), folder))
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
        bundles=_bundles(written.cameras, folder),
    )
    around = {"ejector": line.ejector, "permit": line.permit, "trigger": line.trigger, "confirm": line.confirm, "plc": line.plc}
    if (twice := used_twice({name: section for name, section in around.items() if section is not None})) is not None:
        one, other, place = twice
        raise SectionError(f"{place} is that of the section {one}, too: each needs one of its own", other)
    if line.encoder is not None:
        _can_be_followed(line.encoder, line.gate)
    for name, camera in line.cameras.items():
        _can_be_judged_in_time(name, camera, line.gate)
    return line


def _bundles(cameras: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Of the cameras that name one of their own. Raises SectionError."""
    named = {name: camera["bundle"] for name, camera in cameras.items() if isinstance(camera, dict) and "bundle" in camera}
    for name, bundle in named.items():
        if not isinstance(bundle, str):
            raise SectionError(f"expected the folder of a bundle, found {bundle!r}", "cameras", name, "bundle")
    if len(named) == len(cameras):
        raise SectionError("every camera has a bundle of its own: expected one that the line's `bundle` is for", "cameras")
    return {name: folder / bundle for name, bundle in named.items()}


def _without_bundle(camera: object) -> object:
    """A camera's section as its driver knows it."""
    return {key: value for key, value in camera.items() if key != "bundle"} if isinstance(camera, dict) else camera


def _can_be_judged_in_time(name: str, camera: CameraConfig, gate: GatePlan) -> None:
    """Raises SectionError where no photograph is there before the output must switch."""
    delay_ms, left_ms = getattr(camera, "delay_ms", 0.0), gate.travel_ms - gate.lead_ms
    if delay_ms >= left_ms:
        found = f"a photograph is there {delay_ms:g} ms after its trigger at the earliest (delay_ms)"
        wanted = f"the output switches {left_ms:g} ms after it (gate.travel_ms {gate.travel_ms:g} less lead_ms {gate.lead_ms:g})"
        raise SectionError(f"no part could be judged in time: {found}, and {wanted}", "cameras", name)


def _can_be_followed(encoder: EncoderConfig, gate: GatePlan) -> None:
    """Raises SectionError where a silence that is no problem yet may hide half a turn of the counter."""
    counts, half = gate.fastest_counts * encoder.lost_ms * 1e6, 1 << (encoder.bits - 1)
    if counts >= half:
        found = f"in lost_ms {encoder.lost_ms:g} a belt of four times the nominal speed comes {counts:.0f} counts"
        wanted = f"expected less than half a turn of {encoder.bits} bits, {half}: take a counter of 32 bits or a smaller lost_ms"
        raise SectionError(f"{found}; {wanted}", "encoder")


def _in(*keys: str, package: str, content: object) -> Any:
    """A driver section, its errors told from the root of the file."""
    try:
        return section(package, content)
    except SectionError as e:
        raise SectionError(str(e), *keys, *e.path) from e


def _absolute(content: object, folder: Path) -> object:
    """A driver section whose files, if it has any, do not depend on where the process was started."""
    if not isinstance(content, dict):
        return content
    files = {key: str(folder / content[key]) for key in ("path", "depth", "password_file") if isinstance(content.get(key), str)}
    return {**content, **files}
