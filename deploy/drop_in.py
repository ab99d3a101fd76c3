"""PURE  What a line's processes need beyond their closed units: devices, addresses, credentials, as systemd drop-ins."""

import ipaddress
import math
from collections.abc import Iterable
from typing import Any

from agent.config import Line

_HEAD = "# Written by `kensa provision` from the line's file; it is written anew each time.\n[Service]\n"
_WHEREVER = (
    "# It speaks to a name, or waits to be called: addresses cannot be listed here, let a firewall do it.\nIPAddressDeny=\n"
)
_PLANT = (
    "169.254.0.0/16",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "255.255.255.255",
    "224.0.0.0/4",
    "fe80::/10",
    "fc00::/7",
)
_FIRST_OPEN_PORT = 1024  # those below are root's and who has the capability
_ON_CPU = {"", "cpu"}
_STOP_S = 90  # TimeoutStopSec of the gate's unit
_BEYOND_TRAVEL_S = 15  # a gate that leaves waits so long at most after the last part's way: for a belt that stands, and its end
_CAMERA_DEVICES = ("char-video4linux rw", "char-usb_device rw")
_ACCELERATOR_DEVICES = ("char-drm rw", "char-accel rw", "char-nvidia rw", "char-nvidia-uvm rw", "char-nvhost rw", "char-nvmap rw")


def eject_drop_in(line: Line) -> str:
    """Of the gate: GPIO chips and the controllers it speaks to."""
    devices = [one for one in (line.trigger, line.ejector, line.confirm, line.permit, line.encoder, line.plc) if one is not None]
    chips = sorted({str(one.chip) for one in devices if hasattr(one, "chip")})
    text = "".join(f"DeviceAllow={chip} rw\n" for chip in chips)
    on_network = [one for one in devices if hasattr(one, "host") or hasattr(one, "port")]
    is_called = line.plc is not None and type(line.plc).__module__.endswith(".modbus_server")
    if on_network:
        text += "PrivateNetwork=no\nRestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n"
        text += _WHEREVER if is_called else _addresses(str(getattr(one, "host", "")) for one in on_network)
    if is_called:
        text += _listening_on(getattr(line.plc, "port", 0)) + ("" if chips else "PrivateDevices=yes\n")
    if (stop_s := _seen_through_s(line)) > _STOP_S:
        text += f"TimeoutStopSec={stop_s}\n"
    return _HEAD + text


def web_drop_in(line: Line) -> str:
    """Of the page: its port."""
    return _HEAD + _listening_on(line.web.port if line.web else _FIRST_OPEN_PORT)


def inspect_drop_in(line: Line, credentials: str) -> str:
    """Of the inspection: cameras, accelerator, broker. credentials: the folder in which root keeps them."""
    cameras = [camera for camera in line.cameras.values() if not type(camera).__module__.endswith(".folder")]
    text = "".join(f"DeviceAllow={device}\n" for device in _CAMERA_DEVICES if cameras)
    if _accelerator(line.runtime) not in _ON_CPU:
        text += "".join(f"DeviceAllow={device}\n" for device in _ACCELERATOR_DEVICES)
    if text:
        text += "SupplementaryGroups=video render\n"
    on_network = [camera for camera in cameras if not type(camera).__module__.endswith(".v4l2")]
    if on_network:  # found by broadcast, on interfaces that are asked for
        text += "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\n"
    text += _addresses([line.mqtt.host, *(_PLANT if on_network else ())])
    if line.mqtt.login is not None and (name := line.mqtt.login.credential) is not None:
        text += f"LoadCredential={name}:{credentials}/{name}\n"
    if (stop_s := _seen_through_s(line)) > _STOP_S:
        text += f"ExecStop=\nExecStop=-/usr/bin/timeout {stop_s} /usr/bin/flock /var/lib/kensa/%i/eject.lock /bin/true\n"
        text += f"TimeoutStopSec={stop_s + 30}\n"
    return _HEAD + text


def _seen_through_s(line: Line) -> int:
    """How long a gate that is told to stop may need for the parts in flight."""
    return math.ceil(line.longest_travel_ms / 1e3) + _BEYOND_TRAVEL_S


def _listening_on(port: int) -> str:
    if port >= _FIRST_OPEN_PORT:
        return ""
    return "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n"


def _accelerator(runtime: Any) -> str:
    return str(getattr(runtime, "device", "") or getattr(runtime, "provider", "")).lower()


def _addresses(hosts: Iterable[str]) -> str:
    """
    >>> _addresses(["10.0.0.7", "localhost"])
    'IPAddressAllow=localhost 10.0.0.7\\n'
    """
    named = [host for host in hosts if host != "localhost"]
    try:
        found = sorted({str(ipaddress.ip_network(host)).removesuffix("/32").removesuffix("/128") for host in named})
    except ValueError:
        return _WHEREVER
    return f"IPAddressAllow={' '.join(['localhost', *found])}\n"
