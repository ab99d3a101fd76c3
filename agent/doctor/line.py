"""What can be wrong with one line on this device: its file, bundle, cameras, inputs and outputs, broker, rights."""

import os
import socket
import ssl
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.broker.error import BrokerLostError
from agent.broker.login import certificate_trouble, password_of, tls_context
from agent.bundle import BundleError
from agent.cameras import CameraConfig, CameraLostError, trouble_of
from agent.clock import utc
from agent.config import Line
from agent.doctor.certificate import check_certificates, check_validity, validity_of
from agent.doctor.finding import Finding, fail, ok, warn
from agent.ejectors import EjectorError
from agent.gate.devices import open_devices
from agent.gate.operator_side import GateSilentError, ask_gate
from agent.model import Here
from agent.only_one import AlreadyRunningError, only_one
from agent.runtimes import CPU, InferenceError, place_wanted
from agent.sections import Mqtt
from agent.serving.model_watch import open_from
from agent.triggers import TriggerError

_WITHIN_S = 5.0
_SETTLE_S = 1.0
_CAMERA = "check power, cable and the section `cameras` of the line's file"
_SYSTEMS_OWN = "LoadCredential="


def check_line(line: Line) -> Iterator[Finding]:
    """In the order in which a start would fail. Devices that a running line holds are not touched: it is asked instead."""
    yield from _rights(line)
    for one in line.each:
        yield _model(one, one.bundle)
        yield from (_model(one, bundle, f"camera {camera}: ") for camera, bundle in one.bundles.items())
    yield from _cameras(line)
    yield _gate(line)
    yield from check_certificates(line.mqtt, line.web, utc()).values()
    yield check_broker(line.mqtt)


def _rights(line: Line) -> Iterator[Finding]:
    existing = next(one for one in (line.state, *line.state.parents) if one.exists())
    owner = f"sudo chown -R $(id -un) {line.state}"
    foreign = [one for one in (line.state, *_below(line.state)) if one.exists() and not os.access(one, os.R_OK | os.W_OK)]
    if foreign or not os.access(existing, os.W_OK | os.X_OK):
        yield fail(
            "rights",
            f"{(foreign or [existing])[0]} cannot be written by user {os.getuid()}",
            f"run as the line's user, or {owner}",
        )
    else:
        yield ok("rights", f"{line.state} can be written")
    login, tls = line.mqtt.login, line.mqtt.tls
    secrets = {
        login.password_file if login else None,
        tls.key if tls else None,
        line.web.tls.key if line.web and line.web.tls else None,
    }
    for name in sorted(file for file in secrets if file):
        if Path(name).exists() and Path(name).stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) & ~stat.S_IRGRP:
            yield warn("rights", f"{name} can be read by others", f"chmod 600 {name}")


def _below(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())[:100] if folder.is_dir() and os.access(folder, os.R_OK | os.X_OK) else []


def _model(line: Line, bundle: Path, whose: str = "") -> Finding:
    """Opens the bundle and runs its golden images: the proof that it computes here what it computed at export."""
    try:
        opened = open_from(bundle, line.runtime_name, line.runtime, Here(line.state, line.sensitivity))
    except (BundleError, InferenceError) as e:
        return fail("model", f"{whose}{e}", "kensa install another bundle, or export this one again")
    try:
        where, name = opened.model.runtime.executed_on, opened.bundle.manifest.name
        recipe = f"recipe {line.recipe} ({line.product}): " if line.recipe else ""
        found = f"{recipe}{whose}{name} {opened.judge.bundle_id[:12]}: golden images score as at export, on {where}"
        wanted = place_wanted(line.runtime)
        if CPU in where.lower() and CPU not in wanted and wanted != "auto":
            return fail("model", f"{found}, where the line asks for {wanted}", "see the lines about runtimes and accelerator")
        return ok("model", found)
    finally:
        opened.close()


def _cameras(line: Line) -> Iterator[Finding]:
    try:
        with only_one(line.state, "inspect"):
            for name, camera, whose in _each_camera(line):
                try:
                    trouble = trouble_of(camera, _WITHIN_S)
                except CameraLostError as e:
                    trouble = str(e)
                yield fail(f"camera {name}", f"{whose}{trouble}", _CAMERA) if trouble else ok(f"camera {name}", f"{whose}opened")
    except AlreadyRunningError:
        yield ok("cameras", "in use by the running line: see its state")
    except OSError as e:
        yield fail("cameras", f"not looked at: {e}", "see the lines about rights")


def _each_camera(line: Line) -> list[tuple[str, CameraConfig, str]]:
    """Each camera once with each of its settings, and which recipes have these; not said where all do."""
    found: list[tuple[str, CameraConfig, list[Line]]] = []
    for one in line.each:
        for name, camera in one.cameras.items():
            same = next((those for known, config, those in found if (known, config) == (name, camera)), None)
            if same is None:
                found.append((name, camera, [one]))
            else:
                same.append(one)
    return [(name, camera, _recipes(those) if len(those) < len(line.each) else "") for name, camera, those in found]


