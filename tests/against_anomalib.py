"""Anomalib's side of the comparison: fits and scores its PatchCore, STFPM or FastFlow on the photographs of one of our RUNs.

Run by hand with the python of an environment of its own, which has anomalib 2 and nothing of Kensa:

  python3.11 -m venv ENV && ENV/bin/pip install "anomalib[core]"
  ENV/bin/python tests/against_anomalib.py patchcore --run RUN --weights resnet18.safetensors --out OUT

OUT gets figures.json (raw score of each test photograph, seconds, peak memory) and maps.npz (raw maps), both by path below
the RUN's data; tests/compare.py reads them. Same photographs, weights, size and bank as ours, no center crop, last state.

It spares anomalib its engine, callbacks and data loader: its model, loss, optimizer and preprocessing run in a bare loop,
photographs are read once. So its times are a lower bound.
"""

import argparse
import json
import resource
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import timm
import torch
from anomalib.models import Fastflow, Patchcore, Stfpm
from anomalib.models.components import AnomalibModule
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

SIZE, BANK, EPOCHS, BATCH = (256, 256), 4000, 30, 32
PATCHES = 32 * 32  # of one photograph: the grid of stride 8


def build(method: str, n_train: int) -> AnomalibModule:
    """The model as anomalib makes it, except that it fetches no weights; what post-processing would add is left out."""
    create = timm.create_model
    timm.create_model = lambda *args, **kwargs: create(*args, **{**kwargs, "pretrained": False})
    bare = {"post_processor": False, "evaluator": False, "visualizer": False}
    try:
        if method == "patchcore":
            ratio = (BANK + 0.5) / (n_train * PATCHES)  # int(ratio * N) is then BANK, whatever rounding says
            return Patchcore("resnet18", ("layer2", "layer3"), coreset_sampling_ratio=ratio, **bare)
        kind = Stfpm if method == "stfpm" else Fastflow
        return kind("resnet18", pre_processor=kind.configure_pre_processor(image_size=SIZE), **bare)
    finally:
        timm.create_model = create


def teacher_of(module: AnomalibModule) -> nn.Module:
    """The pretrained timm network inside."""
    model = module.model
    return model.teacher_model.feature_extractor if isinstance(module, Stfpm) else network_of(model.feature_extractor)


def network_of(extractor: nn.Module) -> nn.Module:
    return getattr(extractor, "feature_extractor", extractor)


def inject(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Fills every tensor of the network; SystemExit where one is missing."""
    missing = [k for k in network.load_state_dict(weights, strict=False).missing_keys if not k.endswith("num_batches_tracked")]
    if missing:
        raise SystemExit(f"the weights lack {', '.join(missing[:5])}: expected those of timm's resnet18")


def refuse_changed(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """SystemExit unless the network has these very weights."""
    state = {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    changed = [key for key, value in state.items() if not torch.equal(value, weights[key])]
    if changed:
        raise SystemExit(f"{len(changed)} of {len(state)} tensors are not the weights given, such as {changed[0]}")


def read(files: Iterable[Path], module: AnomalibModule) -> Tensor:
    """(N, 3, H, W), through the model's own preprocessing, stretched."""
    transform = type(module).configure_pre_processor(image_size=SIZE).transform
    pixels = (torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1) / 255.0 for file in files)
    return torch.stack([transform(image) for image in pixels])


def fit(module: AnomalibModule, images: Tensor) -> float:
    """Learns as anomalib does; gives the seconds of the coreset stage, 0 for a learned method."""
    module.train()
    if isinstance(module, Patchcore):
        with torch.no_grad():
            for batch in images.split(BATCH):
                module.model(batch)
        start = time.perf_counter()
        module.fit()
        return time.perf_counter() - start
    optimizer = module.configure_optimizers()
    for epoch in range(EPOCHS):
        for indices in torch.randperm(len(images)).split(BATCH):
            loss = module.loss(*module.model(images[indices]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {loss.item():.4g}", flush=True)
    return 0.0


@torch.no_grad()
def judge(module: AnomalibModule, files: Sequence[Path]) -> list[tuple[float, np.ndarray]]:
    """Raw score and (H, W) map of each, one at a time, as the torch model gives them."""
    module.eval()
    answers = (module.model(read([file], module)) for file in files)
    return [(float(answer.pred_score), answer.anomaly_map[0, 0].numpy().astype(np.float32)) for answer in answers]


def pictures(folder: Path) -> list[Path]:
    suffixes = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=("patchcore", "stfpm", "fastflow"))
    parser.add_argument("--run", type=Path, required=True, help="a RUN of ours, for its training photographs")
    parser.add_argument("--weights", type=Path, required=True, help="safetensors of timm's resnet18")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    options = parsed()
    record = json.loads((options.run / "run.json").read_text())
    data = Path(record["data"])
    train = [data / file["path"] for file in record["files"] if file["role"] == "train"]
    test = pictures(data / "test")
    weights = {key: value.float() for key, value in load_file(options.weights).items()}
    torch.manual_seed(options.seed)
    module = build(options.method, len(train))
    inject(teacher_of(module), weights)
    start = time.perf_counter()
    coreset_s = fit(module, read(train, module))
    fit_s = time.perf_counter() - start
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    refuse_changed(teacher_of(module), weights)
    answers = judge(module, test)
    names = [file.relative_to(data).as_posix() for file in test]
    figures = {
        "method": options.method,
        "seed": options.seed,
        "n_train": len(train),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("anomalib", "torch", "timm")},
        "bank": len(module.model.memory_bank) if options.method == "patchcore" else None,
        "seconds": {"fit": fit_s, "coreset": coreset_s},
        "peak_mb": peak_mb,
        "scores": {name: score for name, (score, _) in zip(names, answers, strict=True)},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    np.savez(options.out / "maps.npz", **{name: anomaly_map for name, (_, anomaly_map) in zip(names, answers, strict=True)})
    (options.out / "figures.json").write_text(json.dumps(figures, indent=1))
    print(json.dumps({key: value for key, value in figures.items() if key != "scores"}))


if __name__ == "__main__":
    main()
