"""Pretrained features: two levels of any timm network, and where its weights came from."""

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from agent.bundle import sha256

RANDOM = "random"  # the value of `weights` that asks for a seeded network without knowledge
_STRIDES = (8, 16)  # PatchCore's "layer2+3": fine enough to find small defects, deep enough to know the part
_HUB_FILE = "model.safetensors"
_HUB_TIMEOUT_S = 5  # a workstation without internet must hear so at once


class BackboneError(ValueError):
    """No such network, or one that has no features of the strides needed."""


class WeightsError(Exception):
    """Weights that are not in reach or do not fit the network; the message says what would do."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where weights came from.

    source: the file, hub name or seed. sha256: of the tensors used, whatever container they came in.
    mean, std: of the pixels (0..1) they were trained on, per colour.
    """

    source: str
    sha256: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Backbone(nn.Module):
    """Frozen features of stride 8 and 16 of a timm network; always in eval mode.

    channels: of the two levels.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        network = _create(name)
        self.network: nn.Module = network
        self.channels: tuple[int, int] = tuple(network.feature_info.channels())
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Backbone":
        """Stays in eval mode: statistics of the parts must not replace those of the weights."""
        del mode
        super().train(False)
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) normalized to (B, C8, H/8, W/8) and (B, C16, H/16, W/16)."""
        fine, coarse = self.network(images)
        return fine, coarse


def load_backbone(name: str, weights: str | None, seed: int) -> tuple[Backbone, Provenance]:
    """The backbone with its weights: from a safetensors file, `random`, or (None) timm's cache, then the hub.

    No network is touched when a file or `random` is given. Raises BackboneError and WeightsError.
    """
    if weights == RANDOM:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone = Backbone(name)
        return backbone, _provenance(backbone, f"random, seed {seed}")
    backbone = Backbone(name)
    if weights is None:
        file, source = _from_hub(name), f"hub {_hub_name(name)}"
    else:
        file, source = Path(weights), Path(weights).name
    _load(backbone, _from_file(file, name), str(file))
    return backbone, _provenance(backbone, f"{source}, file sha256 {sha256(file)}")


def _create(name: str) -> Any:
    """The network up to stride 16, weights undefined."""
    if "/" in name or not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=5)
        hint = f"close names: {', '.join(close)}" if close else "timm.list_models() lists them"
        raise BackboneError(f"backbone {name!r} is unknown to timm {timm.__version__}; {hint}")
    try:
        whole: Any = timm.create_model(name, pretrained=False, features_only=True)
        strides: list[int] = whole.feature_info.reduction()
    except (RuntimeError, AttributeError, AssertionError) as e:
        raise BackboneError(f"backbone {name!r} gives no intermediate features (features_only): {e}") from e
    if not set(_STRIDES) <= set(strides):
        raise BackboneError(f"backbone {name!r} has features of stride {strides}, needed: {_STRIDES}; try resnet18")
    levels = tuple(len(strides) - 1 - strides[::-1].index(stride) for stride in _STRIDES)
    return timm.create_model(name, pretrained=False, features_only=True, out_indices=levels)


def _from_file(file: Path, name: str) -> dict[str, Tensor]:
    if not file.is_file():
        raise WeightsError(f"{file}: no such file, expected the weights of {name} as safetensors")
    try:
        return dict(load_file(file))
    except (SafetensorError, OSError) as e:
        raise WeightsError(f"{file}: cannot be read as safetensors ({e})") from e


def _from_hub(name: str) -> Path:
    """The pretrained weights in the cache, else from the hub, safetensors only."""
    wanted = _hub_name(name)
    try:
        return Path(hf_hub_download(wanted, _HUB_FILE, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        get_hf_file_metadata(hf_hub_url(wanted, _HUB_FILE), timeout=_HUB_TIMEOUT_S)  # the download itself tries for 30 s
        return Path(hf_hub_download(wanted, _HUB_FILE))
    except Exception as e:  # whatever http library the hub's client uses: not in reach
        raise WeightsError(
            f"weights of {name} are not in reach ({type(e).__name__}). Wanted: https://huggingface.co/{wanted}/blob/main/"
            f"{_HUB_FILE}. Three ways to give it:\n"
            f"  1. --weights FILE: that file, or another safetensors file of {name}, copied to this machine\n"
            f"  2. the cache: ~/.cache/huggingface (or $HF_HOME) copied from a machine that has used it\n"
            f"  3. the hub: connect this machine to the internet, unset HF_HUB_OFFLINE, and run again"
        ) from e


def _hub_name(name: str) -> str:
    """The repository of a network's default weights."""
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise WeightsError(f"timm knows no weights of {name} on the hub: give a file with --weights FILE")
    return str(config.hf_hub_id)


def _load(backbone: Backbone, given: Mapping[str, Tensor], source: str) -> None:
    """Fills every parameter and buffer of the network; what lies above stride 16 may be missing.

    timm renames with features_only (densenet: `features.conv0` to `features_conv0`), so dots count as underscores.
    """
    by_name = {_plain(key): value for key, value in given.items()}
    state = backbone.network.state_dict()
    needed = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    missing = [key for key in needed if _plain(key) not in by_name]
    if missing:
        raise WeightsError(
            f"{source}: {len(missing)} of {len(needed)} tensors of {backbone.name} are missing, such as "
            f"{', '.join(missing[:5])}: is it a file for this backbone?"
        )
    loaded = {key: by_name[_plain(key)] for key in needed}
    misshapen = [
        f"{key} is {tuple(loaded[key].shape)}, expected {tuple(value.shape)}"
        for key, value in needed.items()
        if loaded[key].shape != value.shape
    ]
    if misshapen:
        raise WeightsError(f"{source}: not for {backbone.name}: {'; '.join(misshapen[:5])}")
    broken = [key for key, value in loaded.items() if not torch.isfinite(value).all()]
    if broken:
        raise WeightsError(f"{source}: not finite in {', '.join(broken[:5])}")
    backbone.network.load_state_dict(loaded, strict=False)


def _plain(key: str) -> str:
    return key.removeprefix("model.").replace(".", "_")


def _provenance(backbone: Backbone, source: str) -> Provenance:
    digest = hashlib.sha256()
    for key, value in sorted(backbone.network.state_dict().items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().numpy().tobytes())
    config = timm.get_pretrained_cfg(backbone.name)
    mean, std = (config.mean, config.std) if config is not None else (None, None)
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return Provenance(source, digest.hexdigest(), _rgb(mean or imagenet[0]), _rgb(std or imagenet[1]))


def _rgb(values: tuple[float, ...]) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue
