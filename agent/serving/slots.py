"""Installed bundles: copied, hashed, tried on this device, then named by one pointer that a rename moves.

    state/bundles/active -> slots/0002/bundle     what runs; `bundle: STATE/bundles/active` in the line's file
    state/bundles/slots/0002/previous             "0001": where a roll-back leads
    state/bundles/staging/                        what an installation is working on; one that was killed is swept by the next

Whatever kills an installation, `active` names the old bundle or the new one, whole, and never none.
"""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.bundle import MANIFEST, RESERVED, Bundle, BundleError, open_bundle
from agent.only_one import only_one
from agent.whole_file import sync, write_whole

BUNDLES, ACTIVE, STAGING = "bundles", "active", "staging"
MOST_FILES, MOST_BYTES, MOST_MANIFEST_BYTES = 1000, 8 << 30, 16 << 20
_LEAVE_FREE_BYTES = 64 << 20
_BLOCK = 1 << 20

Done = Callable[[str], None]
Trial = Callable[[Bundle], None]


@dataclass(frozen=True, slots=True)
class Slot:
    """An installed bundle. number: counts installations on this device; previous: what ran before, None for the first."""

    folder: Path

    @property
    def number(self) -> int:
        return int(self.folder.name)

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    @property
    def state(self) -> Path:
        return self.folder.parents[2]

    @property
    def previous(self) -> "Slot | None":
        name = (self.folder / "previous").read_text().strip()
        return Slot(self.folder.with_name(name)) if name and (self.folder.parent / name).is_dir() else None


def pointer(state: Path) -> Path:
    """What a line's file names as its bundle."""
    return state / BUNDLES / ACTIVE


def active_slot(named: Path) -> Slot | None:
    """The slot that a line's `bundle` leads to now; None where it is a folder of its own, or nothing is installed."""
    if not named.is_symlink() or named.name != ACTIVE:
        return None
    folder = (named.parent / named.readlink()).parent
    return Slot(folder) if folder.name.isdigit() and folder.is_dir() else None


def install(source: Path, state: Path, trial: Trial, done: Done = lambda step: None) -> Slot:
    """Makes the bundle in `source` the active one, or raises and leaves everything as it was.

    trial: runs the copy on this device and raises BundleError where it must not be used. done: told after each step.
    Raises BundleError, AlreadyRunningError; a full disk is a BundleError too.
    """
    with only_one(state, "install"):
        try:
            return _install(source, state / BUNDLES, trial, done)
        except OSError as e:
            if e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise BundleError(f"{state}: no room to install {source} ({e.strerror}): the old bundle stays") from e
            raise BundleError(f"{source} could not be installed in {state}: {e}: the old bundle stays") from e
        finally:  # a bundle that is refused must not fill the disk until the next one comes
            shutil.rmtree(state / BUNDLES / STAGING, ignore_errors=True)


def roll_back(state: Path, bad: Slot | None = None, to: Slot | None = None) -> Slot:
    """Makes the bundle active again that ran before. bad: only if this slot is still the active one. to: another than the one
    before it.

    Raises BundleError where there is none, or the pointer cannot be moved.
    """
    with only_one(state, "install"):
        now = active_slot(pointer(state))
        if now is None:
            raise BundleError(f"{pointer(state)}: nothing was installed here with `kensa install`")
        if bad is not None and now != bad:
            return now
        try:
            before = to or now.previous
            if before is None:
                raise BundleError(f"{now.folder}: the first bundle of this device, there is none to go back to")
            open_bundle(before.bundle)
            _point(state / BUNDLES, before)
        except OSError as e:
            raise BundleError(f"{now.folder} stays, going back failed: {e}") from e
        return before


def _install(source: Path, bundles: Path, trial: Trial, done: Done) -> Slot:
    slots, staging = bundles / "slots", bundles / STAGING
    slots.mkdir(parents=True, exist_ok=True)
    old = active_slot(bundles / ACTIVE)
    _sweep(bundles, old, source)
    done("swept")
    files = _examined(source)
    _need_room(bundles, sum(size for _, size in files))
    done("examined")
    for name, size in files:
        _copy(source / name, staging / "bundle" / name, size)
        done(f"copied {name}")
    write_whole(staging / "previous", (old.folder.name if old else "").encode())
    for folder, _, _ in os.walk(staging):
        sync(Path(folder))
    done("staged")
    bundle = open_bundle(staging / "bundle")  # of the copy: what was hashed is what runs
    if unnamed := {name for name, _ in files} - bundle.manifest.files.keys() - RESERVED:
        raise BundleError(f"{source}: {', '.join(sorted(unnamed)[:5])} is not in the manifest: refused, export again")
    done("verified")
    if old is not None and _is_same(old, bundle):
        done("already active")
        return old
    trial(bundle)
    done("tried")
    slot = Slot(slots / f"{max((known.number for known in _known(slots)), default=0) + 1:04d}")
    staging.rename(slot.folder)
    sync(slots)
    sync(bundles)
    done("kept")
    _point(bundles, slot)
    done("active")
    return slot


