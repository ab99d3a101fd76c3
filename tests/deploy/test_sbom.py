"""The bill of materials names what is installed, and nothing twice."""

import json
from importlib import metadata
from pathlib import Path

import pytest

from deploy.sbom import bill, sbom_command


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict:  # type: ignore[type-arg]
    file = tmp_path_factory.mktemp("sbom") / "kensa.cdx.json"
    assert sbom_command(["--out", str(file)]) == 0
    return json.loads(file.read_text())  # type: ignore[no-any-return]


def test_each_dependency_of_the_device_is_in_the_bill_with_its_version(written: dict) -> None:  # type: ignore[type-arg]
    versions = {one["name"]: one["version"] for one in written["components"]}

    expected = {name: metadata.version(name) for name in ("numpy", "msgspec", "paho-mqtt", "opencv-python-headless", "pyyaml")}
    assert expected.items() <= versions.items()


def test_the_bill_is_whole(written: dict) -> None:  # type: ignore[type-arg]
    refs = [one["bom-ref"] for one in written["components"]]
    known = {*refs, written["metadata"]["component"]["bom-ref"]}

    assert (written["bomFormat"], written["specVersion"]) == ("CycloneDX", "1.5")
    assert len(refs) == len(set(refs))
    assert {ref for one in written["dependencies"] for ref in (one["ref"], *one["dependsOn"])} <= known


def test_kensa_depends_on_what_its_device_install_needs(written: dict) -> None:  # type: ignore[type-arg]
    kensa = written["metadata"]["component"]["bom-ref"]
    (needs,) = [one["dependsOn"] for one in written["dependencies"] if one["ref"] == kensa]

    assert any(ref.startswith("pkg:pypi/msgspec@") for ref in needs)


def test_the_same_environment_at_the_same_moment_gives_the_same_bill() -> None:
    installed = list(metadata.distributions())

    assert bill(installed, "2026-11-21T00:00:00Z") == bill(installed, "2026-11-21T00:00:00Z")


def test_no_path_of_this_machine_is_in_the_bill(written: dict) -> None:  # type: ignore[type-arg]
    assert str(Path(__file__).parents[2]) not in json.dumps(written)
