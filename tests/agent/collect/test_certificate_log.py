"""A collector's log tells of its certificate before it ends: once, then once a day."""

import logging
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from certificates import GOOD, Authority

from agent.collect.certificate_log import CertificateLog
from agent.sections import Mqtt, Tls

DAY_S = 86_400


def test_the_log_tells_once_a_day_of_a_certificate_that_will_end_and_once_that_it_is_renewed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = datetime.now(timezone.utc)  # openssl asks the wall clock
    authority = Authority(tmp_path / "authority")
    since, until = (f"{moment:%Y%m%d%H%M%SZ}" for moment in (now - timedelta(days=300), now + timedelta(days=20)))
    own, renewed = authority.sign("own", valid=(since, until)), authority.sign("renewed", valid=GOOD)
    told = CertificateLog(Mqtt("broker", "plant", tls=Tls(str(authority.file), str(own.file), str(own.key))))

    with caplog.at_level(logging.INFO, "agent.collect"):
        for now_s in (1000, 1060, 1000 + DAY_S, 1060 + DAY_S):
            told.look(now_s)
        own.file.write_bytes(renewed.file.read_bytes())
        own.key.write_bytes(renewed.key.read_bytes())
        for now_s in (1120 + DAY_S, 1180 + DAY_S):
            told.look(now_s)

    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "INFO"]
    assert all("19 days more: put a renewed one in its place" in record.message for record in caplog.records[:2])
