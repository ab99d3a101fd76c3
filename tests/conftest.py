"""Fixtures for every layer; nothing here imports torch."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent.parent
# Run by other Pythons: anomalib's environment, the system's.
collect_ignore = ["against_anomalib.py", "anomalib_inferencer.py", "rtsp_server.py"]
sys.path.insert(0, str(ROOT / "tests"))
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # others use this machine too
settings.load_profile("busy")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """In CI a test that skips has failed: its real part (data, broker) was expected to be there."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where it must run: {report.longrepr}"
