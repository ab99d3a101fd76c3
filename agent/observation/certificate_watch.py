"""Alarms of certificates that will soon end, weeks before a station can no longer say anything."""

from datetime import datetime

from agent.doctor.certificate import check_certificates
from agent.doctor.finding import Health
from agent.sections import Mqtt, Web

_LOOK_EVERY_NS = 600 * 1_000_000_000
_LOOK_AGAIN_NS = 60 * 1_000_000_000  # while something is wrong: it may have been renewed, or the clock set


class CertificateWatch:
    """Of the files that a line names. The broker's own is no concern of each of its hundred stations: `kensa doctor` tells it."""

    def __init__(self, mqtt: Mqtt, web: Web | None) -> None:
        self._mqtt, self._web = mqtt, web
        self._due_ns = 0
        self._alarms: dict[str, str] = {}

    def alarms(self, now_ns: int, now: datetime) -> dict[str, str]:
        """Name to words, of the last look; one takes a few milliseconds. now: by the wall clock."""
        if now_ns >= self._due_ns:
            found = check_certificates(self._mqtt, self._web, now)
            self._alarms = {name: f"{one.found}: {one.remedy}" for name, one in found.items() if one.health is not Health.OK}
            self._due_ns = now_ns + (_LOOK_AGAIN_NS if self._alarms else _LOOK_EVERY_NS)
        return self._alarms
