"""Certificates are told of before they end; those of a real authority, made by openssl."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from certificates import GOOD, Authority, Certificate

from agent.doctor.certificate import Shown, check_certificates, check_shown
from agent.doctor.finding import Finding, Health
from agent.observation.certificate_watch import CertificateWatch
from agent.sections import Mqtt, Tls, Web, WebTls

NOW = datetime.now(timezone.utc)  # openssl asks the wall clock whether a certificate holds
SECOND_NS = 1_000_000_000


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def of(authority: Authority, days: float, lifetime_days: float, purpose: str = "") -> Certificate:
    """That ends in so many days."""
    until = NOW + timedelta(days=days)
    valid = (until - timedelta(days=lifetime_days), until)
    holder = f"IP:127.0.0.1\nextendedKeyUsage = {purpose}" if purpose else "IP:127.0.0.1"
    return authority.sign(f"of-{days}-{lifetime_days}", holder, tuple(f"{moment:%Y%m%d%H%M%SZ}" for moment in valid))


def page(certificate: Certificate, key: Path | None = None) -> Finding:
    return check_shown(Shown("the page's certificate", str(certificate.file), str(key or certificate.key), to_server=False), NOW)


@pytest.mark.parametrize(
    ("days", "lifetime_days", "health"),
    [
        (31, 365, Health.OK),
        (29, 365, Health.WARN),
        (29, 90, Health.OK),  # one of 90 days is renewed when 30 are left
        (20, 90, Health.WARN),
        (0.4, 1, Health.OK),  # one that is renewed each day
        (0.2, 1, Health.WARN),
        (-1, 365, Health.FAIL),
        (400, 365, Health.FAIL),  # not valid yet
    ],
)
def test_a_certificate_is_told_of_a_month_or_a_quarter_of_its_life_before_its_end(
    authority: Authority, days: float, lifetime_days: float, health: Health
) -> None:
    assert page(of(authority, days, lifetime_days)).health is health


def test_the_end_and_what_to_do_are_named(authority: Authority) -> None:
    found = page(of(authority, 9.5, 365))

    until = NOW + timedelta(days=9.5)
    assert found.found.endswith(f"of-9.5-365.pem) holds until {until:%Y-%m-%d %H:%M} UTC, 9 days more")
    assert "nothing need be restarted" in found.remedy


def test_one_that_has_expired_names_the_clock_too(authority: Authority) -> None:
    assert "has expired, or this machine's clock (20" in page(of(authority, -1, 365)).found


def test_the_key_of_another_certificate_is_a_failure(authority: Authority) -> None:
    found = page(authority.sign("one"), authority.sign("other").key)

    assert (found.health, "cannot be used with its key" in found.found) == (Health.FAIL, True)


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_file_that_is_no_certificate_is_a_failure(authority: Authority, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.pem").write_bytes(content)
    mqtt = Mqtt("broker", "plant", tls=Tls(str(tmp_path / "broken.pem")))

    assert page(Certificate(tmp_path / "broken.pem", authority.sign("one").key)).health is Health.FAIL
    assert check_certificates(mqtt, None, NOW)["certificate-authority"].health is Health.FAIL


@pytest.mark.parametrize(("to_server", "purpose"), [(True, "clientAuth"), (False, "serverAuth")])
def test_a_certificate_has_to_be_for_what_it_is_used_for(authority: Authority, to_server: bool, purpose: str) -> None:
    certificate = of(authority, 90, 365, purpose)
    files = str(certificate.file), str(certificate.key)

    assert check_shown(Shown("it", *files, to_server=to_server), NOW).health is Health.OK
    assert "unsuitable certificate purpose" in check_shown(Shown("it", *files, to_server=not to_server), NOW).found


def test_all_files_of_a_line_are_looked_at(authority: Authority) -> None:
    station, shown = of(authority, 20, 365), of(authority, 300, 365)
    mqtt = Mqtt("broker", "plant", tls=Tls(str(authority.file), str(station.file), str(station.key)))

    found = check_certificates(mqtt, Web(tls=WebTls(str(shown.file), str(shown.key))), NOW)

    expected = {"certificate-authority": Health.OK, "certificate-station": Health.WARN, "certificate-page": Health.OK}
    assert {name: one.health for name, one in found.items()} == expected


def test_of_several_authorities_the_one_that_ends_last_counts(authority: Authority, tmp_path: Path) -> None:
    ended = Authority(tmp_path / "ended")
    (tmp_path / "both.pem").write_text(ended.file.read_text() + authority.file.read_text())
    both = Mqtt("broker", "plant", tls=Tls(str(tmp_path / "both.pem")))
    in_101_years = NOW + timedelta(days=101 * 365.25)

    assert check_certificates(both, None, NOW)["certificate-authority"].health is Health.OK
    assert check_certificates(both, None, in_101_years)["certificate-authority"].health is Health.FAIL


def test_a_line_in_plain_text_has_none() -> None:
    assert check_certificates(Mqtt("broker", "plant"), Web(), NOW) == {}


def test_an_alarm_is_there_until_the_file_is_renewed_and_files_are_not_read_all_the_time(authority: Authority) -> None:
    old, new = of(authority, 5, 365), authority.sign("new", valid=GOOD)
    watch = CertificateWatch(Mqtt("broker", "plant"), Web(tls=WebTls(str(old.file), str(old.key))))

    raised = dict(watch.alarms(0, NOW))
    old.file.write_bytes(new.file.read_bytes())
    old.key.write_bytes(new.key.read_bytes())
    soon = dict(watch.alarms(59 * SECOND_NS, NOW))
    renewed = dict(watch.alarms(60 * SECOND_NS, NOW))
    old.file.unlink()

    assert raised.keys() == soon.keys() == {"certificate-page"}
    assert "4 days more: put a renewed one in its place" in raised["certificate-page"]
    assert renewed == watch.alarms(659 * SECOND_NS, NOW) == {}
    assert watch.alarms(660 * SECOND_NS, NOW).keys() == {"certificate-page"}