def _recipes(some: list[Line]) -> str:
    return f"recipe {', '.join(f'{one.recipe} ({one.product})' for one in some)}: "


def _gate(line: Line) -> Finding:
    """Inputs and outputs: asked of the running gate, else opened for a second. Opening switches the output off."""
    try:
        with only_one(line.state, "eject"), ExitStack() as devices:
            opened = open_devices(line, devices)
            threading.Event().wait(_SETTLE_S)
            problems = opened.problems(time.monotonic_ns())
            how = "opened"
    except AlreadyRunningError:
        try:
            state = ask_gate(line.state, "status")
        except GateSilentError as e:
            return fail("inputs and outputs", str(e), "the ejector process hangs or belongs to another user: see its log")
        problems, how = {**state.problems, **state.held}, "asked of the running gate"
    except (EjectorError, TriggerError) as e:
        return fail("inputs and outputs", str(e), "check wiring, rights on the device, and the line's file")
    except OSError as e:
        return fail("inputs and outputs", f"not looked at: {e}", "see the lines about rights")
    if problems:
        told = "; ".join(f"{name}: {why}" for name, why in problems.items())
        return fail("inputs and outputs", told, "check wiring and power of the device; after a halt `kensa gate FILE reset`")
    return ok("inputs and outputs", how)


def check_broker(config: Mqtt, within_s: float = _WITHIN_S) -> Finding:
    """Name, TCP, TLS, login, one after the other, so that the first that fails is named. Under a name of its own: the running
    line keeps its connection."""
    where, its_certificate = f"{config.host}:{config.port}", None
    try:
        with socket.create_connection((config.host, config.port), timeout=within_s) as plain:
            if config.tls is not None:
                with tls_context(config.tls).wrap_socket(plain, server_hostname=config.host) as encrypted:
                    seen = encrypted.getpeercert()
                    its_certificate = validity_of(seen) if seen else None
        if config.login is not None and config.login.credential is not None and not config.login.file.exists():
            how = "reached with TLS" if config.tls is not None else "reached, in plain text"
            return ok("broker", f"{where}: {how}; whether it takes the password only the station knows, which has it of systemd")
        reason = _login(config, within_s)
    except socket.gaierror as e:
        return fail("broker", f"{where}: the name does not resolve: {e.strerror}", "check `mqtt.host` and this device's DNS")
    except ssl.SSLCertVerificationError as e:
        return fail("broker", f"{where}: {certificate_trouble(e)}", "check `mqtt.tls.ca`, the broker's certificate and the clock")
    except ssl.SSLError as e:
        return fail(
            "broker", f"{where}: no TLS there: {e.reason or e}", "check `mqtt.port`: 8883 is usual with TLS, 1883 without"
        )
    except BrokerLostError as e:
        return fail("broker", f"{where}: {e}", f"check the files named in `mqtt`, or {_SYSTEMS_OWN} of the unit")
    except OSError as e:
        return fail(
            "broker", f"{where}: not reached: {e.strerror or e}", "is it running, and does a firewall let this device through?"
        )
    if reason is None:
        return fail("broker", f"{where}: accepts a connection and says nothing", "check `mqtt.port`: is this an MQTT broker?")
    if reason:
        return fail("broker", f"{where}: refused: {reason}", "check user and password in `mqtt.login`, and the broker's list")
    if config.tls is None and config.host not in {"127.0.0.1", "::1", "localhost"}:
        return warn("broker", f"{where}: connected, in plain text", "set `mqtt.tls`: passwords and results can be overheard")
    connected = f"{where}: connected{' with TLS' if config.tls else ''}{' and login' if config.login else ''}"
    if its_certificate is None:
        return ok("broker", connected)
    shown = check_validity("its certificate", its_certificate, utc(), "renew it at the broker, before all stations lose it")
    return Finding("broker", shown.health, f"{connected}; {shown.found}", shown.remedy)


def _login(config: Mqtt, within_s: float) -> str | None:
    """Empty when the broker took it, its reason when not, None when it said nothing."""
    said: list[str] = []
    answered = threading.Event()

    def heard(client: object, data: object, flags: object, reason: object, properties: object = None) -> None:
        said.append("" if not getattr(reason, "is_failure", False) else str(reason))
        answered.set()

    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"kensa-doctor-{os.getpid()}", protocol=paho.MQTTv311)
    client.on_connect = heard
    if config.tls is not None:
        client.tls_set_context(tls_context(config.tls))
    if config.login is not None:
        client.username_pw_set(config.login.user, password_of(config.login))
    client.connect(config.host, config.port, keepalive=10)
    client.loop_start()
    try:
        answered.wait(within_s)
    finally:
        client.disconnect()
        client.loop_stop()
    return said[0] if said else None
