"""A device as provisioning sees it: says what differs from what it should be, and changes that and nothing else."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from agent.error import OutageError
from agent.whole_file import sync, write_whole

_LINES = 5  # of what a program said that failed


class ProvisionError(OutageError):
    """The device could not be brought to where it should be; the message says what to do."""


class Device:
    """root: its file system, `/` or a folder that stands for one. In a folder no service is started and nothing is owned by
    others than who runs this. changes: what was done, or would be with `dry_run`; empty when all was as it should be."""

    def __init__(self, root: Path, dry_run: bool = False) -> None:
        self.root = root
        self.dry_run = dry_run
        self.changes: list[str] = []

    @property
    def is_this_machine(self) -> bool:
        return self.root.resolve() == Path("/")

    def at(self, path: str | Path) -> Path:
        """Where an absolute path of the device is from here."""
        return self.root / str(path).lstrip("/")

    def directory(self, path: str, mode: int, owner: str = "root") -> None:
        here = self.at(path)
        if not here.is_dir():
            self._change(f"make {path}", lambda: here.mkdir(parents=True))
        self._mode(path, mode, owner)

    def file(self, path: str, text: str, mode: int = 0o644, owner: str = "root") -> bool:
        """Whether it had to be written: it was not there, or said something else."""
        here = self.at(path)
        differs = not here.is_file() or here.read_text() != text
        if differs:
            self._change(f"{'change' if here.exists() else 'write'} {path}", lambda: _write(here, text))
        self._mode(path, mode, owner)
        return differs

    def link(self, path: str, target: str) -> None:
        """A symbolic link, which names the old target or the new one whatever happens; what it names is on the disk before it."""
        here = self.at(path)
        if not here.is_symlink() or str(here.readlink()) != target:
            self._change(f"let {path} be {target}", lambda: _point(here, target))

    def remove(self, path: str) -> None:
        here = self.at(path)
        if here.is_symlink() or here.is_file():
            self._change(f"remove {path}", here.unlink)
        elif here.is_dir():
            self._change(f"remove {path} and what is in it", lambda: shutil.rmtree(here))

    def run(self, why: str, *command: str) -> None:
        """A program that changes something; call it only where something is to be changed. Raises ProvisionError."""

        def start() -> None:
            try:
                ended = subprocess.run(command, capture_output=True, text=True, check=False)
            except OSError as e:
                raise ProvisionError(f"{why}: {command[0]} cannot be started: {e.strerror}") from e
            if ended.returncode:
                told = (ended.stderr or ended.stdout).strip().splitlines()[-_LINES:]
                raise ProvisionError(f"{why}: {' '.join(command)} failed ({ended.returncode}): {' | '.join(told)}")

        self._change(why, start)

    def own(self, path: str, owner: str) -> None:
        """Everything below belongs to the owner."""
        here = self.at(path)
        if not self.is_this_machine or not here.exists():
            return
        foreign = [one for one in (here, *here.rglob("*")) if one.lstat().st_uid != _uid(owner)]
        if foreign:
            self._change(f"give {path} to {owner}", lambda: _give(foreign, _uid(owner)))

    def _mode(self, path: str, mode: int, owner: str) -> None:
        here = self.at(path)
        if here.exists() and here.stat().st_mode & 0o7777 != mode:
            self._change(f"set the mode of {path} to {mode:o}", lambda: here.chmod(mode))
        if self.is_this_machine and here.exists() and here.owner() != owner:
            self._change(f"give {path} to {owner}", lambda: shutil.chown(here, owner, owner))

    def _change(self, what: str, do: Callable[[], object]) -> None:
        self.changes.append(what)
        print(f"{'would ' if self.dry_run else ''}{what}", flush=True)
        if not self.dry_run:
            do()


def _uid(owner: str) -> int:
    return pwd.getpwnam(owner).pw_uid


def _give(files: list[Path], uid: int) -> None:
    for file in files:
        os.lchown(file, uid, uid)  # the user's own group has the same number: systemd-sysusers makes both


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, text.encode())
    sync(file.parent)


def _point(link: Path, target: str) -> None:
    os.sync()
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)
    sync(link.parent)
