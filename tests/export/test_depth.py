"""A model that judges depth, from a fit to a bundle that a device opens."""

import shutil
from pathlib import Path

import pytest
from numpy.random import SeedSequence
from small_methods import recipe

from agent.bundle import BundleError, open_bundle
from agent.drivers import section
from agent.inspection import Fault
from agent.model import open_model
from agent.preprocess import prepare, prepare_depth, read_depth, read_image
from export.pack import export
from training.data import DataError
from training.fit import fit
from training.graph import TorchRuntime
from training.progress import Lines
from training.rendered_depth import draw_with_depth, write_depth_dataset
from training.run import open_run

SETTINGS = {"modality": "rgb+depth", "epochs": 2, "batch": 4, "teacher_width": 8, "student_width": 16}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deep")
    write_depth_dataset(folder, 0, train_good=12, test_good=1, defects_each=1, width=160, height=120)
    return folder


@pytest.fixture(scope="module")
def bundle_folder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    with (folder / "progress.txt").open("w") as stream:
        fit(recipe("ast", data, folder / "run", settings=SETTINGS), Lines(stream))
    export(open_run(folder / "run"), folder / "bundle", "deep")
    return folder / "bundle"


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_the_bundle_gives_what_torch_gives_and_proves_it_on_its_golden_pairs(
    bundle_folder: Path, data: Path, runtime: str
) -> None:
    bundle = open_bundle(bundle_folder)
    image, depth = read_image(data / "test/bulge/rgb/000.png"), read_depth(data / "test/bulge/xyz/000.tiff")
    trained = open_run(bundle_folder.parent / "run")

    with open_model(bundle, bundle.artifact_for([runtime]), section("agent.runtimes", {"type": runtime})) as model:
        found = model.read(image, depth)
        without = model.read(image)
        size = image.shape[1], image.shape[0]
        inputs = prepare(image, model.contract), prepare_depth(depth, size, model.contract)
        expected = TorchRuntime(trained.deployed).infer(*inputs)[0]

    assert bundle.manifest.input.depth
    assert not isinstance(found, Fault)
    assert abs(found.raw - expected) <= 1e-3 * model.calibration.scale  # the gate of the export
    assert isinstance(without, Fault)


def test_a_bundle_without_the_depth_of_a_golden_image_is_refused(bundle_folder: Path, tmp_path: Path) -> None:
    spoiled = shutil.copytree(bundle_folder, tmp_path / "spoiled")
    (spoiled / "reference" / "good_0.tiff").unlink()

    with pytest.raises(BundleError, match=r"good_0\.tiff: missing"):
        open_bundle(spoiled)


def test_photographs_without_depth_are_refused_before_anything_is_learned(dataset: Path, tmp_path: Path) -> None:
    with (tmp_path / "progress.txt").open("w") as stream, pytest.raises(DataError, match="expected the MVTec 3D-AD layout"):
        fit(recipe("ast", dataset, tmp_path / "run", settings=SETTINGS), Lines(stream))


def test_the_depth_of_a_bent_part_reaches_the_model(bundle_folder: Path) -> None:
    bundle = open_bundle(bundle_folder)
    _, flat = draw_with_depth(SeedSequence(5), None, 160, 120)
    part, bent = draw_with_depth(SeedSequence(5), "bulge", 160, 120)

    with open_model(bundle, bundle.artifact_for(["onnxruntime"]), section("agent.runtimes", {"type": "onnxruntime"})) as model:
        of_flat, of_bent = model.predict(part.image, flat).raw, model.predict(part.image, bent).raw

    assert of_flat != of_bent
