"""The search for candidates in exported graphs: how many columns it has, in which precision, and what that makes of the map."""

from pathlib import Path

import msgspec
import numpy as np
import onnx
import openvino
import pytest
import torch

from agent.bundle import open_bundle
from agent.drivers import section
from agent.roi import roi_of
from agent.tiles import Tiles
from export.artifact import reference_of
from export.executed import of_products
from export.layers import Layer, layers, maxima
from export.mix import Bfloat16, Int8, Mix
from export.quantize import Quantizer, inputs_of
from export.to_onnx import to_onnx
from export.to_openvino import to_openvino
from export.trial import _given, bench_of
from training.methods.patchcore import PatchCore
from training.run import Run

pytestmark = pytest.mark.timeout(240)  # graphs are traced, on a machine that others use

CPU_HAS_BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.fixture(scope="module")
def searching(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph that searches in 16 columns, of 384 dimensions, in a bank of fifty."""
    file, method = tmp_path_factory.mktemp("searching") / "searching.onnx", run.deployed.method
    method.search_in(16, run.deployed.normalize(torch.from_numpy(run.calibration_images[:2].copy())))
    to_onnx(run.deployed, run.record.input, file)
    method.search_exactly()
    return file


def search_of(file: Path) -> tuple[Layer, ...]:
    return tuple(layer for layer in layers(onnx.load(file)) if layer.block == "search")


def maps(file: Path, run: Run) -> np.ndarray:
    """The maps of some pictures."""
    with section("agent.runtimes", {"type": "openvino"}).open(file) as runtime:
        return np.stack([runtime.infer(image)[1] for image in run.calibration_images[:4]])


def scores(file: Path, run: Run) -> list[float]:
    with section("agent.runtimes", {"type": "openvino"}).open(file) as runtime:
        return [runtime.infer(image)[0] for image in run.calibration_images[:8]]


def test_a_narrow_search_learns_from_a_tile_that_is_looked_at(run: Run) -> None:
    contract = msgspec.structs.replace(
        run.record.input, width=128, tiles=Tiles(2, 1, size=64, step=64), roi=roi_of(np.array([[0, 255]], np.uint8))
    )
    limited = Run(run.folder, msgspec.structs.replace(run.record, input=contract), run.deployed)
    shown = run.calibration_images[0]

    given = _given(limited, [np.hstack([np.zeros_like(shown), shown])])

    assert torch.equal(given, run.deployed.normalize(torch.from_numpy(shown.copy())[None]))


def test_the_largest_product_is_found_in_the_precision_of_the_products(searching: Path, run: Run, tmp_path: Path) -> None:
    search = search_of(searching)
    graph = onnx.load(searching)

    file = Bfloat16(searching, run.deployed.method, tmp_path).write(Mix(search))

    names = maxima(graph, search)
    assert sorted(node.op_type for node in graph.graph.node if node.name in names) == ["Add", "ReduceMax"]  # of one chunk
    types = {op.get_friendly_name(): op.get_output_element_type(0) for op in openvino.Core().read_model(file).get_ops()}
    assert {types[name] for name in [*names, search[0].node]} == {openvino.Type.bf16}


def test_nothing_else_is_a_largest_product(searching: Path) -> None:
    graph = onnx.load(searching)

    assert maxima(graph, [layer for layer in layers(graph) if layer.block != "search"]) == []


def test_a_search_in_integers_gives_nearly_the_same_map(searching: Path, run: Run, tmp_path: Path) -> None:
    quantizer = Quantizer(searching, inputs_of(run.calibration_images, None), tmp_path)
    to_openvino(searching, tmp_path / "model.xml")

    file = Int8(searching, run.deployed.method, tmp_path, quantizer, "openvino").write(Mix(search_of(searching)))

    expected, found = maps(tmp_path / "model.xml", run), maps(file, run)
    assert {executed for name, executed in of_products(file).items() if name == search_of(searching)[0].node} == {"int8"}
    assert 0.97 < np.corrcoef(found.ravel(), expected.ravel())[0, 1] < 1.0  # 0.98; 0.93 if the results were rounded to a byte too


def test_what_is_measured_is_not_rounded_with_the_product_that_ranks(searching: Path, run: Run, tmp_path: Path) -> None:
    (ranking,) = (layer for layer in layers(onnx.load(searching)) if layer.block == "search.ranking.product")
    quantizer = Quantizer(searching, inputs_of(run.calibration_images, None), tmp_path)
    to_openvino(searching, tmp_path / "model.xml")

    file = Int8(searching, run.deployed.method, tmp_path, quantizer, "openvino").write(Mix((ranking,)))

    assert of_products(file)[ranking.node] == "int8"
    assert scores(file, run) == pytest.approx(scores(tmp_path / "model.xml", run), rel=1e-5)  # float32; 1e-3 if they were


def test_onnxruntime_searches_in_float_because_it_would_round_the_distances(searching: Path, run: Run, tmp_path: Path) -> None:
    quantizer = Quantizer(searching, inputs_of(run.calibration_images[:1], None), tmp_path)

    kinds = [Int8(searching, run.deployed.method, tmp_path, quantizer, runtime) for runtime in ("openvino", "onnxruntime")]

    blocks = [{layer.block for layer in kind.allowed} for kind in kinds]
    assert blocks[0] - blocks[1] == {"search", "search.ranking.product"}


@pytest.mark.parametrize(("most_change", "chosen"), [(100.0, 16), (-1.0, 384)], ids=["passes", "is refused"])
def test_candidates_are_searched_in_few_columns_if_that_alone_passes_the_gate_and_else_in_all(
    run: Run, bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_change: float, chosen: int
) -> None:
    limits = {"MOST_SHIFT": 9.0, "MOST_FLIPS": 1.0, "LEAST_SPEARMAN": -1.0, "MOST_AUPRO_CHANGE": most_change}
    [monkeypatch.setattr(f"export.gate.{name}", limit) for name, limit in limits.items()]
    monkeypatch.setattr(PatchCore, "searches", (16, 384))  # of 384 dimensions; a bank of fifty would not be worth it

    bench = bench_of(run, bundle_folder, tmp_path, open_bundle(bundle_folder).manifest.artifacts, reference_of(run))

    patches, vectors = 64, 50
    search = {layer.block: layer.macs for layer in layers(onnx.load(bench.searching))}["search"]
    assert search == patches * chosen * vectors
    assert run.deployed.method.search is None  # the run is as it was
