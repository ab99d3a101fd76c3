"""The log tells of the collector's own certificates, weeks before they end."""

import logging

from agent.clock import utc
from agent.collect.onlooker import Onlooker
from agent.observation.certificate_watch import CertificateWatch
from agent.sections import Mqtt

log = logging.getLogger(__name__)

_SECOND_NS = 1_000_000_000
_AGAIN_S = 86_400.0


class CertificateLog(Onlooker):
    """A line when something is the matter with a file, one a day while it is, and one when it is well again."""

    def __init__(self, config: Mqtt) -> None:
        self._watch = CertificateWatch(config, None)
        self._told_s: dict[str, float] = {}

    def look(self, now_s: float) -> None:
        found = self._watch.alarms(round(now_s * _SECOND_NS), utc())
        for name, words in found.items():
            if now_s - self._told_s.get(name, -_AGAIN_S) >= _AGAIN_S:
                log.warning("%s", words)
                self._told_s[name] = now_s
        for name in self._told_s.keys() - found.keys():
            log.info("%s: well again", name)
            del self._told_s[name]
