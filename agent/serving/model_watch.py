"""The model that judges, and the next one: opened beside it when the installed bundle changes, taken over between two parts.

Both are in memory for a moment. What cannot be opened here, or does not score as at export, is refused: the pointer goes back to
the bundle before, and the model that runs goes on.
"""

import logging
import threading
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from agent.bundle import Artifact, Bundle, BundleError, open_bundle
from agent.decide import Policy
from agent.inspection import Judge
from agent.model import PLAIN, Here, Model, open_model
from agent.only_one import AlreadyRunningError
from agent.runtimes import InferenceError, RuntimeConfig
from agent.serving.choice import chosen
from agent.serving.ladder import Ladder
from agent.serving.slots import Slot, active_slot, roll_back

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
_LEAVE_WITHIN_S = 5.0


class ModelWatchError(Exception):
    """The thread that opens the next model has stopped."""


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A bundle's artefact, compiled, warm and proved on its golden images."""

    bundle: Bundle
    artifact: Artifact
    model: Model
    _devices: ExitStack

    @property
    def judge(self) -> Judge:
        """How records name it."""
        manifest = self.bundle.manifest
        return Judge(manifest.bundle_id, manifest.name, self.model.calibration.threshold)

    @property
    def policy(self) -> Policy:
        return Policy(self.model.calibration.threshold)

    def close(self) -> None:
        self._devices.close()


def open_from(folder: Path, runtime_name: str, runtime: RuntimeConfig, here: Here = PLAIN) -> Opened:
    """The bundle in `folder`, ready. Raises BundleError and InferenceError."""
    bundle = open_bundle(folder.resolve())  # the folder itself: the pointer may move meanwhile
    artifact, its_runtime = chosen(bundle, runtime_name, runtime, here.state)
    with ExitStack() as devices:
        try:
            model = devices.enter_context(open_model(bundle, artifact, its_runtime, here))
        except (BundleError, InferenceError) as e:
            if its_runtime is runtime:
                raise
            raise type(e)(f"{e}; {artifact.name} is what kensa bench --choose found here once: choose again") from e
        return Opened(bundle, artifact, model, devices.pop_all())


class ModelWatch:
    """named: the line's bundle, looked at once a second where it is the pointer of `kensa install`. may_go_back: at the start, to
    the bundle before, where that one opens; a recipe that is only being prepared moves no pointer. Raises BundleError,
    InferenceError where there is nothing that can run."""

    def __init__(
        self, named: Path, runtime_name: str, runtime: RuntimeConfig, here: Here = PLAIN, may_go_back: bool = True
    ) -> None:
        self._named, self._may_go_back = named, may_go_back
        self._runtime_name, self._here = runtime_name, here
        self.ladder = Ladder(runtime)
        self.refusals: deque[str] = deque(maxlen=16)
        self.now = self._first()
        self._tried = self.now.bundle.folder
        self._fresh: Opened | None = None
        self._done_with: deque[Opened] = deque()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    def __enter__(self) -> "ModelWatch":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(_LEAVE_WITHIN_S)
        with self._lock:
            for opened in (self._fresh, *self._done_with, self.now):
                if opened is not None:
                    opened.close()

    def check(self) -> None:
        """Raises what ended the thread, if it ended."""
        if self._failure:
            raise ModelWatchError("the thread that opens the next model stopped") from self._failure

    def take(self) -> Opened | None:
        """The next model, once it is ready; from now on it is `now`. For the loop, between two parts; waits for nothing."""
        fresh = self._fresh
        if fresh is None:
            return None
        with self._lock:
            self._done_with.append(self.now)
            self.now, self._fresh = fresh, None
        return fresh

    def recover(self, now_s: float) -> Opened | None:
        """After an inference that failed: the same bundle opened anew, which is `now` from here on; None where nothing failed.

        For the loop, between two parts; parts that come meanwhile are rejected. Raises InferenceError where nothing helps.
        """
        if not self.now.model.lost:
            return None
        folder, why = self.now.bundle.folder, self.now.model.lost.popleft()
        self.now.close()  # an accelerator may have no room for two
        self.now = self.ladder.reopen(why, lambda runtime: open_from(folder, self._runtime_name, runtime, self._here), now_s)
        return self.now

    def _first(self) -> Opened:
        tried = self._named.resolve()
        try:
            return self._open_first(self._named)
        except (BundleError, InferenceError) as e:
            if self._named.resolve() != tried:  # another one was installed meanwhile
                return self._open_first(self._named)
            slot = active_slot(self._named) if self._may_go_back else None
            try:
                before = slot.previous if slot is not None else None
            except OSError:
                before = None
            if before is None:
                raise
            try:
                opened = self._open_first(before.bundle)
            except (BundleError, InferenceError):
                raise e from None  # neither runs: the file, the runtime or the device is wrong, not the bundle
            self._go_back(str(e), tried)
            return opened

    def _open_first(self, folder: Path) -> Opened:
        return self.ladder.open_first(lambda runtime: open_from(folder, self._runtime_name, runtime, self._here))

    def _run(self) -> None:
        try:
            while not self._stop.wait(_LOOK_EVERY_S):
                self._look()
        except Exception as e:  # noqa: BLE001 - raised in the loop by check()
            self._failure = e

    def _look(self) -> None:
        while self._done_with:
            self._done_with.popleft().close()
        named = self._named.resolve()
        if named == self._tried or self._fresh is not None:
            return
        self._tried = named
        if named == self.now.bundle.folder:
            return
        log.info("bundle %s is opened beside the one that runs", named)
        try:
            fresh = open_from(named, self._runtime_name, self.ladder.runtime, self._here)
        except (BundleError, InferenceError) as e:
            if self._go_back(str(e), named, Slot(self.now.bundle.folder.parent)):
                self._tried = self.now.bundle.folder
            return
        with self._lock:
            self._fresh = fresh

    def _go_back(self, why: str, tried: Path, to: Slot | None = None) -> bool:
        """Whether there is a bundle from before, which the pointer names again now. tried: the pointer may name another
        one by now, which nobody has opened yet. to: the slot that runs; the one before `tried` where nothing runs yet."""
        slot = active_slot(self._named)
        if to is not None and slot is not None:  # by the pointer's own path, which a link may be part of
            is_installed = to.folder.parent == slot.folder.parent.resolve()
            to = Slot(slot.folder.with_name(to.folder.name)) if is_installed else None
        went = False
        if slot is not None and slot.bundle.resolve() == tried:
            try:
                roll_back(slot.state, bad=slot, to=to)
                went = True
            except (BundleError, AlreadyRunningError, OSError) as e:
                why = f"{why}; and the pointer could not be put back: {e}"
        log.error("the new bundle is refused%s: %s", ", the one before is active again" if went else "", why)
        self.refusals.append(why)
        return went
