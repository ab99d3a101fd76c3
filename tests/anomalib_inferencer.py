"""Anomalib's side of `make bench-peers`: one of our RUNs as its model, exported as it exports, asked through its own inferencer.

Started by tests/bench_peers.py with the python of an environment that has anomalib 2.7 with OpenVINO and nothing of Kensa. Each
line on stdin is a JSON list of frame numbers; the answer is a line with the milliseconds and the scores of `predict`.

Its defaults throughout: nine neighbors where the RUN says nothing else, a graph for pictures of any size that resizes them
itself, normalization and thresholds inside, and whatever device and precision OpenVINO takes when it is not told. INT8 is its
`INT8_PTQ`, with ranges learned from the part of the test photographs that it validates with.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from anomalib.data import Folder
from anomalib.deploy import CompressionType, OpenVINOInferencer
from anomalib.models import EfficientAd, Fastflow, Patchcore, Stfpm
from anomalib.models.components import AnomalibModule
from safetensors.torch import load_file
from torch import Tensor
from torchvision.transforms.v2 import Resize

Weights = dict[str, Tensor]
# What a new model has and ours has not: counters, constants, and FastFlow's scales of ones and offsets of zero.
OWN = ("num_batches_tracked", "norms.", "anomaly_map_generator.")


def module_of(record: Mapping[str, Any], weights: Weights) -> AnomalibModule:
    """The RUN as anomalib's model of the same architecture, with the same weights."""
    method, settings = record["method"], record["settings"]
    with no_download():
        if method == "patchcore":
            module = Patchcore("resnet18", num_neighbors=settings.get("neighbors", 1))
            module.model.memory_bank = weights["method.memory_bank"] + weights["method.bank_mean"]
        elif method == "stfpm":
            module = Stfpm("resnet18")
        elif method == "fastflow":
            module = Fastflow("resnet18", conv3x3_only=settings.get("kernels") in (None, "3-3"))
        else:
            module = EfficientAd()
    renamed = {"patchcore": patchcore, "stfpm": stfpm, "fastflow": fastflow, "efficientad": efficientad}[method](weights)
    missing, surplus = module.model.load_state_dict(renamed, strict=False)
    missing = [key for key in missing if not any(own in key for own in OWN) and key not in ("memory_bank", "kernel")]
    if missing or surplus:
        raise SystemExit(f"{method}: anomalib's model lacks {missing[:5]} and has no place for {surplus[:5]}")
    return module.eval()


@contextmanager
def no_download() -> Iterator[None]:
    create = timm.create_model
    timm.create_model = lambda *args, **kwargs: create(*args, **{**kwargs, "pretrained": False})
    try:
        yield
    finally:
        timm.create_model = create


def under(weights: Weights, ours: str, theirs: str) -> Weights:
    return {theirs + key.removeprefix(ours): value for key, value in weights.items() if key.startswith(ours)}


def patchcore(weights: Weights) -> Weights:
    return under(weights, "method.backbone.network.", "feature_extractor.feature_extractor.")


def stfpm(weights: Weights) -> Weights:
    teacher = under(weights, "method.backbone.network.", "teacher_model.feature_extractor.")
    return teacher | under(weights, "method.student.", "student_model.feature_extractor.")


def fastflow(weights: Weights) -> Weights:
    found = under(weights, "method.backbone.network.", "feature_extractor.")
    names = {"raw_gain": "global_scale", "offset": "global_offset"}
    for key, value in under(weights, "method.flows.", "").items():
        level, _, step, name = key.split(".", 3)
        place = f"fast_flow_blocks.{level}.module_list.{step}"
        if name == "permutation":
            matrix = torch.eye(len(value))[value]
            found |= {f"{place}.w_perm": matrix[..., None, None], f"{place}.w_perm_inv": matrix.T[..., None, None]}
        else:
            found[f"{place}.{names.get(name, name)}"] = value
    return found


