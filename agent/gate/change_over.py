"""PURE  Which recipe the line runs, and the order in which it comes to another, so that no part is judged by two.

A wish drops `ready` at once. Parts of the recipe before are seen out of the gate; then the inspection process is told, opens the
other model and answers; then the number is kept on the disk; then it runs. Whatever goes wrong before that leaves the recipe
before. The number is the gate's alone: an inspection process that judges by another one is told again and again, and no part is
judged meanwhile. One whose file says something else of the recipes can be told nothing: a number means another product there.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

WITHIN_NS = 120_000_000_000  # from the wish to the answer of the inspection process
_AGAIN_NS = 10_000_000_000  # an inspection process that could not judge by the running recipe is told again
_ALARMS = 16
_OTHER_FILE = "the inspection process has another file than the gate: restart both"


class Phase(Enum):
    """RUNS: nothing is to be changed. DRAINS: parts are on their way to the gate. PREPARES: the inspection process has been told.
    KEEPS: the number is being written."""

    RUNS = "runs"
    DRAINS = "drains"
    PREPARES = "prepares"
    KEEPS = "keeps"


@dataclass(frozen=True, slots=True)
class Tell:
    """To do: the inspection process has to judge by this recipe; `was_told` says whether it could be told."""

    recipe: int
    asked_by: str


@dataclass(frozen=True, slots=True)
class Keep:
    """To do: the number has to go on the disk; `was_kept` says what came of it."""

    recipe: int


@dataclass(frozen=True, slots=True)
class _Wish:
    recipe: int
    asked_by: str
    done: Callable[[str], None]
    since_ns: int


class ChangeOver:
    """names: of the recipes, by number; none where the line has none. current: that runs. `now_ns` is an argument.

    alarms: name and words of what people should know; the oldest are dropped.
    """

    def __init__(self, names: Mapping[int, str], current: int = 0) -> None:
        self.names = names
        self.current = current
        self.phase = Phase.RUNS
        self.alarms: deque[tuple[str, str]] = deque(maxlen=_ALARMS)
        self._wish: _Wish | None = None
        self._judges_by: int | None = None
        self._knows_the_same = True
        self._is_told = False
        self._again_ns = 0
        self._why_not = ""

    @property
    def wanted(self) -> int:
        """The recipe that a change-over leads to; 0 where there is none."""
        return self._wish.recipe if self._wish else 0

    @property
    def until_ns(self) -> int:
        """When the change-over that is under way is given up; 0 where there is none."""
        return self._wish.since_ns + WITHIN_NS if self._wish else 0

    @property
    def of_new_part(self) -> int | None:
        """The recipe of a part triggered now; None during a change-over."""
        return self.current if self._wish is None else None

    @property
    def unsettled(self) -> str:
        """Why no part may be judged now; empty where it may. Without an inspection process that is not said here."""
        if self._wish is not None:
            return f"change-over to recipe {self._wish.recipe} ({self.names[self._wish.recipe]}): {_DOING[self.phase]}"
        if not self._knows_the_same:
            return _OTHER_FILE
        if self._judges_by in (None, self.current):
            return ""
        return f"recipe {self.current} is not there yet: {self._why_not or 'the inspection process is told'}"

    def ask(self, recipe: int, asked_by: str, done: Callable[[str], None], now_ns: int) -> None:
        """Begins a change-over. done: called once, with why the recipe wished does not run, or with nothing when it does."""
        if recipe not in self.names:
            known = ", ".join(f"{number} ({name})" for number, name in self.names.items()) or "none: its file has no `recipes`"
            self._refuse(recipe, asked_by, f"there is no recipe {recipe}, this line has {known}", done, "recipe-unknown")
        elif self._wish is not None:
            why = f"a change-over to recipe {self._wish.recipe} is under way, asked for by {self._wish.asked_by}"
            self._refuse(recipe, asked_by, why, done)
        elif not self._knows_the_same:
            self._refuse(recipe, asked_by, _OTHER_FILE, done)
        elif recipe == self.current:
            done(self.unsettled)
        else:
            self._wish = _Wish(recipe, asked_by, done, now_ns)
            self.phase = Phase.DRAINS

    def attached(self, judges_by: int, knows_the_same: bool = True) -> None:
        """An inspection process is there, which judges by this recipe. knows_the_same: of the recipes, as the gate."""
        self.lost()
        self._judges_by, self._knows_the_same = judges_by, knows_the_same
        if not knows_the_same:
            self.alarms.append(("recipe-refused", f"recipe {self.current} should run, parts are rejected: {_OTHER_FILE}"))
            if self._wish is not None and self.phase is not Phase.KEEPS:  # what is being written runs after a restart
                self._fail(_OTHER_FILE)

    def lost(self) -> None:
        """The inspection process is gone. If it was preparing, it may have died of it: it is not asked a second time."""
        self._judges_by, self._is_told, self._again_ns, self._why_not = None, False, 0, ""
        self._knows_the_same = True
        if self._wish and self.phase is Phase.PREPARES:
            self._fail(f"the inspection process was lost while it prepared recipe {self._wish.recipe}")

    def judged_by(self, recipe: int) -> None:
        """A verdict has come by this recipe; should an answer have been lost, it is known by that."""
        self._judges_by = recipe

    def was_told(self, could_be: bool) -> None:
        self._is_told = could_be
        if could_be and self.phase is Phase.DRAINS:
            self.phase = Phase.PREPARES

    def answered(self, wanted: int, judges_by: int, why: str, now_ns: int) -> None:
        """The inspection process has said by which recipe it judges now, and why it is not the one that it was told."""
        self._judges_by, self._is_told = judges_by, False
        if self.phase is Phase.PREPARES and self._wish and self._wish.recipe == wanted:
            if judges_by == wanted:
                self.phase = Phase.KEEPS
            else:
                self._fail(why)
        elif self._wish is None and wanted == self.current != judges_by:
            self._why_not, self._again_ns = why, now_ns + _AGAIN_NS
            self.alarms.append(("recipe-refused", f"recipe {self.current} should run, parts are rejected: {why}"))

    def was_kept(self, why_not: str) -> bool:
        """The number has been written, or could not be; whether the gate goes by this recipe from now on."""
        wish = self._wish
        if wish is None:
            return False
        if why_not:
            self._fail(f"it could not be kept for a restart: {why_not}")
            return False
        self.current, self._wish, self.phase = wish.recipe, None, Phase.RUNS
        wish.done("")
        return True

    def step(self, of_a_recipe: int, now_ns: int) -> Tell | Keep | None:
        """What is to be done next. of_a_recipe: parts in flight but those that came during the change-over."""
        if self._wish is None:
            must = self._knows_the_same and self._judges_by is not None and self._judges_by != self.current
            return Tell(self.current, "the gate") if must and not self._is_told and now_ns >= self._again_ns else None
        if self.phase is Phase.KEEPS:
            return Keep(self._wish.recipe)
        if now_ns - self._wish.since_ns > WITHIN_NS:
            self._fail(f"not done within {WITHIN_NS // 1_000_000_000} s: {self._what_lacks(of_a_recipe)}")
        elif self.phase is Phase.DRAINS and not of_a_recipe and self._judges_by is not None and not self._is_told:
            return Tell(self._wish.recipe, self._wish.asked_by)
        return None

    def _what_lacks(self, of_a_recipe: int) -> str:
        if of_a_recipe:
            return f"{of_a_recipe} parts are still between camera and gate"
        return "no inspection process is attached" if self._judges_by is None else "the inspection process did not answer"

    def _fail(self, why: str) -> None:
        wish, self._wish, self.phase = self._wish, None, Phase.RUNS
        self._is_told = False
        if wish is not None:
            self._refuse(wish.recipe, wish.asked_by, f"{why}; recipe {self.current} stays", wish.done)

    def _refuse(self, recipe: int, asked_by: str, why: str, done: Callable[[str], None], alarm: str = "recipe-refused") -> None:
        self.alarms.append((alarm, f"recipe {recipe}, asked for by {asked_by}: {why}"))
        done(why)


_DOING = {
    Phase.RUNS: "",
    Phase.DRAINS: "parts are on their way to the gate, or no inspection process is attached",
    Phase.PREPARES: "the inspection process prepares",
    Phase.KEEPS: "it is being kept",
}
