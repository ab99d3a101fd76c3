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
from agent.model import PLAIN, Here, Model, open_model
from agent.only_one import AlreadyRunningError
from agent.readings import Judge
from agent.runtimes import InferenceError, RuntimeConfig
from agent.serving.choice import chosen
from agent.serving.ladder import Ladder
from agent.serving.slots import active_slot, roll_back

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
    """named: the line's bundle, looked at once a second where it is the pointer of `kensa install`. Raises BundleError,
    InferenceError where there is nothing that can run."""

    def __init__(self, named: Path, runtime_name: str, runtime: RuntimeConfig, here: Here = PLAIN) -> None:
        self._named = named
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
        def first(runtime: RuntimeConfig) -> Opened:
            return open_from(self._named, self._runtime_name, runtime, self._here)

        tried = self._named.resolve()
        try:
            return self.ladder.open_first(first)
        except (BundleError, InferenceError) as e:
            if not self._go_back(str(e), tried) and self._named.resolve() == tried:
                raise
            return self.ladder.open_first(first)

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
            if self._go_back(str(e), named):
                self._tried = self.now.bundle.folder
            return
        with self._lock:
            self._fresh = fresh

    def _go_back(self, why: str, tried: Path) -> bool:
        """Whether there is a bundle from before, which the pointer names again now. tried: the pointer may name another
        one by now, which nobody has opened yet."""
        slot = active_slot(self._named)
        went = False
        if slot is not None and slot.bundle.resolve() == tried:
            try:
                roll_back(slot.state, bad=slot)
                went = True
            except (BundleError, AlreadyRunningError, OSError) as e:
                why = f"{why}; and the pointer could not be put back: {e}"
        log.error("the new bundle is refused%s: %s", ", the one before is active again" if went else "", why)
        self.refusals.append(why)
        return went
