"""From a bare machine to a station, in a folder that stands for the machine; done twice, it changes nothing."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from agent.bundle import open_bundle
from agent.drivers import ConfigError
from deploy.provision import provision_command


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

    status = provision_command(words)

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

    status = provision_command([*words[:6], str(tmp_path / "empty"), *words[7:]])

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
