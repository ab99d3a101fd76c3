"""Installed bundles: whatever happens on the way, the pointer names the old one or the new one, whole."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_bundle import edit_manifest

from agent.bundle import MANIFEST, Bundle, BundleError, open_bundle
from agent.only_one import AlreadyRunningError, only_one
from agent.serving.slots import MOST_FILES, Slot, active_slot, install, pointer, roll_back

STEPS = [
    "swept",
    "examined",
    "copied artifacts/model.onnx",
    f"copied {MANIFEST}",
    "staged",
    "verified",
    "tried",
    "kept",
    "active",
]
KILLED = """
import os, signal, sys
from pathlib import Path
from agent.serving.slots import install

def done(step):
    if step == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)

install(Path(sys.argv[1]), Path(sys.argv[2]), lambda bundle: None, done)
"""


def accept(bundle: Bundle) -> None:
    """A trial that finds nothing wrong."""


def ids(state: Path) -> str:
    """Of the bundle that the pointer names; opening it checks that it is whole."""
    return open_bundle(pointer(state)).manifest.bundle_id


@pytest.fixture
def newer(small_bundle: Path, tmp_path: Path) -> Path:
    """Another bundle than the small one."""
    folder = shutil.copytree(small_bundle, tmp_path / "newer")
    edit_manifest(folder, lambda manifest: manifest.update(name="newer"))
    return folder


@pytest.fixture
def old_id(small_bundle: Path, state: Path) -> str:
    """The small bundle is installed."""
    install(small_bundle, state, accept)
    return ids(state)


def test_an_installed_bundle_is_a_copy_that_the_pointer_names(small_bundle: Path, state: Path) -> None:
    slot = install(small_bundle, state, accept)

    assert ids(state) == open_bundle(small_bundle).manifest.bundle_id
    assert active_slot(pointer(state)) == slot
    assert small_bundle not in pointer(state).resolve().parents


def test_a_bundle_that_runs_already_is_not_installed_again(small_bundle: Path, state: Path, old_id: str) -> None:
    again = install(small_bundle, state, accept)

    assert again.number == 1
    assert not (state / "bundles" / "staging").exists()


def test_a_roll_back_leads_to_the_bundle_before(newer: Path, state: Path, old_id: str) -> None:
    install(newer, state, accept)

    slot = roll_back(state)

    assert (slot.number, ids(state)) == (1, old_id)


@pytest.mark.parametrize("installed", [0, 1], ids=["nothing installed", "the first one"])
def test_a_roll_back_that_leads_nowhere_is_refused(small_bundle: Path, state: Path, installed: int) -> None:
    [install(small_bundle, state, accept) for _ in range(installed)]

    with pytest.raises(BundleError, match=r"nothing was installed|none to go back to"):
        roll_back(state)


def test_bundles_from_long_ago_are_removed(newer: Path, small_bundle: Path, state: Path, old_id: str) -> None:
    install(newer, state, accept)
    install(small_bundle, state, accept)

    install(newer, state, accept)

    assert sorted(folder.name for folder in (state / "bundles" / "slots").iterdir()) == ["0002", "0003", "0004"]


def test_a_bundle_from_long_ago_can_be_installed_again(newer: Path, state: Path, old_id: str) -> None:
    install(newer, state, accept)
    edit_manifest(newer, lambda manifest: manifest.update(name="third"))
    install(newer, state, accept)

    slot = install(pointer(state).parent / "slots" / "0001" / "bundle", state, accept)

    assert slot.number == 4
    assert ids(state) == old_id


def test_what_somebody_else_put_among_the_slots_is_in_nobodys_way(newer: Path, state: Path, old_id: str) -> None:
    slots = pointer(state).parent / "slots"
    shutil.copytree(slots / "0001", slots / "0001 (copy)")
    (slots / "notes.txt").write_text("kept the old one")

    slot = install(newer, state, accept)

    assert slot.number == 2
    assert {"0001 (copy)", "notes.txt"} <= {path.name for path in slots.iterdir()}
    assert roll_back(state).number == 1


def test_a_roll_back_that_cannot_be_done_is_told_in_words(newer: Path, state: Path, old_id: str) -> None:
    slot = install(newer, state, accept)
    (slot.folder / "previous").unlink()

    with pytest.raises(BundleError, match=r"0002 stays, going back failed: .*previous"):
        roll_back(state)


def test_two_installations_at_once_are_refused(small_bundle: Path, state: Path) -> None:
    with only_one(state, "install"), pytest.raises(AlreadyRunningError):
        install(small_bundle, state, accept)


# ---------------------------------------------------------------- each step, and each way to fail there


@pytest.mark.parametrize("step", STEPS)
def test_m6_o3_an_installation_killed_at_any_step_leaves_the_old_bundle_or_the_new_one(
    newer: Path, state: Path, old_id: str, step: str
) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(newer), str(state), step], timeout=30)
    left = ids(state)
    install(newer, state, accept)

    assert killed.returncode == -signal.SIGKILL
    assert left == (open_bundle(newer).manifest.bundle_id if step == "active" else old_id)
    assert ids(state) == open_bundle(newer).manifest.bundle_id
    assert not (state / "bundles" / "staging").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS], ids=["disk full", "i/o error", "read-only"])
@pytest.mark.parametrize("step", STEPS[:-1])
def test_m6_o3_an_installation_that_fails_at_any_step_leaves_the_old_bundle(
    newer: Path, state: Path, old_id: str, step: str, number: int
) -> None:
    def done(now: str) -> None:
        raises = {step: OSError(number, os.strerror(number))}.get(now)
        if raises:
            raise raises

    with pytest.raises(BundleError, match="the old bundle stays"):
        install(newer, state, accept, done)

    assert ids(state) == old_id
    assert not (state / "bundles" / "staging").exists()


def test_m6_a_disk_that_is_full_while_a_file_is_copied_leaves_the_old_bundle(newer: Path, state: Path, old_id: str) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
    try:
        with pytest.raises(BundleError, match="no room to install"):
            install(newer, state, accept)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)

    assert ids(state) == old_id


def test_m4_a_bundle_that_fails_its_trial_leaves_the_old_one(newer: Path, state: Path, old_id: str) -> None:
    def refuse(bundle: Bundle) -> None:
        raise BundleError("scores otherwise here")

    with pytest.raises(BundleError, match="scores otherwise here"):
        install(newer, state, refuse)

    assert ids(state) == old_id


def test_m1_a_bundle_with_a_changed_byte_leaves_the_old_one(newer: Path, state: Path, old_id: str) -> None:
    model = newer / "artifacts" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"x")

    with pytest.raises(BundleError, match="changed or cut off"):
        install(newer, state, accept)

    assert ids(state) == old_id


# ---------------------------------------------------------------- hostile folders


def link_out(folder: Path) -> None:
    (folder / "artifacts" / "model.onnx").unlink()
    (folder / "artifacts" / "model.onnx").symlink_to("/etc/passwd")


def link_folder_out(folder: Path) -> None:
    (folder / "more").symlink_to("/etc")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "artifacts" / "pipe")


def many_files(folder: Path) -> None:
    [(folder / f"{k}").touch() for k in range(MOST_FILES + 1)]


def huge(folder: Path) -> None:
    with (folder / "artifacts" / "sparse").open("wb") as out:
        out.truncate(1 << 40)


def huge_manifest(folder: Path) -> None:
    with (folder / MANIFEST).open("r+b") as out:
        out.truncate(1 << 30)


def deep(folder: Path) -> None:
    (folder / "/".join("d" * 12)).mkdir(parents=True)


def unnamed(folder: Path) -> None:
    (folder / "artifacts" / "extra.bin").write_bytes(b"?")


def leads_out(folder: Path) -> None:
    edit_manifest(folder, lambda manifest: manifest["files"].update({"../../../../escaped": "0" * 64}))


def without_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


HOSTILE = [link_out, link_folder_out, pipe, many_files, huge, huge_manifest, deep, unnamed, leads_out, without_manifest]


@pytest.mark.parametrize("damage", HOSTILE, ids=lambda damage: damage.__name__)
def test_m3_a_hostile_folder_is_refused_and_nothing_of_it_lies_outside_staging(
    newer: Path, state: Path, old_id: str, damage: Callable[[Path], None]
) -> None:
    damage(newer)

    with pytest.raises(BundleError):
        install(newer, state, accept)

    assert ids(state) == old_id
    assert [slot.name for slot in (state / "bundles" / "slots").iterdir()] == ["0001"]
    assert sum(file.stat().st_size for file in state.rglob("*") if file.is_file()) < 10_000_000


def test_a_slot_whose_pointer_has_moved_on_is_not_rolled_back(newer: Path, state: Path, old_id: str) -> None:
    install(newer, state, accept)

    stays = roll_back(state, bad=Slot(state / "bundles" / "slots" / "0001"))

    assert stays.number == 2
