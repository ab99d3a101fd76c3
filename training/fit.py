"""A recipe and photographs of good parts to a RUN."""

import importlib.metadata
import platform
from contextlib import ExitStack
from pathlib import Path

import cv2
import msgspec

from agent.calibration import calibrate
from agent.drivers import SectionError
from agent.preprocess import InputContract, prepare
from agent.tiled import tiled
from agent.watch import WHOLE, Usual, look_of, usual_of
from training.checkpoints import checkpoints_of
from training.data import GoodParts, good_parts, input_contract, load_depth, load_original, load_original_depth, refuse_bad_depth
from training.golden import write_golden
from training.graph import Deployed, TorchRuntime
from training.methods import CPU, MethodConfig, Parts
from training.pretrained import Provenance, Stated, load_backbone
from training.processes import best_device, is_first, wait_for_all
from training.progress import Progress
from training.recipe import Recipe
from training.region import check_region, region
from training.rows_file import rows_file
from training.run import (
    CALIBRATION,
    CALIBRATION_DEPTH,
    Record,
    UsedFile,
    method_config,
    read_record,
    refuse_existing,
    seal,
    unfinished,
    write_model,
)


def fit(recipe: Recipe, progress: Progress, overwrite: bool = False, resume: bool = False) -> Record:
    """Writes the RUN `recipe.out` and gives its record. A gradient method keeps its state in OUT.checkpoint until it is done.

    Of several processes (training/processes.py) the first alone writes, the others wait for it.
    Raises SectionError (path into the recipe), DataError, BackboneError, WeightsError, RunError, CalibrationError.
    """
    out = Path(recipe.out)
    refuse_existing(out, overwrite)
    config = method_config(recipe.method, recipe.settings)
    stated = Stated(recipe.backbone_options, recipe.mean, recipe.std)
    wanted = recipe.backbone or config.suited
    backbone, provenance = load_backbone(wanted, recipe.weights, recipe.seed, stated, config.levels)
    parts = good_parts(Path(recipe.data), recipe.seed, progress)
    used = (*parts.train, *parts.calibration)
    size = recipe.image_size or config.image_size
    _refuse_tiles(recipe, config.tileable, size)
    contract = input_contract(used, size, recipe.fit, config.depth, recipe.tiles)
    if recipe.roi is not None:
        contract = msgspec.structs.replace(contract, roi=region(recipe.roi, used))
        check_region(contract)
    refuse_bad_depth(used, contract, progress)
    data_sha256 = parts.data_sha256(contract.depth)
    deployed = Deployed(config.build(backbone, recipe.seed), provenance.mean, provenance.std, contract)
    with checkpoints_of(out, _decides(recipe, config, provenance, data_sha256, contract), resume) as checkpoints:
        wait_for_all()  # nobody goes on from a checkpoint that the first process has not approved
        device = best_device()
        deployed.to(device)
        deployed.method.fit(Parts(parts.train, contract, deployed.normalize, device), progress, checkpoints)
        deployed.to(CPU)
        if not is_first():
            wait_for_all()
            return read_record(out)
        with unfinished(out, overwrite) as folder:
            scores, usual = _held_out(parts, deployed, contract, folder, progress)
            golden = parts.calibration[:4]
            golden_depths = [load_original_depth(p, contract) for p in golden]
            write_golden(folder, [load_original(p, contract) for p in golden], golden_depths, recipe.seed)
            write_model(folder, deployed)
            record = seal(folder, _record(recipe, provenance, contract, parts, data_sha256, scores, usual))
        wait_for_all()
        return record


def _decides(recipe: Recipe, config: MethodConfig, provenance: Provenance, data_sha256: str, contract: InputContract) -> bytes:
    """All that decides the result, by content: the same however the fit was typed and wherever its files lie."""
    of_recipe = (recipe.method, config, recipe.seed, recipe.false_reject_rate)
    of_weights = (provenance.network, provenance.options, provenance.sha256, provenance.mean, provenance.std)
    return msgspec.json.encode((of_recipe, of_weights, data_sha256, contract), order="sorted")


def _held_out(
    parts: GoodParts, deployed: Deployed, contract: InputContract, folder: Path, progress: Progress
) -> tuple[list[float], Usual]:
    """Raw scores of the parts held out, and how they look within the region; their inputs are kept in the folder."""
    runtime, scores, looks = tiled(TorchRuntime(deployed), contract), [], []
    within = WHOLE if contract.roi is None else contract.roi.box
    shape = (len(parts.calibration), contract.height, contract.width)
    with ExitStack() as stack:
        keep = stack.enter_context(rows_file(folder / CALIBRATION, (*shape, 3), "uint8"))
        keep_depth = stack.enter_context(rows_file(folder / CALIBRATION_DEPTH, shape, "float32")) if contract.depth else None
        for part in progress.track(parts.calibration, "calibration"):
            original = load_original(part, contract)
            looks.append(look_of(original, within))
            image, depth = prepare(original, contract), None
            keep(image)
            if keep_depth is not None:
                depth = load_depth(part, contract)
                keep_depth(depth)
            scores.append(runtime.infer(image, depth)[0])
    return scores, usual_of(looks, within)


def _refuse_tiles(recipe: Recipe, tileable: bool, size: int) -> None:
    """Raises SectionError where the method or the size of a tile does not allow them."""
    if recipe.tiles is None:
        return
    if not tileable:
        raise SectionError(
            f"{recipe.method} judges the whole picture, it cannot be cut: patchcore, stfpm or fastflow can", "tiles"
        )
    if size % 32 or size < 64:
        raise SectionError(f"{size} px is no size for a tile, expected a multiple of 32 px, at least 64", "image_size")


def _record(
    recipe: Recipe,
    provenance: Provenance,
    contract: InputContract,
    parts: GoodParts,
    data_sha256: str,
    scores: list[float],
    usual: Usual,
) -> Record:
    data = Path(recipe.data)
    used = [UsedFile(role, p.path.relative_to(data).as_posix(), p.sha256) for role, of_role in parts.by_role for p in of_role]
    return Record(
        method=recipe.method,
        settings=recipe.settings,
        backbone=provenance.network,
        weights=provenance.source,
        weights_sha256=provenance.sha256,
        mean=provenance.mean,
        std=provenance.std,
        input=contract,
        seed=recipe.seed,
        data=str(data.resolve()),
        data_sha256=data_sha256,
        files=tuple(used),
        calibration=calibrate(scores, recipe.false_reject_rate),
        versions=_versions(),
        backbone_options=provenance.options,
        weights_licence=provenance.licence,
        usual=usual,
        left_out=tuple(duplicate.relative_to(data).as_posix() for duplicate, _ in parts.duplicates),
    )


def _versions() -> dict[str, str]:
    """Of everything that shapes the numbers."""
    found = {"python": platform.python_version(), "opencv": cv2.__version__}
    for package in ("kensa", "numpy", "timm", "torch"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
