"""Tells the process manager how the work goes: systemd's notify protocol, fed by progress and by nothing else."""

import os
import socket

ALIVE = "READY=1\nWATCHDOG=1"  # each time both: a READY that was not taken comes again


def notify(message: str) -> bool:
    """Sends e.g. READY=1, WATCHDOG=1 or STOPPING=1 to systemd (sd_notify(3)), and waits for nobody: the gate says it, too.

    False where systemd did not start this process, or does not take it: its mailbox is full while it waits for a disk.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            out.sendto(message.encode(), "\0" + address[1:] if address.startswith("@") else address)
    except OSError:
        return False
    return True
