"""What runtimes compiled is kept within bounds, that of each model apart."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from small_bundle import edit_manifest

from agent.bundle import open_bundle, sha256
from agent.model import Here, open_model
from agent.runtimes import Runtime, onnxruntime
from agent.serving.compiled import FOLDER, compiled_folder


@pytest.mark.parametrize(("most", "left"), [(100, {"0", "1", "2"}), (25, {"1", "2"}), (10, {"2"}), (0, set())])
def test_the_oldest_files_of_all_models_go_until_the_rest_is_within_bounds(tmp_path: Path, most: int, left: set[str]) -> None:
    folders = [compiled_folder(tmp_path, model) for model in ("one", "other", "one")]
    for k, folder in enumerate(filter(None, folders)):
        (folder / str(k)).write_bytes(bytes(10))
        os.utime(folder / str(k), (k, k))

    compiled_folder(tmp_path, "third", most_bytes=most)

    assert {file.name for folder in filter(None, folders) for file in folder.iterdir()} == left


def test_a_disk_that_takes_nothing_costs_time_and_not_the_start(small_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / FOLDER).touch()  # in the way, as a full or a read-only disk would be
    bundle, runtime = open_bundle(small_bundle), Remembering()

    with open_model(bundle, bundle.artifact_for(["onnxruntime"]), runtime, Here(tmp_path)):
        pass

    assert runtime.caches == [None]


def test_a_model_that_was_trained_again_never_finds_what_was_compiled_of_the_one_before(
    small_bundle: Path, own_bundle: Path, tmp_path: Path
) -> None:
    trained_again = own_bundle / "artifacts" / "model.onnx"
    trained_again.write_bytes(trained_again.read_bytes() + b"\x32\x00")  # an empty doc_string: the same graph in another file
    edit_manifest(own_bundle, lambda manifest: manifest["files"].update({"artifacts/model.onnx": sha256(trained_again)}))
    runtime = Remembering()

    for folder in (small_bundle, own_bundle, small_bundle):
        bundle = open_bundle(folder)
        with open_model(bundle, bundle.artifact_for(["onnxruntime"]), runtime, Here(tmp_path)):
            pass

    first, other, again = runtime.caches
    assert first == again != other


@dataclass(frozen=True)
class Remembering:
    """ONNX Runtime's section; caches: the folder that each model was opened with."""

    caches: list[Path | None] = field(default_factory=list)

    @contextmanager
    def open(self, file: Path, cache: Path | None = None) -> Iterator[Runtime]:
        self.caches.append(cache)
        with onnxruntime.Config(threads=1).open(file) as opened:
            yield opened

    def on_cpu(self) -> None:
        return None
