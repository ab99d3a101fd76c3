"""Who works in a station's folder: a command that root starts, as with sudo, goes on as the user whose station it is."""

import logging
import os
import pwd
from pathlib import Path

log = logging.getLogger(__name__)


def become_owner(folder: Path) -> None:
    """Nothing that root makes may lie there where the station cannot write it: a lock of root's keeps its gate from starting.

    For good: this process is never root again. Nothing happens where it is not root's, or the folder is, or is not there.
    """
    if os.geteuid() != 0 or not folder.is_dir() or (owner := folder.stat()).st_uid == 0:
        return
    try:
        name = pwd.getpwuid(owner.st_uid).pw_name
        os.initgroups(name, owner.st_gid)  # the user's own groups: those of cameras and accelerators
    except KeyError:  # a number without a name, as in a container
        name = f"user {owner.st_uid}"
        os.setgroups([])
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)
    log.warning("started by root, goes on as %s, whose %s is", name, folder)
