"""What a recipe sets up in the inspection process, its models and its cameras' settings, and the way to another recipe's.

Other models are opened and proved on their golden images in a thread of their own, while those that judge stand; only then
cameras whose settings differ are closed and opened. Whatever fails leaves everything as it was.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from types import TracebackType

from agent.bundle import BundleError
from agent.cameras import Camera, CameraConfig, CameraLostError
from agent.config import Line
from agent.gate.change_over import WITHIN_NS
from agent.link import Changed, ChangeTo
from agent.photographer import Photographer
from agent.runtimes import InferenceError
from agent.serving.models import Models

log = logging.getLogger(__name__)

_LEAVE_WITHIN_S = 10.0
_LOOK_EVERY_S = 0.02


class SetupError(Exception):
    """The thread that opens another recipe's model has stopped, or a camera that was closed for one does not come back."""


class Cameras:
    """A line's cameras, open, and the threads that photograph with them. Raises CameraLostError.

    within_s: a camera that was opened with other settings has to be there; one that is away at the start is looked for for ever.
    """

    def __init__(self, configs: Mapping[str, CameraConfig], within_s: float = 5.0) -> None:
        self._within_s = within_s
        self._configs: dict[str, CameraConfig] = {}
        self._opened: dict[str, tuple[Camera, ExitStack]] = {}
        self._at_work = ExitStack()
        try:
            for name, config in configs.items():
                self._open(name, config)
        except BaseException:
            self.close()
            raise
        self.photographer = self._begin()

    def close(self) -> None:
        self._at_work.close()
        for _, stack in self._opened.values():
            stack.close()

    def change(self, configs: Mapping[str, CameraConfig], progress: Callable[[], None]) -> None:
        """Closes and opens those whose settings differ. Raises CameraLostError, with the settings as they were before; SetupError
        where those cannot be had back.

        progress: called while a camera is waited for.
        """
        before = {name: config for name, config in self._configs.items() if configs[name] != config}
        if not before:
            return
        self._at_work.close()
        try:
            self._exchange({name: configs[name] for name in before})
            for name in before:
                self._wait_for(name, progress)
        except CameraLostError:
            try:
                self._exchange(before)
            except CameraLostError as e:
                raise SetupError("a camera did not come back with its settings before") from e
            raise
        finally:
            self.photographer = self._begin()

    def _begin(self) -> Photographer:
        return self._at_work.enter_context(Photographer({name: camera for name, (camera, _) in self._opened.items()}))

    def _exchange(self, configs: Mapping[str, CameraConfig]) -> None:
        """All are closed before the first is opened: one may need the device that another one had."""
        for name in configs:
            self._opened[name][1].close()
        for name, config in configs.items():
            self._open(name, config)

    def _open(self, name: str, config: CameraConfig) -> None:
        with ExitStack() as stack:
            camera = stack.enter_context(config.open())
            self._configs[name], self._opened[name] = config, (camera, stack.pop_all())

    def _wait_for(self, name: str, progress: Callable[[], None]) -> None:
        """A real camera is looked for by a thread of its own, which verifies what it has set."""
        camera, until_s = self._opened[name][0], time.monotonic() + self._within_s
        while camera.trouble and time.monotonic() < until_s:
            progress()
            time.sleep(_LOOK_EVERY_S)
        if camera.trouble:
            raise CameraLostError(f"camera {name} with the other recipe's settings: {camera.trouble}")


