"""Artefacts of lower precision, from a small RUN: what ships, what is withheld, and what the bundle says of both."""

import re
import shutil
from pathlib import Path

import msgspec
import onnx
import openvino
import pytest

from agent.bundle import Manifest, open_bundle
from agent.drivers import section
from agent.model import open_model
from export.artifact import reference_of
from export.executed import of_products, share
from export.export_command import PRECISIONS, describe
from export.layers import layers
from export.lower import lower
from export.pack import export
from training.methods.patchcore import PatchCore
from training.run import Run

pytestmark = pytest.mark.timeout(240)  # a graph is traced twice and 300 views are looked at, on a machine that others use

TRIED = {"openvino-f16", "openvino-bf16", "openvino-int8", "onnx-int8"}
CPU_HAS_BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def open_gate(patch: pytest.MonkeyPatch) -> None:
    for name, limit in (("MOST_TIME", 1e9), ("MOST_SHIFT", 9.0), ("MOST_FLIPS", 1.0), ("LEAST_SPEARMAN", -1.0)):
        patch.setattr(f"export.gate.{name}", limit)
    patch.setattr("export.gate.MOST_AUPRO_CHANGE", 100.0)
    patch.setattr("export.gate.LEAST_LOW_MACS", 0.0)  # the processor may have no bfloat16


