"""From a bare machine to a station, in a folder that stands for the machine; done twice, it changes nothing."""

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from small_wheel import VERSION, write_wheel

from agent.bundle import open_bundle
from agent.drivers import ConfigError
from deploy.provision import provision_command
from kensa import main

LINES = Path(__file__).parents[2] / "deploy" / "lines"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """What a fresh Debian has of what is touched."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (root / "etc" / "group").write_text("root:x:0:\n")
    return root


@pytest.fixture
def words(bare: Path, line_file: Path, cap: Path, wheels: Path) -> list[str]:
    return ["press-3", "--root", str(bare), "--line", str(line_file), "--bundle", str(cap), "--wheels", str(wheels)]


@pytest.fixture
def station(words: list[str], bare: Path) -> Path:
    """A provisioned device."""
    assert provision_command(words) == 0
    return bare


def content(root: Path) -> dict[str, str]:
    """Everything below, with mode and hash or target."""
    return {
        str(path.relative_to(root)): f"{path.lstat().st_mode:o} {path.readlink() if path.is_symlink() else _sha256(path)}"
        for path in root.rglob("*")
        if "__pycache__" not in path.parts
    }


def status_of(station: Path) -> int:
    """Of the program that the units start."""
    return subprocess.run([station / "opt/kensa/bin/kensa"]).returncode


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def test_a_bare_machine_becomes_a_station(station: Path) -> None:
    state = station / "var/lib/kensa/press-3"

    assert "kensa:" in (station / "etc/passwd").read_text()
    assert (station / "opt/kensa/bin/kensa").stat().st_mode & 0o111
    assert (station / "etc/systemd/system/multi-user.target.wants/kensa@press-3.target").is_symlink()
    assert open_bundle(state / "bundles" / "active").manifest.name == "small"
    assert (state.stat().st_mode & 0o777, (station / "etc/kensa/credentials").stat().st_mode & 0o777) == (0o700, 0o700)


def test_a_second_time_changes_nothing(station: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    before = content(station)
    capsys.readouterr()

    status = main(["provision", *words])

    assert (status, capsys.readouterr().out) == (0, "nothing to change\n")
    assert content(station) == before


def test_a_dry_run_says_what_it_would_do_and_does_nothing(
    bare: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(bare)

    provision_command([*words, "--dry-run"])

    said = capsys.readouterr().out
    assert "would make user kensa" in said
    assert "would write /etc/kensa/press-3.yaml" in said
    assert content(bare) == before


def test_a_configuration_that_is_there_is_never_changed(station: Path, words: list[str], line_file: Path) -> None:
    own = station / "etc/kensa/press-3.yaml"
    own.write_text(own.read_text().replace("period_ms: 500", "period_ms: 250"))
    before = own.read_text()

    provision_command(words)

    assert own.read_text() == before


def test_systemd_accepts_the_units_with_what_the_line_adds(station: Path) -> None:
    drop_in = station / "etc/systemd/system/kensa-inspect@press-3.service.d/station.conf"

    listed = subprocess.run(
        ["systemctl", f"--root={station}", "is-enabled", "kensa@press-3.target"], capture_output=True, text=True
    )

    assert listed.stdout.strip() == "enabled"
    assert "LoadCredential=mqtt-password:/etc/kensa/credentials/press-3/mqtt-password" in drop_in.read_text()
    assert "IPAddressAllow=localhost 10.0.0.7" in drop_in.read_text()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("station: press-3", "station: press-4", "expected press-3"),
        ("state: /var/lib/kensa/press-3", "state: state", "on a device it is /var/lib/kensa/press-3"),
        ("/bundles/active", "/cap", "which `kensa install` keeps"),
        ("gate:", "gaet:", "gaet"),
    ],
    ids=["another name", "state elsewhere", "bundle elsewhere", "not valid"],
)
def test_a_configuration_that_does_not_belong_here_is_refused_before_anything_is_changed(
    bare: Path, words: list[str], line_file: Path, old: str, new: str, says: str
) -> None:
    line_file.write_text(line_file.read_text().replace(old, new))
    before = content(bare)

    with pytest.raises(ConfigError, match=says):
        provision_command(words)

    assert content(bare) == before


def test_a_bundle_that_does_not_run_here_leaves_the_old_one(
    station: Path, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()

    status = main(["provision", *words[:6], str(tmp_path / "empty"), *words[7:]])

    assert status == 1
    assert "not a bundle" in capsys.readouterr().err
    assert open_bundle(station / "var/lib/kensa/press-3/bundles/active").manifest.name == "small"


def test_uninstalling_leaves_data_and_configuration(station: Path) -> None:
    provision_command(["press-3", "--root", str(station), "--uninstall"])

    left = {
        path for path in content(station) if path.startswith(("opt/kensa", "etc/systemd/system/kensa", "etc/udev/rules.d/70"))
    }
    assert left == set()
    assert (station / "var/lib/kensa/press-3/bundles/active").exists()
    assert (station / "etc/kensa/press-3.yaml").is_file()


def test_s16_a_factory_reset_wipes_keys_images_events_and_configuration(station: Path) -> None:
    secret, image = station / "etc/kensa/credentials/press-3/mqtt-password", station / "var/lib/kensa/press-3/images/1.png"
    secret.write_text("hunter2-secret")
    image.parent.mkdir()
    image.write_bytes(b"hunter2-secret")
    other = os.open(secret, os.O_RDONLY)  # what is left of a file whose name is gone

    provision_command(["press-3", "--root", str(station), "--factory-reset"])

    assert os.read(other, 100) == bytes(len("hunter2-secret"))
    os.close(other)
    found = [path for path in station.rglob("*") if path.is_file() and b"hunter2-secret" in path.read_bytes()]
    assert found == []
    assert not (station / "var/lib/kensa/press-3").exists()
    assert (station / "opt/kensa/bin/kensa").exists()


@pytest.fixture
def furnished(bare: Path) -> Path:
    """What provisioning leaves of two stations, as far as their removal looks at it."""
    (bare / "etc/kensa").mkdir()
    for name in ("press-3", "press-4"):
        (bare / "var/lib/kensa" / name).mkdir(parents=True)
        (bare / "var/lib/kensa" / name / "outbox.db").touch()
        (bare / f"etc/systemd/system/kensa-eject@{name}.service.d").mkdir(parents=True)
        (bare / f"etc/kensa/{name}.yaml").touch()
    (bare / "opt/kensa.d/1234-5678/bin").mkdir(parents=True)
    (bare / "opt/kensa").symlink_to("kensa.d/1234-5678")
    return bare


@pytest.mark.parametrize("name", ["", "..", "../kensa", "a b"])
def test_a_name_that_is_none_wipes_nothing(furnished: Path, name: str) -> None:
    """With an empty name the folders of all stations would be meant, with `..` all of /var/lib."""
    before = content(furnished)

    with pytest.raises(SystemExit):
        provision_command([name, "--root", str(furnished), "--factory-reset"])

    assert content(furnished) == before


@pytest.mark.parametrize("order", ["--factory-reset", "--uninstall"])
def test_a_station_that_is_not_there_is_told_of_and_not_taken_for_a_clean_one(
    furnished: Path, order: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["provision", "press-33", "--root", str(furnished), order])

    told = "kensa provision: there is no station press-33 on this device, there is: press-3, press-4\n"
    assert (status, capsys.readouterr().err) == (1, told)


def test_the_last_station_takes_the_programs_with_it_though_configurations_stay(furnished: Path) -> None:
    provision_command(["press-3", "--root", str(furnished), "--uninstall"])
    were_kept = (furnished / "opt/kensa/bin").exists()

    provision_command(["press-4", "--root", str(furnished), "--uninstall"])

    assert were_kept
    assert list((furnished / "opt").iterdir()) == []
    assert (furnished / "etc/kensa/press-3.yaml").exists()


def test_wheels_on_a_stick_whose_name_has_a_space_are_found(bare: Path, words: list[str], tmp_path: Path) -> None:
    stick = write_wheel(tmp_path / "STICK für Halle 2", program="return 7").parent

    provision_command([*words[:-1], str(stick)])

    assert status_of(bare) == 7


def test_o3_an_update_of_the_same_version_is_taken_up(station: Path, words: list[str], tmp_path: Path) -> None:
    provision_command([*words[:-1], str(write_wheel(tmp_path / "newer", program="return 7").parent)])

    assert status_of(station) == 7


def test_o3_an_update_that_is_cut_off_leaves_the_programs_that_run_and_is_done_when_tried_again(
    station: Path, words: list[str], tmp_path: Path
) -> None:
    wheel = write_wheel(tmp_path / "newer", program="return 7")
    whole = wheel.read_bytes()
    wheel.write_bytes(whole.replace(b"return 7", b"return 8"))  # its sum is wrong, which only unpacking finds

    status = main(["provision", *words[:-1], str(wheel.parent)])

    assert (status, status_of(station)) == (1, 0)
    wheel.write_bytes(whole)
    assert provision_command([*words[:-1], str(wheel.parent)]) == 0
    assert status_of(station) == 7


def test_programs_come_from_the_given_folder_whatever_pip_is_told_elsewhere(
    bare: Path, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the public index the name is a stranger's, and what is installed is run by root."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(write_wheel(tmp_path / "strange", "9.9", "return 9").parent))

    provision_command(words)

    assert status_of(bare) == 0


def test_without_wheels_a_bare_machine_is_refused_before_anything_is_made(
    bare: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(bare)

    status = main(["provision", *words[:-2]])

    said = capsys.readouterr().err
    assert (status, content(bare)) == (1, before)
    assert "never from an index, where the name kensa is a stranger's: give it with --wheels; `make wheelhouse`" in said


def test_without_wheels_a_station_keeps_its_programs(station: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()

    assert provision_command(words[:-2]) == 0

    assert capsys.readouterr().out == "nothing to change\n"


def test_a_correction_of_the_systems_python_leaves_the_programs(
    station: Path, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version", "3.11.99 (main, of tomorrow)")
    capsys.readouterr()

    assert provision_command(words[:-2]) == 0

    assert capsys.readouterr().out == "nothing to change\n"


def no_folder(folder: Path) -> None:
    assert not folder.exists()


def nothing_of_kensa(folder: Path) -> None:
    folder.mkdir()


def of_a_stranger(folder: Path) -> None:
    folder.mkdir()
    with zipfile.ZipFile(folder / f"kensa-{VERSION}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("kensa/__init__.py", "")


def of_another_version(folder: Path) -> None:
    write_wheel(folder, "9.9")


def of_another_checkout(folder: Path) -> None:
    write_wheel(folder, pins="pip==1.0\n")


def cut_off(folder: Path) -> None:
    wheel = write_wheel(folder)
    wheel.write_bytes(wheel.read_bytes()[:-100])


def not_all_that_is_needed(folder: Path) -> None:
    write_wheel(folder, requires="numpy")


@pytest.mark.parametrize(
    ("fill", "says"),
    [
        (no_folder, "no folder, expected one with the wheels of the device install"),
        (nothing_of_kensa, "no wheel of Kensa in it"),
        (of_a_stranger, "not this Kensa but a stranger's of the same name"),
        (
            of_another_version,
            f"has Kensa 9.9, this is {VERSION}: a station is set up by the Kensa that it is to run: python3 -m venv",
        ),
        (of_another_checkout, "is of another Kensa than this one (deploy/device.txt differs): a station is set up by the Kensa"),
        (cut_off, "damaged or cut off"),
        (not_all_that_is_needed, "The user requested (constraint) numpy=="),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_wheels_that_cannot_be_used_are_refused_before_anything_is_made(
    bare: Path, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], fill: Callable[[Path], None], says: str
) -> None:
    fill(tmp_path / "unfit")
    before = content(bare)

    status = main(["provision", *words[:-1], str(tmp_path / "unfit")])

    assert (status, content(bare)) == (1, before)
    assert says in capsys.readouterr().err


def test_a_devices_own_kensa_which_has_no_pip_says_how_it_is_updated(
    station: Path, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = write_wheel(tmp_path / "newer", program="return 7").parent
    monkeypatch.setitem(sys.modules, "pip", None)
    before = content(station)

    status = main(["provision", *words[:-1], str(newer)])

    said = capsys.readouterr().err
    assert (status, content(station)) == (1, before)
    assert "there is no pip in " in said
    assert f"python3 -m venv --clear setup && setup/bin/pip install -r '{newer}/station.txt'" in said


def test_a_configuration_beside_the_devices_own_is_told_to_be_none(
    station: Path, words: list[str], line_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line_file.write_text(line_file.read_text().replace("period_ms: 500", "period_ms: 250"))
    capsys.readouterr()

    provision_command(words)

    told = f"not taken over: {line_file}; /etc/kensa/press-3.yaml is there and stays. Edit that one, then do this again\n"
    assert capsys.readouterr().out == f"{told}nothing to change\n"


@pytest.mark.parametrize(("option", "says"), [("--line", "no such file"), ("--bundle", "no folder, expected a bundle")])
def test_what_is_given_and_not_there_is_refused_on_a_station_too(
    station: Path, words: list[str], option: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["provision", *words, option, str(station / "mistyped")])

    assert status == 1
    assert f"{station}/mistyped: {says}" in capsys.readouterr().err


def test_all_that_is_not_as_on_a_device_is_told_at_once(bare: Path, wheels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["provision", "press-4", "--root", str(bare), "--line", str(LINES / "example.yaml"), "--wheels", str(wheels)])

    said = capsys.readouterr().err
    assert status == 2
    assert "station is press-3, expected press-4" in said
    assert "on a device it is /var/lib/kensa/press-4; bundle is " in said
    assert f"on a device it is /var/lib/kensa/press-4/bundles/active, which `kensa install` keeps (example: {LINES}" in said


@pytest.mark.parametrize("file", sorted({*LINES.glob("*.yaml")} - {LINES / "example.yaml"}), ids=lambda file: file.name)
def test_each_shipped_line_of_a_device_can_be_provisioned(bare: Path, wheels: Path, file: Path) -> None:
    assert provision_command(["press-3", "--root", str(bare), "--line", str(file), "--wheels", str(wheels), "--dry-run"]) == 0


def test_programs_can_be_run_by_the_stations_user_however_strict_roots_umask_is(bare: Path, words: list[str]) -> None:
    before = os.umask(0o077)
    try:
        provision_command(words)
    finally:
        os.umask(before)

    (environment,) = (bare / "opt/kensa.d").iterdir()
    closed = [path for path in environment.rglob("*") if not path.is_symlink() and not path.stat().st_mode & 0o004]
    assert closed == []


def test_a_page_that_the_line_no_longer_has_is_started_no_more(station: Path, words: list[str]) -> None:
    link = station / "etc/systemd/system/kensa@press-3.target.wants/kensa-web@press-3.service"
    link.parent.mkdir()
    link.symlink_to("/etc/systemd/system/kensa-web@.service")

    provision_command(words)

    assert not link.is_symlink()


def test_a_python_that_the_stations_user_cannot_see_is_refused(
    line_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The units hide root's and people's folders: each start would fail with 203/EXEC."""
    hidden = Path("/", "root", "python")
    monkeypatch.setattr(sys, "base_prefix", str(hidden))

    status = main(["provision", "press-3", "--line", str(line_file), "--dry-run"])

    assert status == 1
    assert f"cannot see the Python in {hidden}" in capsys.readouterr().err