class _Preparation:
    """A recipe's models, being opened in a thread. models: they, or why they cannot be. over: called from the thread."""

    def __init__(self, order: ChangeTo, line: Line, over: Callable[[], None], now_s: float) -> None:
        self.order = order
        self.line = line
        self.until_s = order.until_ns / 1e9 or now_s + WITHIN_NS / 1e9  # the gate waits no longer
        self.models: Future[Models] = Future()
        self._over = over
        self._thread = threading.Thread(target=self._run, name="recipe", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        self._thread.join(_LEAVE_WITHIN_S)
        self.give_up()

    def give_up(self) -> None:
        """The models are closed, if need be by the thread, should they ever come."""
        self.models.add_done_callback(_close)

    def _run(self) -> None:
        try:
            self.models.set_result(Models(self.line, may_go_back=False))
        except Exception as e:  # noqa: BLE001 - raised in the loop by finished()
            self.models.set_exception(e)
        self._over()


def _close(opened: Future[Models]) -> None:
    if opened.exception() is None:
        opened.result().close()


class RecipeSetup:
    """wanted: the recipe to begin with; where its model cannot be opened another one's is, and the gate lets no part be judged.

    over: called from a thread when there is something to finish. asked_by: who wished the recipe that was set up last.
    Raises BundleError, InferenceError, CameraLostError.
    """

    def __init__(self, line: Line, wanted: int, over: Callable[[], None]) -> None:
        self._root = line
        self._over = over
        self._next: _Preparation | None = None
        self._refused: Changed | None = None
        self.asked_by = ""
        with ExitStack() as stack:
            self.line, self.models = _first_that_opens(line, wanted)
            stack.callback(lambda: self.models.close())
            self._cameras = Cameras(self.line.cameras)
            stack.callback(self._cameras.close)
            stack.callback(self._leave_next)
            self._stack = stack.pop_all()

    def __enter__(self) -> "RecipeSetup":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    @property
    def photographer(self) -> Photographer:
        return self._cameras.photographer

    @property
    def is_preparing(self) -> bool:
        return self._next is not None or self._refused is not None

    def begin(self, order: ChangeTo, now_s: float) -> None:
        """One at a time; `finished` gives the answer."""
        line = self._root.recipes.get(order.recipe)
        if line is None:
            why = f"{self._root.file} has no recipe {order.recipe}: restart both processes"
            log.error("asked for by %s: %s", order.asked_by, why)
            self._refused = Changed(order.recipe, self.line.recipe, why[:1000])
            self._over()
            return
        log.warning("recipe %d is prepared, asked for by %s", order.recipe, order.asked_by)
        self._next = _Preparation(order, line, self._over, now_s)

    def finished(self, progress: Callable[[], None], now_s: float) -> Changed | None:
        """The answer, once there is one: the recipe is set up, or everything is as before. For the loop, between two parts.

        Raises SetupError where a camera did not even come back with its settings before.
        """
        if self._refused is not None:
            refused, self._refused = self._refused, None
            return refused
        if self._next is None or not (self._next.models.done() or now_s > self._next.until_s):
            return None
        done, self._next = self._next, None
        wanted = done.order.recipe
        if now_s > done.until_s:  # also where it is open by now: the gate has given up, and runs another
            done.give_up()
            why = f"its model was not open after {WITHIN_NS / 1e9:.0f} s"
            log.error("recipe %d: %s; given up", wanted, why)
            return Changed(wanted, self.line.recipe, why)
        self.asked_by = done.order.asked_by
        if (error := done.models.exception()) is None:
            why = self._take(done.line, done.models.result(), progress)
        elif isinstance(error, BundleError | InferenceError):
            why = str(error)
        else:
            raise SetupError("the thread that opens another recipe's model stopped") from error
        return Changed(wanted, self.line.recipe, why[:1000])

    def _take(self, line: Line, models: Models, progress: Callable[[], None]) -> str:
        """Why not, empty where it is taken."""
        try:
            self._cameras.change(line.cameras, progress)
        except CameraLostError as e:
            models.close()
            return str(e)
        before, self.line, self.models = self.models, line, models
        before.close()
        return ""

    def _leave_next(self) -> None:
        if self._next is not None:
            self._next.leave()


def _first_that_opens(line: Line, wanted: int) -> tuple[Line, Models]:
    """The recipe wanted before the others."""
    first = line.by(wanted)
    try:
        return first, Models(first)
    except (BundleError, InferenceError) as e:
        for other in (one for one in line.recipes.values() if one is not first):
            try:
                models = Models(other, may_go_back=False)
            except (BundleError, InferenceError):
                continue
            log.error("recipe %d cannot be opened, recipe %d stands in and no part is judged: %s", wanted, other.recipe, e)
            return other, models
        raise