@pytest.fixture(scope="module")
def lenient(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose gate lets everything through that can be made: the network is tiny and knows nothing."""
    with pytest.MonkeyPatch.context() as patch:
        open_gate(patch)
        export(run, out := tmp_path_factory.mktemp("lowered") / "bundle", "plate", PRECISIONS)
    return out


def manifest(folder: Path) -> Manifest:
    return open_bundle(folder).manifest


def test_every_precision_is_tried_and_float_comes_first(lenient: Path) -> None:
    names = [artifact.name for artifact in manifest(lenient).artifacts]

    assert names[:2] == ["onnx-f32", "openvino-f32"]
    assert set(names[2:]) == TRIED
    assert manifest(lenient).withheld == ()


@pytest.mark.parametrize("name", sorted(TRIED))
def test_each_artefact_has_its_own_threshold_and_passes_its_self_test(lenient: Path, name: str) -> None:
    bundle = open_bundle(lenient)
    (artifact,) = (a for a in bundle.manifest.artifacts if a.name == name)
    (float32,) = (a for a in bundle.manifest.artifacts if a.runtime == artifact.runtime and a.precision == "f32")

    with open_model(bundle, artifact, section("agent.runtimes", {"type": artifact.runtime})):  # opening it is the self-test
        pass

    assert artifact.calibration.threshold != float32.calibration.threshold
    assert artifact.gate is not None
    assert artifact.gate.images == 12  # 6 good parts held out, each damaged too


def test_openvino_itself_says_that_all_layers_are_integer(lenient: Path) -> None:
    compiled = openvino.Core().compile_model(lenient / "artifacts/model.int8.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = [
        node.get_rt_info()["runtimePrecision"].astype(str)
        for node in compiled.get_runtime_model().get_ops()
        if node.get_rt_info()["layerType"].astype(str) == "Convolution"
    ]

    assert len(found) == len(layers(onnx.load(lenient / "artifacts/model.onnx")))
    assert set(found) <= {"u8", "i8"}


@pytest.mark.parametrize(("name", "most"), [("openvino-int8", 1.0), ("onnx-int8", 0.99)], ids=["and the search", "of layers"])
def test_the_share_of_integer_work_is_all_products_that_the_runtime_can(lenient: Path, name: str, most: float) -> None:
    (artifact,) = (a for a in manifest(lenient).artifacts if a.name == name)

    assert artifact.gate is not None
    assert most - 0.01 < artifact.gate.low_macs <= most  # the search in fifty vectors is a hundredth
    assert artifact.parity.executed_precision == f"int8 {100 * artifact.gate.low_macs:.0f} %, f32"


def test_onnxruntime_computes_a_float_file_without_integers(lenient: Path) -> None:
    graph, quantized = lenient / "artifacts/model.onnx", lenient / "artifacts/model.int8.onnx"

    assert share(graph, graph, "onnxruntime", "int8") == 0.0
    assert share(graph, quantized, "onnxruntime", "int8") > 0.95


def test_the_search_is_low_where_the_processor_can_and_what_it_finds_is_measured_in_float32(lenient: Path) -> None:
    compiled = openvino.Core().compile_model(lenient / "artifacts/model.bf16.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    nodes = [
        (
            node.get_rt_info()["layerType"].astype(str),
            tuple(node.get_output_shape(0)),
            node.get_rt_info()["runtimePrecision"].astype(str),
        )
        for node in compiled.get_runtime_model().get_ops()
        if node.get_output_size() == 1
    ]
    products = [(shape, precision) for kind, shape, precision in nodes if kind == "FullyConnected"]
    differences = {precision for kind, shape, precision in nodes if kind == "Subgraph" and shape == (1, 8, 64, 384)}

    low = "bf16" if CPU_HAS_BF16 else "f32"
    assert sorted(products) == sorted([((1, 32, 64), low), ((64, 50), low)])  # candidates and whole groups; patches and vectors
    assert differences == {"f32"}  # of the farthest patches to all vectors of the nearest groups
    assert set(of_products(lenient / "artifacts/model.xml").values()) == {"f32"}


def test_views_and_their_photographs_are_in_the_manifest(lenient: Path, run: Run) -> None:
    found = manifest(lenient).ptq

    assert found is not None
    assert found.views == 300
    assert len(found.photographs) == manifest(lenient).provenance.n_train == 6


def test_quantized_files_can_be_read_by_any_onnx_runtime(lenient: Path) -> None:
    model = onnx.load(lenient / "artifacts/model.int8.onnx")

    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    assert "QuantizeLinear" in {node.op_type for node in model.graph.node}


def test_what_fails_the_gate_is_tried_with_more_in_float_and_then_absent_with_the_figures_that_say_why(
    run: Run, bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    islands = tuple(f"backbone.network.{module}" for module in ("conv1", "layer1", "layer2"))
    monkeypatch.setattr(PatchCore, "float_islands", islands)  # what is left has two blocks
    monkeypatch.setattr("export.gate.MOST_SHIFT", 0.0)
    monkeypatch.setattr("export.lower.LEAST_LOW_MACS", 0.0)
    monkeypatch.setattr("export.widen.LEAST_LOW_MACS", 0.0)
    monkeypatch.setattr("export.widen._WIDENED", (0, 1))
    monkeypatch.setattr("export.ptq_images.VIEWS", 12)  # it is refused anyway
    caplog.set_level("INFO", logger="export")
    folder = shutil.copytree(bundle_folder, tmp_path / "bundle")
    floats = manifest(folder).artifacts

    found = lower(run, folder, floats, reference_of(run), ["int8"])

    assert found.artifacts == ()
    assert [(w.name, w.precision) for w in found.withheld] == [("openvino-int8", "int8"), ("onnx-int8", "int8")]
    assert all("% of the range, at most 0 % allowed" in w.reason for w in found.withheld)
    assert all(w.gate is not None and w.gate.worst_shift > 0 for w in found.withheld)
    assert not list((folder / "artifacts").glob("*int8*"))
    assert sorted(re.findall(r"(\S+) \d+\.\d+(?:,|\n)", caplog.text.split("sensitivity to int8: ")[1].split("INFO")[0])) == [
        "backbone.network.layer3.0",
        "backbone.network.layer3.1",
    ]
    assert re.findall(r"(\S+), (\d) blocks in bfloat16, (\d) in float", caplog.text) == [
        ("bits", "0", "5"),  # openvino-int8 of 7 bits
        ("openvino-int8", "0", "5"),  # the island: conv1 and two blocks each of layer1 and layer2
        ("openvino-int8", "1", "5"),
        ("openvino-int8", "0", "6"),  # float32, bfloat16 having been refused
        ("onnx-int8", "0", "7"),  # and both products with the bank; ONNX Runtime has no bfloat16 beside INT8
        ("onnx-int8", "0", "8"),
    ]
    assert "onnx-int8: withheld: " in describe(msgspec.structs.replace(manifest(folder), withheld=found.withheld))


def test_a_bundle_says_which_blocks_are_in_bfloat16_beside_int8_and_which_in_float(
    run: Run, bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_gate(monkeypatch)
    monkeypatch.setattr(PatchCore, "bf16_islands", ("backbone.network.layer1",))
    monkeypatch.setattr("export.widen._WIDENED", (1,))  # and one block more, as if the gate had refused it
    monkeypatch.setattr("export.widen.Sensitivity.ranked", ["backbone.network.layer2.0"])
    monkeypatch.setattr("export.ptq_images.VIEWS", 12)
    folder = shutil.copytree(bundle_folder, tmp_path / "bundle")
    floats = manifest(folder).artifacts

    found = lower(run, folder, floats, reference_of(run), ["int8"])

    beside = ("backbone.network.layer1.0", "backbone.network.layer1.1", "backbone.network.layer2.0")
    records = {artifact.name: artifact.gate for artifact in found.artifacts}
    assert {name: (record.bf16_layers, record.float_layers) for name, record in records.items() if record is not None} == {
        "openvino-int8": (beside, ()),
        "onnx-int8": ((), (*beside, "search", "search.ranking.product")),
    }
    told = describe(msgspec.structs.replace(manifest(folder), artifacts=(*floats, *found.artifacts)))
    assert f"in bfloat16 instead: {', '.join(beside)}" in told
    assert f"left in float: {', '.join(beside)}, search" in told
    shares = re.search(r"openvino-int8 +int8 (\d+) %, bf16 (\d+) %, f32 ", told)
    assert shares is not None
    assert (int(shares[1]) + int(shares[2]) in (99, 100)) is CPU_HAS_BF16  # all but the search in fifty vectors


def test_a_bundle_without_lower_precisions_says_nothing_of_them(bundle_folder: Path) -> None:
    assert manifest(bundle_folder).withheld == ()
    assert manifest(bundle_folder).ptq is None
    assert "against float32" not in describe(manifest(bundle_folder))


def test_a_tampered_int8_file_is_refused(lenient: Path, tmp_path: Path) -> None:
    spoiled = shutil.copytree(lenient, tmp_path / "spoiled")
    (spoiled / "artifacts/model.int8.onnx").write_bytes(b"")

    with pytest.raises(Exception, match=r"model\.int8\.onnx: sha256"):
        open_bundle(spoiled)


def test_a_method_whose_work_is_mostly_in_float_islands_is_not_even_tried(
    run: Run, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PatchCore, "float_islands", ("backbone", "search"))

    found = lower(run, bundle_folder, manifest(bundle_folder).artifacts, reference_of(run), ["int8"])

    assert found.ptq is None
    assert {w.name: w.reason for w in found.withheld} == dict.fromkeys(
        ("openvino-int8", "onnx-int8"), "0 % of the work may be in INT8, at least 50 % wanted"
    )


def test_weights_of_float16_are_not_told_as_a_computation_in_float16(lenient: Path) -> None:
    (half,) = (a for a in manifest(lenient).artifacts if a.name == "openvino-f16")
    kernels = {
        node.get_rt_info()["primitiveType"].astype(str)
        for node in openvino.Core()
        .compile_model(lenient / "artifacts/model.f16.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        .get_runtime_model()
        .get_ops()
        if node.get_rt_info()["layerType"].astype(str) == "Convolution"
    }

    assert {kernel.rpartition("_")[2] for kernel in kernels} == {"f32"}
    assert half.gate is not None
    assert (half.parity.executed_precision, half.gate.low_macs) == ("f32", 0.0)
