"""What a station says of itself over one connection after the other: birth, state when it changes, metrics in time."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from agent.broker.error import BrokerLostError
from agent.broker.listener import Listener
from agent.broker.messages import Metrics, State
from agent.broker.session import Session
from agent.clock import machine_boot, now, utc_now
from agent.events.event import ALERT_DATA_SCHEMA, DATA_SCHEMA
from agent.events.outbox import Outbox

_METRICS_S = 10.0


class SelfReport:
    """For the publisher's thread, but for `changed`.

    birth: what the station is. trouble: what is wrong with it now, empty when nothing is. unanswered: responses to commands that
    the network did not take in time.
    """

    def __init__(self, birth: Mapping[str, Any], outbox: Outbox, listener: Listener, trouble: Callable[[], str]) -> None:
        self._birth = dict(birth)
        self._outbox = outbox
        self._listener = listener
        self._desk = listener.desk
        self._trouble = trouble
        self._boot = machine_boot()
        self._has_changed = False
        self._said: State | None = None
        self._metrics_at_s = 0.0
        self.unanswered = 0

    def changed(self, **birth: Any) -> None:
        """What the station is from now on in these respects; said as soon as there is a connection."""
        self._birth = {**self._birth, **birth}
        self._has_changed = True

    def greet(self, session: Session, denied: str = "") -> None:
        """All of it anew: the broker may have forgotten."""
        self._has_changed, self._metrics_at_s, self._said = False, 0.0, None
        is_what = {"commands": self._desk.enabled, "schemas": (DATA_SCHEMA, ALERT_DATA_SCHEMA)}
        session.say("birth", {**self._birth, **self._numbers(), **is_what, "time": utc_now()})
        self.say_state(session, denied)

    def say_what_is_due(self, session: Session, denied: str, now_s: float) -> None:
        """denied: what the broker does not allow."""
        if self._has_changed:
            self.greet(session, denied)
        self.say_state(session, denied)
        if now_s > self._metrics_at_s:
            self._metrics_at_s = now_s + _METRICS_S
            self._say_metrics(session)

    def say_state(self, session: Session, denied: str) -> None:
        """When it has changed."""
        paused = self._desk.paused
        reason = "; ".join(filter(None, (paused, self._trouble(), self._outbox.trouble, denied)))
        how: Literal["paused", "degraded", "online"] = "paused" if paused is not None else "degraded" if reason else "online"
        state = State(how, reason, recipe=int(self._birth.get("recipe", 0)))
        if state != self._said:
            session.say("state", msgspec.structs.replace(state, time=utc_now()))
            self._said = state

    def say_goodbye(self, session: Session, wait_s: float) -> None:
        """Raises BrokerLostError where the broker does not take it in that time: the last will says it then."""
        if not session.say("state", State("offline", "stopped", utc_now()), wait_s=wait_s):
            raise BrokerLostError(f"`offline` was not taken within {wait_s:.0f} s, left to the last will")

    def _numbers(self) -> dict[str, Any]:
        """By these a collector knows of events that it never saw, the last ones too."""
        return {"stream": self._outbox.stream, "newest_seq": self._outbox.newest()}

    def _say_metrics(self, session: Session) -> None:
        instant = now(self._boot)
        metrics = Metrics(
            **self._numbers(),
            waiting=self._outbox.backlog(),
            misunderstood=self._listener.misunderstood,
            unheard=session.unheard,
            obeyed=self._desk.obeyed,
            refused=dict(self._desk.refused),
            unanswered=self.unanswered,
            time=instant.utc,
            clock=instant.clock,
            mono_ns=instant.mono_ns,
            boot_id=self._boot,
        )
        session.say("metrics", metrics, qos=0, expiry_s=round(3 * _METRICS_S))
