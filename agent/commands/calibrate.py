"""`kensa calibrate`: a threshold for this device, from photographs of good parts that it judged itself."""

import argparse
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from agent.bundle import Artifact, Bundle, BundleError, depth_of, open_bundle, sha256
from agent.calibration import CalibrationError, calibrate, explain, least_rate
from agent.clock import utc_now
from agent.drivers import ConfigError, SectionError, section
from agent.model import MOST_DEVIATION, Model
from agent.owner import become_owner
from agent.preprocess import IMAGE_SUFFIXES, RefusedImageError, read_depth, read_image, to_8_bit
from agent.runtimes import InferenceError, RuntimeConfig
from agent.serving.compiled import compiled_folder
from agent.serving.local_calibration import LocalTable, artifact_sha256, keep
from agent.tiled import tiled
from agent.watch import what_is_wrong

_NAMED = 20  # photographs in one message


def calibrate_command(arguments: list[str]) -> int:
    """Makes the table of a bundle for this device: for each of its artefacts, or for the runtime that is named."""
    parser = argparse.ArgumentParser(
        prog="kensa calibrate",
        description=calibrate_command.__doc__,
        epilog="example: kensa calibrate bundles/cap --images good-parts --state state --runtime '{type: openvino, device: GPU}'",
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument(
        "--images", type=Path, required=True, help="folder of photographs of good parts, taken here; not those of the fit"
    )
    parser.add_argument("--state", type=Path, required=True, help="the station's state folder, as in its line.yaml")
    parser.add_argument(
        "--even-so",
        action="store_true",
        help="keep the table though more of these parts than it explains would be rejected by the bundle's own threshold",
    )
    parser.add_argument("--runtime", help="a runtime section as in line.yaml; all artefacts in their own runtime without it")
    chosen = parser.parse_args(arguments)
    become_owner(chosen.state)
    bundle = open_bundle(chosen.bundle)
    photographs = _photographs(chosen.images, bundle)
    _refuse_what_is_not_judged(chosen.images, photographs, bundle)
    made, refused, absent = 0, [], []
    for content in _sections(chosen.runtime, bundle):
        runtime: RuntimeConfig = section("agent.runtimes", content)
        for artifact in (one for one in bundle.manifest.artifacts if one.runtime == content["type"]):
            try:
                table = calibrated_on(bundle, artifact, runtime, photographs, chosen.state, chosen.even_so)
            except BundleError as e:  # one that gets no table says nothing of the others
                refused.append(str(e))
                continue
            except InferenceError as e:
                absent.append(f"{artifact.name} does not run here: {e}")
                continue
            computes_in = artifact.computes_in(table.executed_precision)
            print(f"{artifact.name} on {table.executed_on}, in {computes_in}: {keep(chosen.state, table)}")
            print(explain(table.calibration))
            made += 1
    if made:
        print("a line that runs takes this up when its model is next opened: at a start, by another recipe, after a failure")
    if refused:
        raise BundleError("; ".join([*refused, *absent]))
    if absent and (not made or chosen.runtime is not None):
        raise InferenceError("; ".join(absent))
    print(*(f"no table: {why}" for why in absent), sep="\n", end="\n" if absent else "")
    return 0


def _photographs(folder: Path, bundle: Bundle) -> list[Path]:
    """The different ones that lie in the folder itself: below it there may be defects, as in a data set's test/, and a copy
    vouches for nothing. Raises BundleError where there are none, and for one that the model learned from."""
    suffixes = IMAGE_SUFFIXES - {".tiff"} if bundle.manifest.input.depth else IMAGE_SUFFIXES  # .tiff: its depth
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such folder, expected photographs of good parts in it")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))
    different = {sha256(photograph): photograph for photograph in reversed(found)}
    if not different:
        raise BundleError(f"{folder}: expected photographs of good parts, found none in it (sub-folders are not looked into)")
    if learned := [p.name for digest, p in different.items() if bundle.manifest.photographs.get(digest) == "train"]:
        raise BundleError(
            f"{folder}: {len(learned)} of {len(different)} photographs are of those that the model learned from, which say "
            f"nothing of others: {', '.join(sorted(learned)[:5])}; take photographs of other good parts"
        )
    if len(different) < len(found):
        print(f"{len(found) - len(different)} left out, equal to another photograph")
    return sorted(different.values())


def _refuse_what_is_not_judged(folder: Path, photographs: list[Path], bundle: Bundle) -> None:
    """Raises BundleError for those that a station would take for faults: one black picture may become the threshold."""
    wrong = [f"{photograph.name} ({why})" for photograph in photographs if (why := _why_not_judged(photograph, bundle))]
    if wrong:
        more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise BundleError(
            f"{folder}: {len(wrong)} of {len(photographs)} photographs are of a kind that a station takes for faults and never "
            f"judges: {', '.join(wrong[:_NAMED])}{more}; remove them, or put light and camera right and take them again"
        )


def _why_not_judged(photograph: Path, bundle: Bundle) -> str:
    """Empty where a station would judge it."""
    contract, usual = bundle.manifest.input, bundle.manifest.usual
    try:
        image = to_8_bit(read_image(photograph), contract.white_level)
        contract.check(image.shape[1], image.shape[0])
    except RefusedImageError as e:
        return str(e).removeprefix(f"{photograph}: ")
    return "" if usual is None else what_is_wrong(image, usual)


def calibrated_on(
    bundle: Bundle, artifact: Artifact, runtime: RuntimeConfig, photographs: list[Path], state: Path, even_so: bool = False
) -> LocalTable:
    """The table of this artefact where the runtime computes here. even_so: whatever the bundle's own threshold says of these.

    Raises BundleError, InferenceError.
    """
    contract = bundle.manifest.input
    with runtime.open(bundle.path(artifact.files[0]), compiled_folder(state, artifact_sha256(bundle, artifact))) as opened:
        model = Model(contract, tiled(opened, contract), artifact.calibration)
        golden_raw = tuple(_raw(model, bundle.path(name), bundle.path(depth_of(name))) for name in bundle.manifest.golden)
        for name, raw, expected in zip(bundle.manifest.golden, golden_raw, artifact.golden_raw, strict=True):
            deviation = artifact.calibration.deviation(raw, expected)
            if not deviation <= MOST_DEVIATION:
                raise BundleError(
                    f"{bundle.path(name)}: {artifact.name} gives raw score {raw:.6g} on {opened.executed_on}, {expected:.6g} at "
                    f"export; deviation {deviation:.2g} of its distance from the threshold: something else is computed there, no "
                    "table made"
                )
        raw_scores = [_raw(model, file, file.with_suffix(".tiff")) for file in photographs]
        if not even_so:
            _refuse_doubtful(artifact, raw_scores, photographs)
        try:
            table = calibrate(
                np.array(raw_scores, dtype=np.float32), artifact.calibration.wished_rate, artifact.calibration.confidence
            )
        except CalibrationError as e:
            raise BundleError(f"{artifact.name}: {e}") from e
        listed = hashlib.sha256("".join(sha256(file) for file in photographs).encode()).hexdigest()
        return LocalTable(
            artifact_sha256=artifact_sha256(bundle, artifact),
            executed_on=opened.executed_on,
            executed_precision=opened.executed_precision,
            calibration=table,
            golden_raw=golden_raw,
            images_sha256=listed,
            made=utc_now(),
        )


def _refuse_doubtful(artifact: Artifact, raw_scores: list[float], photographs: list[Path]) -> None:
    """Raises BundleError where the bundle's own threshold rejects more of them than it claims to: a threshold that is made from
    parts with defects lets such parts through."""
    bundles = artifact.calibration
    above = sorted(((raw, file.name) for raw, file in zip(raw_scores, photographs, strict=True) if raw >= bundles.threshold))
    if least_rate(len(raw_scores), len(above), bundles.confidence) <= bundles.false_reject_rate:
        return
    worst = ", ".join(name for _, name in above[: -_NAMED - 1 : -1])
    raise BundleError(
        f"{photographs[0].parent}: {artifact.name} would reject {len(above)} of {len(raw_scores)} by the bundle's own threshold, "
        f"which claims at most {100 * bundles.false_reject_rate:.1f} % of good parts: {worst}; remove those with defects, fit "
        "anew if good parts look so now, or give --even-so if all of them are good"
    )


def _sections(written: str | None, bundle: Bundle) -> list[dict[str, Any]]:
    """What `--runtime` says; without it each runtime that the bundle has artefacts for."""
    if written is None:
        return [{"type": name} for name in sorted({artifact.runtime for artifact in bundle.manifest.artifacts})]
    try:
        content = yaml.safe_load(written)
    except yaml.YAMLError as e:
        raise ConfigError(f"--runtime {written!r} is not valid YAML: {' '.join(str(e).split())}") from e
    try:
        section("agent.runtimes", content)
    except SectionError as e:
        raise ConfigError(f"--runtime {written!r}: {'.'.join(map(str, e.path))}: {e}") from e
    if content["type"] == "auto":
        raise ConfigError("--runtime auto: expected the runtime that the table is for, such as {type: openvino, device: GPU}")
    bundle.artifact_for([content["type"]])
    return [content]


def _raw(model: Model, photograph: Path, depth: Path) -> float:
    try:
        image = to_8_bit(read_image(photograph), model.contract.white_level)
        return model.predict(image, read_depth(depth) if model.contract.depth else None).raw
    except RefusedImageError as e:
        raise BundleError(f"{photograph}: {e}") from e