def _examined(source: Path) -> list[tuple[str, int]]:
    """Names and sizes of the files below, the manifest last. Raises BundleError on anything a bundle does not have."""
    found: list[tuple[str, int]] = []
    for path, status in _below(source):
        name = path.relative_to(source).as_posix()
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{path}: neither a file nor a folder: a bundle has no symbolic links, devices or pipes")
        found.append((name, status.st_size))
        if len(found) > MOST_FILES:
            raise BundleError(f"{source}: more than {MOST_FILES} files, no bundle has that many")
        if sum(size for _, size in found) > MOST_BYTES:
            raise BundleError(f"{source}: more than {MOST_BYTES >> 30} GB, no bundle is that large")
    sizes = dict(found)
    if sizes.get(MANIFEST, 0) > MOST_MANIFEST_BYTES:
        raise BundleError(f"{source / MANIFEST}: {sizes[MANIFEST]} bytes, a manifest has at most {MOST_MANIFEST_BYTES}")
    if MANIFEST not in sizes:
        raise BundleError(f"{source}: no {MANIFEST}: not a bundle, or an export that was cut off")
    return sorted(found, key=lambda file: (file[0] == MANIFEST, file[0]))


def _below(folder: Path, depth: int = 0) -> Iterator[tuple[Path, os.stat_result]]:
    """Everything that is no folder, without ever following a link; folders nested deeper than any bundle's are refused."""
    if depth > 8:
        raise BundleError(f"{folder}: nested deeper than any bundle")
    with os.scandir(folder) as entries:
        for k, entry in enumerate(entries):
            if k > MOST_FILES:
                raise BundleError(f"{folder}: more than {MOST_FILES} entries, no bundle has that many")
            if entry.is_dir(follow_symlinks=False):
                yield from _below(Path(entry.path), depth + 1)
            else:
                yield Path(entry.path), entry.stat(follow_symlinks=False)


def _is_same(old: Slot, bundle: Bundle) -> bool:
    try:
        return open_bundle(old.bundle).manifest.bundle_id == bundle.manifest.bundle_id
    except BundleError:
        return False


def _need_room(bundles: Path, n_bytes: int) -> None:
    free = shutil.disk_usage(bundles).free
    if free < n_bytes + _LEAVE_FREE_BYTES:
        raise BundleError(
            f"{bundles}: {free >> 20} MB free, the bundle needs {n_bytes >> 20} MB and {_LEAVE_FREE_BYTES >> 20} MB must stay "
            "free: delete something, the old bundle stays"
        )


def _copy(source: Path, target: Path, size: int) -> None:
    """No more than the size that was examined, no link followed, on the disk when it returns."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as reader, target.open("xb") as writer:
        copied = 0
        while copied <= size and (block := reader.read(_BLOCK)):
            copied += writer.write(block)
        if copied != size:
            raise BundleError(f"{source}: changed while it was copied: try again")
        writer.flush()
        os.fsync(writer.fileno())


def _point(bundles: Path, slot: Slot) -> None:
    """The one moment in which the old bundle becomes the new one."""
    fresh = bundles / f"{ACTIVE}.new"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(slot.bundle.relative_to(bundles))
    fresh.rename(bundles / ACTIVE)
    sync(bundles)


def _sweep(bundles: Path, active: Slot | None, source: Path) -> None:
    """Removes what an installation that was cut off has left, and bundles from long ago but for the source."""
    (bundles / f"{ACTIVE}.new").unlink(missing_ok=True)
    shutil.rmtree(bundles / STAGING, ignore_errors=True)
    slots = _known(bundles / "slots")
    keep = {active, active.previous if active else None, *slots[-1:]}  # the last one too: a number is never given twice
    for slot in slots:
        if slot not in keep and not source.resolve().is_relative_to(slot.folder.resolve()):
            shutil.rmtree(slot.folder, ignore_errors=True)


def _known(slots: Path) -> list[Slot]:
    """The first one first. What somebody else has put there, such as a copy of a slot, is none and stays."""
    return sorted((Slot(folder) for folder in slots.iterdir() if folder.name.isdecimal()), key=lambda slot: slot.number)
