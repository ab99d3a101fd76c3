"""Structured log: one JSON object per line on stderr, ready for journald."""

import json
import logging
import sys

from agent.clock import utc_now


class JsonFormatter(logging.Formatter):
    """time, level, role, where and message; `extra={"data": {...}}` adds fields; a traceback stays in one line."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": utc_now(),
            "level": record.levelname.lower(),
            "role": self._role,
            "where": record.name,
            "message": record.getMessage(),
            **getattr(record, "data", {}),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


def start_log(role: str, level: int = logging.INFO) -> None:
    """Sends every logger of this process to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(role))
    logging.basicConfig(level=level, handlers=[handler], force=True)
