"""The next model is opened beside the one that runs, and taken over when the loop asks for it."""

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from small_bundle import edit_manifest
from waiting import wait_until

from agent.bundle import BundleError, open_bundle
from agent.model import Here
from agent.runtimes import InferenceError, Runtime
from agent.runtimes.onnxruntime import Config
from agent.serving.model_watch import ModelWatch
from agent.serving.slots import install, pointer, roll_back


@pytest.fixture
def newer(own_bundle: Path) -> Path:
    edit_manifest(own_bundle, lambda manifest: manifest.update(name="newer"))
    return own_bundle


@pytest.fixture
def wrong(small_bundle: Path, tmp_path: Path) -> Path:
    """It passed its trial in another process; here it scores otherwise."""
    folder = shutil.copytree(small_bundle, tmp_path / "wrong")
    edit_manifest(folder, lambda manifest: manifest["artifacts"][0].update(golden_raw=[0.9, 0.1]))
    return folder


def put(bundle: Path, state: Path) -> None:
    install(bundle, state, lambda bundle: None)


@pytest.fixture
def watch(state: Path, small_bundle: Path) -> Iterator[ModelWatch]:
    put(small_bundle, state)
    with ModelWatch(pointer(state), "onnxruntime", Config(threads=1)) as watch:
        yield watch


def test_without_a_new_bundle_there_is_nothing_to_take(watch: ModelWatch) -> None:
    assert watch.take() is None
    assert watch.now.judge.model == "small"


def test_a_newly_installed_bundle_is_taken_once(watch: ModelWatch, newer: Path, state: Path) -> None:
    put(newer, state)
    taken = []
    wait_until(lambda: (fresh := watch.take()) is not None and taken.append(fresh) is None, 20)

    assert [one.judge.model for one in taken] == ["newer"]
    assert watch.now is taken[0]
    assert watch.take() is None


def test_m4_m6_a_bundle_that_cannot_be_opened_here_is_told_of_and_the_pointer_goes_back(
    watch: ModelWatch, wrong: Path, state: Path
) -> None:
    put(wrong, state)
    wait_until(lambda: watch.refusals, 20)

    assert "at export" in watch.refusals[0]
    assert open_bundle(pointer(state)).manifest.bundle_id == watch.now.judge.bundle_id
    assert watch.take() is None


def test_a_bundle_that_was_refused_does_not_keep_the_next_one_away(
    watch: ModelWatch, wrong: Path, newer: Path, state: Path
) -> None:
    put(wrong, state)
    wait_until(lambda: watch.refusals, 20)

    put(newer, state)

    wait_until(lambda: watch.take() is not None, 20)
    assert watch.now.judge.model == "newer"


class Visited:
    """A runtime's section; before it opens the next model somebody installs this bundle, once."""

    def __init__(self, state: Path) -> None:
        self.brought: list[Path] = []
        self._state = state

    def open(self, file: Path, cache: Path | None = None) -> AbstractContextManager[Runtime]:
        while self.brought:
            put(self.brought.pop(), self._state)
        return Config(threads=1).open(file, cache)

    def on_cpu(self) -> None:
        return None


def test_a_bundle_installed_while_the_one_before_is_refused_is_opened(
    small_bundle: Path, wrong: Path, newer: Path, state: Path
) -> None:
    put(small_bundle, state)
    runtime = Visited(state)
    with ModelWatch(pointer(state), "onnxruntime", runtime) as watch:
        runtime.brought.append(newer)
        put(wrong, state)

        wait_until(lambda: watch.take() is not None, 20)

        assert watch.now.judge.model == "newer"
        assert len(watch.refusals) == 1


def test_a_bundle_installed_while_a_station_refuses_the_one_it_starts_with_is_opened_at_once(
    small_bundle: Path, wrong: Path, newer: Path, state: Path
) -> None:
    put(small_bundle, state)
    put(wrong, state)
    runtime = Visited(state)
    runtime.brought.append(newer)

    with ModelWatch(pointer(state), "onnxruntime", runtime) as watch:
        assert watch.now.judge.model == "newer"


def test_m6_a_station_whose_new_bundle_does_not_run_starts_with_the_one_before(
    small_bundle: Path, wrong: Path, state: Path
) -> None:
    put(small_bundle, state)
    put(wrong, state)

    with ModelWatch(pointer(state), "onnxruntime", Config(threads=1)) as watch:
        assert watch.now.judge.bundle_id == open_bundle(small_bundle).manifest.bundle_id
        assert len(watch.refusals) == 1


def test_a_first_bundle_that_does_not_run_is_an_error(wrong: Path, state: Path) -> None:
    put(wrong, state)

    with pytest.raises(BundleError, match="at export"):
        ModelWatch(pointer(state), "onnxruntime", Config(threads=1))


def test_a_folder_that_is_not_the_pointer_is_never_rolled_back(wrong: Path) -> None:
    with pytest.raises(BundleError, match="at export"):
        ModelWatch(wrong, "onnxruntime", Config(threads=1))


def put_versions(small_bundle: Path, state: Path, *limits: tuple[float, float]) -> None:
    """v1, v2 ..., each with its own limits of the sensitivity; the last one is active."""
    for n, (low, high) in enumerate(limits, start=1):
        folder = shutil.copytree(small_bundle, state / f"v{n}")
        edit_manifest(
            folder, lambda manifest, n=n, low=low, high=high: manifest.update(name=f"v{n}", sensitivity_limits=[low, high])
        )
        put(folder, state)


def active(state: Path) -> str:
    return open_bundle(pointer(state)).manifest.name


NARROW, WIDE = (-0.2, 0.5), (-0.2, 0.7)


def test_a_sensitivity_that_no_bundle_allows_is_an_error_and_the_pointer_stays(small_bundle: Path, state: Path) -> None:
    put_versions(small_bundle, state, NARROW, NARROW, NARROW)

    with pytest.raises(BundleError, match=r"v3|0003.*sensitivity 0\.6"):
        ModelWatch(pointer(state), "onnxruntime", Config(threads=1), Here(state, 0.6))

    assert active(state) == "v3"


class Away:
    """A runtime's section; its device is not there."""

    def open(self, file: Path, cache: Path | None = None) -> AbstractContextManager[Runtime]:
        raise InferenceError("the device is not there")

    def on_cpu(self) -> None:
        return None


def test_a_device_that_is_away_is_an_error_and_the_pointer_stays(small_bundle: Path, state: Path) -> None:
    put_versions(small_bundle, state, NARROW, NARROW)

    with pytest.raises(InferenceError, match="is not there"):
        ModelWatch(pointer(state), "onnxruntime", Away())

    assert active(state) == "v2"


def test_a_roll_back_to_a_bundle_that_is_refused_leads_to_the_one_that_runs(small_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    state = tmp_path / "linked"
    state.symlink_to(tmp_path / "disk")
    put_versions(small_bundle, state, WIDE, NARROW, WIDE)
    with ModelWatch(pointer(state), "onnxruntime", Config(threads=1), Here(state, 0.6)) as watch:
        roll_back(state)
        wait_until(lambda: watch.refusals, 20)
        wait_until(lambda: active(state) != "v2")

        assert (active(state), watch.now.judge.model, watch.take()) == ("v3", "v3", None)


def test_what_may_not_go_back_is_an_error_and_the_pointer_stays(small_bundle: Path, state: Path) -> None:
    put_versions(small_bundle, state, WIDE, NARROW)

    with pytest.raises(BundleError, match="sensitivity"):
        ModelWatch(pointer(state), "onnxruntime", Config(threads=1), Here(state, 0.6), may_go_back=False)

    assert active(state) == "v2"
