"""Drivers are the files of their package, and nothing else."""

import pytest

from agent.drivers import SectionError, driver, names, section
from agent.triggers.timer import Config as TimerConfig

PACKAGES = ["agent.cameras", "agent.triggers", "agent.ejectors", "agent.runtimes"]
DRIVERS = [(package, name) for package in PACKAGES for name in names(package)]


@pytest.mark.parametrize(("package", "name"), DRIVERS, ids=lambda value: value.removeprefix("agent."))
def test_every_driver_file_has_a_config_that_opens(package: str, name: str) -> None:
    module = driver(package, name)

    assert callable(module.Config.open)


@pytest.mark.parametrize(("package", "name"), DRIVERS, ids=lambda value: value.removeprefix("agent."))
def test_no_driver_accepts_a_key_it_does_not_know(package: str, name: str) -> None:
    with pytest.raises(SectionError, match="unknown key 'colour_of_the_cable'") as refused:
        section(package, {"type": name, "colour_of_the_cable": "red"})

    assert refused.value.path


@pytest.mark.parametrize(
    "name", ["", "__init__", "os", "timer.py", "../timer", "Timer", None, 3, ["timer"], {"timer": 1}], ids=str
)
def test_only_a_file_of_the_package_can_be_named(name: object) -> None:
    with pytest.raises(SectionError, match=r"is not one of the triggers here: .*timer"):
        driver("agent.triggers", name)


def test_a_section_becomes_its_drivers_own_config() -> None:
    config = section("agent.triggers", {"type": "timer", "period_ms": 20, "count": 3})

    assert config == TimerConfig(period_ms=20.0, count=3)


@pytest.mark.parametrize("content", [None, "timer", ["timer"], {}, {"period_ms": 5}], ids=str)
def test_a_section_without_a_type_is_told_which_there_are(content: object) -> None:
    with pytest.raises(SectionError, match=r"expected a mapping with `type`, one of: .*timer"):
        section("agent.triggers", content)
