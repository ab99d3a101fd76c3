"""The models of a line: one for each bundle that a camera is judged by, which several cameras may share."""

from collections.abc import Iterator
from contextlib import ExitStack

from agent.config import Line
from agent.model import Here
from agent.serving.model_watch import ModelWatch, Opened


class Models:
    """Open, warm and proved. may_go_back: as in ModelWatch. Raises BundleError, InferenceError where one of them cannot run."""

    def __init__(self, line: Line, may_go_back: bool = True) -> None:
        self._own = line.bundle
        self._bundle_of = {camera: line.bundle_of(camera) for camera in line.cameras}
        here = Here(line.state, line.sensitivity)
        with ExitStack() as stack:
            self._watches = {
                bundle: stack.enter_context(ModelWatch(bundle, line.runtime_name, line.runtime, here, may_go_back))
                for bundle in dict.fromkeys((line.bundle, *self._bundle_of.values()))
            }
            self._opened = stack.pop_all()

    def close(self) -> None:
        self._opened.close()

    @property
    def own(self) -> Opened:
        """Of the line's own bundle."""
        return self._watches[self._own].now

    @property
    def of_cameras(self) -> dict[str, Opened]:
        """What each camera's photographs are judged by now."""
        return {camera: self._watches[bundle].now for camera, bundle in self._bundle_of.items()}

    @property
    def each(self) -> list[Opened]:
        return [watch.now for watch in self._watches.values()]

    @property
    def trouble(self) -> str:
        """Why a model does not run where it should, empty where all do."""
        return "; ".join(filter(None, (watch.ladder.trouble for watch in self._watches.values())))

    def check(self) -> None:
        """Raises what ended a thread, if one ended."""
        for watch in self._watches.values():
            watch.check()

    def renew(self, now_s: float) -> bool:
        """Whether another model judges from here on: a newly installed one that is ready, or one that failed and was opened anew.

        For the loop, between two parts. Raises InferenceError where nothing helps.
        """
        renewed = [watch.recover(now_s) or watch.take() for watch in self._watches.values()]
        return any(opened is not None for opened in renewed)

    def news(self) -> Iterator[tuple[str, str]]:
        """What people should know of, once: the alert's name, and its words."""
        for watch in self._watches.values():
            while watch.refusals:
                yield "bundle-refused", watch.refusals.popleft()
            while watch.ladder.news:
                yield "runtime", watch.ladder.news.popleft()
