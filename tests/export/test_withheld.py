"""An artefact of lower precision that cannot be made is withheld with the reason; the others ship without it."""

import errno
import shutil
import tempfile
from pathlib import Path

import pytest

from agent.bundle import open_bundle
from export.artifact import reference_of
from export.export_command import PRECISIONS
from export.lower import Lowered, lower
from training.methods.patchcore import PatchCore
from training.run import Run

pytestmark = pytest.mark.timeout(240)  # graphs are traced, on a machine that others use

TRIED = {"openvino-f16", "openvino-bf16", "openvino-int8", "onnx-int8"}


@pytest.fixture(autouse=True)
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that lets everything through, soon: the network is tiny and knows nothing."""
    for name, limit in (("MOST_TIME", 1e9), ("MOST_SHIFT", 9.0), ("MOST_FLIPS", 1.0), ("LEAST_SPEARMAN", -1.0)):
        monkeypatch.setattr(f"export.gate.{name}", limit)
    monkeypatch.setattr("export.gate.MOST_AUPRO_CHANGE", 100.0)
    monkeypatch.setattr("export.gate.LEAST_LOW_MACS", 0.0)
    monkeypatch.setattr("export.ptq_images.VIEWS", 12)
    monkeypatch.setattr(PatchCore, "searches", (16,))


@pytest.fixture
def folder(bundle_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(bundle_folder, tmp_path / "bundle")


def lowered(run: Run, folder: Path, *precisions: str) -> Lowered:
    return lower(run, folder, open_bundle(folder).manifest.artifacts, reference_of(run), precisions)


@pytest.mark.parametrize(
    ("broken", "lost"),
    [
        ("export.lower.to_openvino", ["openvino-f16"]),
        ("export.mix.to_openvino_bf16", ["openvino-bf16", "openvino-int8"]),
        ("export.lower.Quantizer", ["openvino-int8", "onnx-int8"]),
        ("export.lower.bench_of", ["openvino-f16", "openvino-bf16", "openvino-int8", "onnx-int8"]),
    ],
)
def test_a_converter_that_gives_up_costs_its_artefacts_and_not_the_others(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, broken: str, lost: list[str]
) -> None:
    def give_up(*given: object, **options: object) -> None:
        raise AttributeError(f"{given[-1]}:\n  no <such> node")

    monkeypatch.setattr(broken, give_up)

    found = lowered(run, folder, *PRECISIONS)

    assert [w.name for w in found.withheld] == lost
    assert {a.name for a in found.artifacts} == TRIED - set(lost)
    assert all(w.reason.startswith("could not be made: ") and "\n" not in w.reason for w in found.withheld)
    assert tempfile.gettempdir() not in "".join(w.reason for w in found.withheld)  # a bundle says nothing of this machine


def test_a_file_that_its_runtime_cannot_open_is_withheld(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.lower.to_openvino", lambda graph, file, half_weights: file.write_text("<net version='99'/>"))

    found = lowered(run, folder, "f16")

    assert found.artifacts == ()
    assert "model.f16.xml: refused before any runtime opened it" in found.withheld[0].reason
    assert not (folder / "artifacts/model.f16.xml").exists()


def test_a_disk_that_is_full_is_no_reason_to_withhold(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("export.lower.to_openvino", full)

    with pytest.raises(OSError, match="No space left"):
        lowered(run, folder, "f16")
