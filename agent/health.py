"""Tells the process manager how the work goes: systemd's notify protocol, fed by progress and by nothing else."""

import os
import socket


def notify(message: str) -> bool:
    """Sends e.g. READY=1, WATCHDOG=1 or STOPPING=1 to systemd; False when it did not start this process (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        try:
            out.sendto(message.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError:
            return False
    return True
