"""The recipes of a line as the ejector process has them: carries out what a change-over needs, in its order."""

import logging
from collections.abc import Callable

from agent.config import Line
from agent.gate.change_over import ChangeOver, Keep, Phase, Tell
from agent.gate.gate import Gate
from agent.gate.inspection_side import InspectionSide
from agent.gate.operator_side import RecipeState
from agent.gate.recipe_book import RecipeBook
from agent.link import Wish, Wished

log = logging.getLogger(__name__)

_LOOK_NS = 5_000_000  # at the disk, while the number is being written
_ENDED = 16


class RecipeSide:
    """boot: of the ejector process; makes the names of wishes unique."""

    def __init__(self, boot: str, line: Line, changes: ChangeOver, gate: Gate, inspection: InspectionSide) -> None:
        self._boot = boot
        self._line = line
        self._changes = changes
        self._gate = gate
        self._inspection = inspection
        self._book = RecipeBook(line.state)
        if changes.current:
            self._book.keep(changes.current)  # chosen by nobody yet, it runs after a restart too
        self._n = 0
        self._ended: dict[str, str] = {}
        self._look_ns: int | None = None

    def serve(self, now_ns: int) -> None:
        """Does what is to be done next."""
        changes = self._changes
        for wish in self._inspection.wishes():
            self._ask_for(wish, now_ns)
        step = changes.step(self._gate.of_a_recipe, now_ns)
        if isinstance(step, Tell):
            changes.was_told(self._inspection.change_to(step.recipe, step.asked_by))
        elif isinstance(step, Keep):
            self._keep(step.recipe)
        while changes.alarms:
            name, detail = changes.alarms.popleft()
            log.warning("%s: %s", name, detail)
            self._gate.alarms.add(name, detail, now_ns)
        self._look_ns = now_ns + _LOOK_NS if changes.phase is Phase.KEEPS else None

    def wake_ns(self) -> int | None:
        return self._look_ns

    def ask(self, recipe: int, by: str, now_ns: int) -> str:
        """A person wishes this recipe; the name under which `state` tells what became of it. by: who, if that is known."""
        self._n += 1
        id = f"{self._boot}/recipe/{self._n}"
        self._changes.ask(recipe, by or "a person", lambda refusal: self._end(id, refusal), now_ns)
        return id

    def state(self, asked: str = "") -> RecipeState:
        changes = self._changes
        name = changes.names.get(changes.current, "")
        return RecipeState(
            changes.current, name, changes.wanted, changes.unsettled, dict(changes.names), asked, dict(self._ended)
        )

    def _ask_for(self, wish: Wish, now_ns: int) -> None:
        """Who wished it by a command is told by the inspection process."""
        done: Callable[[str], None] = lambda refusal: self._inspection.tell_of(Wished(wish.id, refusal))  # noqa: E731
        self._changes.ask(wish.recipe, f"command {wish.id}", done, now_ns)

    def _keep(self, recipe: int) -> None:
        if (why_not := self._book.keep(recipe)) is not None and self._changes.was_kept(why_not):
            self._gate.change(self._line.recipes[recipe].gate)
            log.warning("recipe %d (%s) runs from now on", recipe, self._changes.names[recipe])

    def _end(self, id: str, refusal: str) -> None:
        self._ended[id] = refusal
        if len(self._ended) > _ENDED:
            del self._ended[next(iter(self._ended))]
