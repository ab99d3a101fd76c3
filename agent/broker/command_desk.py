"""Where commands over MQTT come in, are done or handed to the hot path between two parts, and are answered.

The publisher's thread hears and answers; the hot path only looks whether it is paused, and leaves a photograph.
"""

import logging
import uuid
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from agent.broker.errands import Answer, Errand, Errands
from agent.broker.feed import Feed
from agent.broker.heard import Heard
from agent.broker.remote_command import (
    Capture,
    PartImage,
    Pause,
    Recipe,
    RefusedError,
    Reload,
    Remembered,
    Replay,
    Response,
    Resume,
    SelfTest,
    Why,
    understand,
)
from agent.broker.standing import Standing, keep_standing, read_standing
from agent.clock import utc_now
from agent.events.event import alert
from agent.inspection import Fault, Image, Part
from agent.observation.picture import small_photograph

log = logging.getLogger(__name__)

_NO_TIME = "no time for it before it expired"
_NOT_KNOWN = "the change-over was not done before the command expired: `birth` says which recipe runs"
_RESTARTS = "not done before the inspection process is started anew: `birth` says which recipe runs"
_LOG_EVERY = 100  # refusals, after the first


def _none_is_kept(event: str) -> bytes:
    raise LookupError("no images are kept here")


class CommandDesk:
    """The commands of one station.

    enabled: those that are obeyed. file: keeps the pause and the ids of what was obeyed. why_no_reload: what is wrong with the
    line's file, empty when it can be reloaded. tell: takes an alert, its key and its data. photograph: JPEG of the part of an
    event that was kept; raises LookupError. products: names of the line's recipes. wish: asks the gate for one, with the id
    of the command; False where it cannot be asked.
    """

    def __init__(
        self,
        enabled: Collection[str] = (),
        file: Path | None = None,
        why_no_reload: Callable[[], str] = str,
        tell: Callable[[str, bytes], None] = lambda key, data: None,
        photograph: Callable[[str], bytes] = _none_is_kept,
        products: Mapping[int, str] = MappingProxyType({}),
        wish: Callable[[str, int], bool] = lambda id, recipe: False,
    ) -> None:
        self.enabled = tuple(enabled)
        self.obeyed = 0
        self.refused: Counter[str] = Counter()
        self.wants_restart = False
        self._file = file
        self._why_no_reload = why_no_reload
        self._tell = tell
        self._photograph_of = photograph
        self._products = products
        self._wish = wish
        standing = read_standing(file) if file is not None else Standing()
        self._standing = standing
        self._paused = standing.paused if "resume" in self.enabled else None  # else nobody could end it
        self._distrusted: str | None = None  # by a self-test; a restart tests anew
        self._remembered = Remembered(dict(standing.remembered))
        self._errands = Errands()
        self._photographed: deque[tuple[Errand, Part, Image | Fault]] = deque()
        if self._paused is not None:
            log.warning("paused since before the restart: %s", self._paused)
        elif standing.paused is not None:
            self._tell_cleared("paused", "`resume` is not among the station's commands any more")
        if standing.distrusted:
            self._tell_cleared("self-test-failed", "the inspection process was started anew, and tested")

    # ------------------------------------------------------------ the hot path

    @property
    def paused(self) -> str | None:
        """Why parts are to be rejected uninspected; None: they are inspected."""
        return self._paused if self._distrusted is None else self._distrusted

    @property
    def asks_for_self_test(self) -> bool:
        return self._errands.has(SelfTest)

    def saw(self, part: Part, image: Image | Fault) -> None:
        """A part's photograph, for who waits for one. Copies nothing."""
        if self._errands.has(Capture):
            captures = self._errands.take(lambda errand: isinstance(errand.command, Capture))
            self._photographed.extend((errand, part, image) for errand in captures)

    def self_tested(self, trouble: str) -> None:
        """trouble: how the golden images scored otherwise than at export, empty when they did not."""
        if trouble:
            self._distrusted = f"self-test failed: {trouble}"
            self._tell(f"self-test-failed/{uuid.uuid4().hex}", alert("self-test-failed", trouble, "raised"))
        self._end(lambda errand: isinstance(errand.command, SelfTest), trouble)  # none where it has become too late

    def wished(self, id: str, refusal: str) -> None:
        """The gate has answered: the recipe runs, or not. From the link's thread."""
        self._end(lambda errand: isinstance(errand.command, Recipe) and errand.command.id == id, refusal)

    def _end(self, fits: Callable[[Errand], bool], trouble: str) -> None:
        self._errands.say(*(errand.answer("failed" if trouble else "ok", trouble) for errand in self._errands.take(fits)))

    # ------------------------------------------------------------ the publisher's thread

    def hear(self, heard: Heard, feed: Feed, stream: str, now: datetime, now_s: float) -> None:
        """Does what a message of `cmd/{name}` asks, or refuses it; raises nothing. stream: of the station's events.

        now, now_s: the wall clock's, and the monotonic one's.
        """
        name = heard.topic.removeprefix("cmd/")
        try:
            if heard.retained:  # said to nobody knows whom, nobody knows when; answered at each connection it would be for ever
                self._count(name, RefusedError(Why.RETAINED, "a command is never retained"))
                return
            if heard.expiry_s is not None and now_s - heard.heard_s > heard.expiry_s:
                raise RefusedError(Why.LATE, f"was obeyed too late for its message expiry of {heard.expiry_s} s")
            if heard.answers_elsewhere:
                raise RefusedError(Why.ELSEWHERE, "the response topic must be below the station's own `response/`")
            command = understand(name, heard.payload, self.enabled, now)
            self._remembered.take(command, now)
            try:
                self._obey(Errand(heard, command, now_s + (command.expires - now).total_seconds()), feed, stream)
            except RefusedError:
                self._remembered.forget(command)
                raise
            self._keep()
        except RefusedError as e:
            self._count(name, e)
            self._errands.say(Answer(heard, Response(e.id, name[:40], "refused", utc_now(), str(e), e.why)))
        else:
            self.obeyed += 1
            log.warning("command %s %s: obeyed", name, command.id)

    def answers(self, now_s: float) -> list[Answer]:
        """What is to be said since the last call; of what was obeyed, once a restart would know of it."""
        self._keep()
        for _ in range(len(self._photographed)):
            self._errands.say(_photograph(*self._photographed.popleft()))
        for errand in self._errands.take(lambda errand: errand.until_s < now_s):
            self._errands.say(errand.answer("failed", _NOT_KNOWN if isinstance(errand.command, Recipe) else _NO_TIME))
        return self._errands.answers()

    def _obey(self, errand: Errand, feed: Feed, stream: str) -> None:
        """Raises RefusedError where it is not possible; the answer is left among the others."""
        command = errand.command
        match command:
            case Capture() | SelfTest():
                self._await(errand)
                return
            case Recipe(recipe=recipe):
                self._ask_for(errand, recipe)
                return
            case Pause(reason=reason):
                self._paused = f"command {command.id}" + (f": {reason}" if reason else "")
                self._tell(f"command/{command.id}", alert("paused", self._paused, "raised"))
            case Resume():
                if self._paused is not None:
                    self._tell_cleared("paused", f"command {command.id}")
                if self._distrusted is not None:
                    self._tell_cleared("self-test-failed", f"command {command.id}")
                self._paused = self._distrusted = None
            case Reload():
                if trouble := self._why_no_reload():
                    raise RefusedError(Why.NOT_POSSIBLE, trouble, command.id)
                self.wants_restart = True
                self._errands.say(*(one.answer("failed", _RESTARTS) for one in self._errands.take(lambda one: True)))
            case Replay(first=first, last=last):
                if command.stream != stream or first > last:
                    expected = f"expected the stream {stream} and `from` not above `to`, got {command.stream}, {first}, {last}"
                    raise RefusedError(Why.NOT_POSSIBLE, expected, command.id)
                feed.replay(first, last)
            case PartImage(event=event):
                self._errands.say(errand.answer("ok", "", event, self._kept(command.id, event)))
                return
        self._errands.say(errand.answer("ok", ""))

    def _tell_cleared(self, name: str, detail: str) -> None:
        self._tell(f"{name}/{uuid.uuid4().hex}", alert(name, detail, "cleared"))

    def _keep(self) -> None:
        """Where something has changed."""
        standing = Standing(self._paused, dict(self._remembered.until), self._distrusted is not None)
        if self._file is not None and standing != self._standing:
            self._standing = standing
            keep_standing(self._file, standing)

    def _count(self, name: str, refused: RefusedError) -> None:
        self.refused[refused.why.value] += 1
        if (times := self.refused[refused.why.value]) == 1 or times % _LOG_EVERY == 0:
            log.warning("command %.40r refused, %s (%d so far): %s", name, refused.why.value, times, refused)

    def _await(self, errand: Errand) -> None:
        """Raises RefusedError."""
        if self.wants_restart:
            raise RefusedError(Why.NOT_POSSIBLE, "the inspection process is started anew, say it again then", errand.command.id)
        self._errands.add(errand)

    def _ask_for(self, errand: Errand, recipe: int) -> None:
        id = errand.command.id
        if recipe not in self._products:
            known = ", ".join(f"{number} ({name})" for number, name in self._products.items()) or "none"
            raise RefusedError(Why.NOT_POSSIBLE, f"there is no recipe {recipe}, this line has {known}"[:500], id)
        self._await(errand)  # before it is asked: the answer may come at once
        if not self._wish(id, recipe):
            self._errands.take(lambda one: one is errand)
            raise RefusedError(Why.NOT_POSSIBLE, "the ejector process is not there, it cannot be asked", id)

    def _kept(self, id: str, event: str) -> bytes:
        """Raises RefusedError."""
        try:
            return self._photograph_of(event)
        except LookupError as e:
            raise RefusedError(Why.NOT_POSSIBLE, str(e.args[0])[:300], id) from e


def _photograph(errand: Errand, part: Part, image: Image | Fault) -> Answer:
    if isinstance(image, Fault):
        return errand.answer("failed", image.reason, str(part))
    return errand.answer("ok", "", str(part), small_photograph(image))
