"""Weights of a backbone: those inside this package, a file's, the hub's or random ones, and what is known of them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from agent.bundle import sha256
from agent.error import InputError
from training.backbone import PDN_S, STRIDES, Backbone, BackboneError, open_residuals, refuse_unknown

RANDOM = "random"  # the value of `weights` that asks for a seeded network without knowledge
UNKNOWN = "unknown"  # a licence nobody has stated
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_FOLDER = Path(__file__).parent / "weights"
_HUB_FILE = "model.safetensors"
_HUB_TIMEOUT_S = 5  # a workstation without internet must hear so at once

Colors = tuple[float, float, float]  # red, green, blue


@dataclass(frozen=True, slots=True)
class _Embedded:
    """Weights inside this package; their preprocessing and licence are in the file. network: timm's name, or `pdn-s`."""

    network: str
    file: str
    sha256: str


EMBEDDED, EMBEDDED_PDN = "embedded", "embedded-pdn"
_PYRAMID = "pyramid-r18.safetensors"
_EMBEDDED = {
    EMBEDDED: _Embedded("resnet18", _PYRAMID, "14f027754137eb6192662dfc6de2890bee2a53345f3125f454861711bee6f5a8"),
    EMBEDDED_PDN: _Embedded(PDN_S, "pdn-s.safetensors", "f3aeb953d165a7a86f605f32fc79229a71191c72b8c6bdc575e3d6309e13dfb3"),
}


class WeightsError(InputError):
    """Weights that are not in reach or do not fit the network; the message says what would do."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where weights came from.

    source: the file, hub name or seed. sha256: of the tensors used, whatever container they came in.
    mean, std: of the pixels (0..1) they were trained on, per colour. network: timm's name of it.
    options: given to timm.create_model.
    """

    source: str
    sha256: str
    mean: Colors
    std: Colors
    network: str
    options: dict[str, Any]
    licence: str = UNKNOWN


@dataclass(frozen=True, slots=True)
class Stated:
    """What is said of weights because their file does not say it, or says it wrongly.

    options: given to timm.create_model. mean, std: of the pixels (0..1) they were trained on. licence: of their use.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    mean: Colors | None = None
    std: Colors | None = None
    licence: str = UNKNOWN

    def over(self, told: "Stated") -> "Stated":
        """This, and what is left open from `told`."""
        options = {**told.options, **self.options}
        licence = told.licence if self.licence == UNKNOWN else self.licence
        return Stated(options, self.mean or told.mean, self.std or told.std, licence)


def load_backbone(
    name: str, weights: str | None, seed: int, stated: Stated | None = None, strides: tuple[int, ...] = STRIDES
) -> tuple[Backbone, Provenance]:
    """The backbone with its weights: from a safetensors file, `random`, or (None) its own: those inside this package for
    `embedded`, else from timm's cache, then the hub.

    No network is touched for `embedded`, a file or `random`. Raises BackboneError and WeightsError.
    """
    stated = stated or Stated()
    topology = _EMBEDDED[name].network if name in _EMBEDDED else name
    if weights == RANDOM:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone = Backbone(topology, stated.options, strides)
        open_residuals(backbone)
        return backbone, _provenance(backbone, f"random, seed {seed}", stated)
    if name in _EMBEDDED and weights is not None:
        raise WeightsError(
            f"backbone {name!r} brings its own weights, so --weights {weights} cannot be used with it: name the network of "
            f"that file too, such as --backbone {topology}"
        )
    if name == EMBEDDED and max(strides) > max(STRIDES):
        raise BackboneError(
            f"backbone {name!r} has features up to stride {max(STRIDES)}, needed: {strides}; name another, such as "
            f"--backbone {topology} with --weights FILE"
        )
    if name in _EMBEDDED:
        file, source = _embedded_file(name), f"{name} {_EMBEDDED[name].file}"
    elif weights is None:
        file, source = _from_hub(name), f"hub {_hub_name(name)}"
    else:
        file, source = Path(weights), Path(weights).name
    tensors, told = _from_file(file, name)
    stated = stated.over(told)
    backbone = Backbone(topology, stated.options, strides)
    _load(backbone, tensors, str(file))
    return backbone, _provenance(backbone, f"{source}, file sha256 {sha256(file)}", stated)


def _embedded_file(name: str) -> Path:
    """The file inside this package, its content checked."""
    file = _FOLDER / _EMBEDDED[name].file
    if not file.is_file():
        raise WeightsError(f"{file}: missing from the installation, `make setup` again or give --backbone resnet18")
    if (found := sha256(file)) != _EMBEDDED[name].sha256:
        raise WeightsError(
            f"{file}: sha256 {found[:12]}…, expected {_EMBEDDED[name].sha256[:12]}…: changed or cut off, `make setup` again"
        )
    return file


def _from_file(file: Path, name: str) -> tuple[dict[str, Tensor], Stated]:
    """Tensors, and what the file's metadata say: `mean`, `std`, `timm_options` (JSON) and `licence`."""
    if not file.is_file():
        raise WeightsError(f"{file}: no such file, expected the weights of {name} as safetensors")
    try:
        with safe_open(file, framework="pt") as opened:
            told = _told(file, opened.metadata() or {})
        return dict(load_file(file)), told
    except (SafetensorError, OSError) as e:
        raise WeightsError(f"{file}: cannot be read as safetensors ({e})") from e


def _told(file: Path, metadata: Mapping[str, str]) -> Stated:
    try:
        options = dict(json.loads(metadata.get("timm_options", "{}")))
        mean, std = (_rgb(json.loads(metadata[key])) if key in metadata else None for key in ("mean", "std"))
    except (ValueError, TypeError) as e:
        raise WeightsError(f"{file}: mean, std or timm_options in its metadata cannot be read: {e}") from e
    return Stated(options, mean, std, metadata.get("licence", UNKNOWN))


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
            f"weights of {name} are not in reach ({type(e).__name__}). Wanted: {wanted} on the Hugging Face "
            f"hub, its file {_HUB_FILE}. Three ways to give it:\n"
            f"  1. --weights FILE: that file, or another safetensors file of {name}, copied to this machine\n"
            f"  2. the cache: ~/.cache/huggingface (or $HF_HOME) copied from a machine that has used it\n"
            f"  3. the hub: connect this machine to the internet, unset HF_HUB_OFFLINE, and run again"
        ) from e


def _hub_name(name: str) -> str:
    """The repository of a network's default weights. Raises BackboneError for none at all."""
    refuse_unknown(name)
    config = _config(name)
    if config is None or not config.hf_hub_id:
        raise WeightsError(f"timm knows no weights of {name} on the hub: give a file with --weights FILE")
    return str(config.hf_hub_id)


def _config(name: str) -> Any:
    """What timm knows of a network's own weights; None where nothing."""
    return timm.get_pretrained_cfg(name) if timm.is_model(name) else None


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


def _provenance(backbone: Backbone, source: str, stated: Stated) -> Provenance:
    digest = hashlib.sha256()
    for key, value in sorted(backbone.network.state_dict().items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().numpy().tobytes())
    config = _config(backbone.name)
    mean, std = (config.mean, config.std) if config is not None else (None, None)
    return Provenance(
        source,
        digest.hexdigest(),
        stated.mean or _rgb(mean or IMAGENET_MEAN),
        stated.std or _rgb(std or IMAGENET_STD),
        backbone.name,
        dict(backbone.options),
        stated.licence,
    )


def _rgb(values: tuple[float, ...]) -> Colors:
    red, green, blue = map(float, values)
    return red, green, blue