def efficientad(weights: Weights) -> Weights:
    found = under(weights, "method.backbone.network.", "teacher.") | under(weights, "method.student.", "student.")
    encoder = [*(f"encoder.{k}" for k in range(5)), "bottleneck"]
    decoder = [*(f"decoder.{k}" for k in range(6)), "last", "head"]
    for ours, theirs in ((encoder, "ae.encoder.enconv"), (decoder, "ae.decoder.deconv")):
        for k, name in enumerate(ours, 1):
            found |= under(weights, f"method.autoencoder.{name}.", f"{theirs}{k}.")
    (low_st, low_ae), (high_st, high_ae) = weights["method.map_low"].flatten(), weights["method.map_high"].flatten()
    found |= {"mean_std.mean": weights["method.channel_mean"], "mean_std.std": weights["method.channel_deviation"]}
    found |= {"quantiles.qa_st": low_st, "quantiles.qb_st": high_st, "quantiles.qa_ae": low_ae, "quantiles.qb_ae": high_ae}
    return found


@torch.no_grad()
def learn_range(module: AnomalibModule, frames: np.ndarray) -> None:
    """Smallest and largest value, and a threshold in between, as its validation would have left them."""
    scores, lowest, highest = [], [], []
    for frame in frames:
        answer = module.model(module.pre_processor(torch.tensor(frame).permute(2, 0, 1)[None] / 255.0))
        scores.append(float(answer.pred_score))
        lowest.append(float(answer.anomaly_map.min()))
        highest.append(float(answer.anomaly_map.max()))
    post = module.post_processor
    post.image_min.fill_(min(scores))
    post.image_max.fill_(max(scores))
    post._image_threshold.fill_(float(np.median(scores)))
    post.pixel_min.fill_(min(lowest))
    post.pixel_max.fill_(max(highest))
    post._pixel_threshold.fill_(float(np.median(highest)))


def exported(options: argparse.Namespace, frames: np.ndarray) -> Path:
    """Its IR file, made once and kept in the folder."""
    root = options.out / options.kind
    file = root / "weights" / "openvino" / "model.xml"
    if file.exists():
        return file
    module = module_of(json.loads((options.run / "run.json").read_text()), load_file(options.run / "model.safetensors"))
    learn_range(module, frames)
    # by default 2.7 exports a PatchCore that takes pictures in pairs only, so this one is for one picture, of the frames' size
    size = frames.shape[1:3] if isinstance(module, Patchcore) else None
    shape = {"input_size": size, "onnx_kwargs": {"dynamic_shapes": None} if size else None}
    if options.kind == "f32":
        return Path(module.to_openvino(root, **shape))
    defects = sorted(f"test/{folder.name}" for folder in (options.data / "test").iterdir() if folder.name != "good")
    resized = {"val_augmentations": Resize(size)} if size else {}
    photographs = Folder(
        "photographs", "train/good", options.data, defects, "test/good", eval_batch_size=1, num_workers=0, **resized
    )
    return Path(module.to_openvino(root, compression_type=CompressionType.INT8_PTQ, datamodule=photographs, **shape))


def executed(inferencer: OpenVINOInferencer) -> str:
    """How many nodes its compiled graph computes in what."""
    nodes = (node.get_rt_info() for node in inferencer.model.get_runtime_model().get_ops())
    counts = Counter(str(node["runtimePrecision"].astype(str)) for node in nodes if "runtimePrecision" in node)
    return ", ".join(f"{count} {precision}" for precision, count in counts.most_common())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("f32", "int8"))
    parser.add_argument("--run", type=Path, required=True, help="a RUN of ours")
    parser.add_argument("--data", type=Path, required=True, help="data set in MVTec layout, for INT8")
    parser.add_argument("--frames", type=Path, required=True, help=".npy of (N, H, W, 3) uint8")
    parser.add_argument("--out", type=Path, required=True, help="folder for what it exports")
    options = parser.parse_args()
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print what they like
    frames = np.load(options.frames, allow_pickle=False)
    file = exported(options, frames).resolve()
    os.chdir(options.out)  # it writes a cache into the folder it runs in
    inferencer = OpenVINOInferencer(file)
    told = {"anomalib": version("anomalib"), "openvino": version("openvino"), "precision": executed(inferencer)}
    print(json.dumps(told), file=answers, flush=True)
    for line in sys.stdin:
        found: dict[str, list[float]] = {"ms": [], "work_ms": [], "scores": []}
        for k in json.loads(line):
            clock, cores = time.perf_counter(), time.process_time()
            prediction = inferencer.predict(frames[k])
            found["ms"].append(1000 * (time.perf_counter() - clock))
            found["work_ms"].append(1000 * (time.process_time() - cores))
            found["scores"].append(float(prediction.pred_score.item()))
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
